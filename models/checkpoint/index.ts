import { open, stat } from 'node:fs/promises';
import { FormatError } from '../../engine/file.ts';
import type { Checkpoint } from './checkpoint.ts';
import { openGguf } from './gguf.ts';
import { openHf } from './hf.ts';
import { openLlama2c } from './llama2c.ts';

export { type Checkpoint, expectedTensors } from './checkpoint.ts';

/**
 * Opens a model for reading, tensor by tensor: a Hugging Face folder, a GGUF file or a llama2.c `.bin` file.
 * @throws FormatError naming what in the file is malformed or not supported
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  if ((await stat(path)).isDirectory()) return openHf(path);
  if (path.endsWith('.safetensors')) {
    throw new FormatError(`${path}: weights alone are no model: give the folder that has config.json beside them`);
  }
  const file = await open(path, 'r');
  const magic = Buffer.alloc(4);
  try {
    await file.read(magic, 0, 4, 0);
  } finally {
    await file.close();
  }
  return magic.toString('latin1') === 'GGUF' ? openGguf(path) : openLlama2c(path);
}
