import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { FormatError, makeFolder, readJson, replaceFile, syncFolder } from '../engine/file.ts';
import { SafetensorsFile, type SafetensorsTensor, writeSafetensors } from '../engine/safetensors.ts';
import type { TrainState } from './train.ts';

const stateFile = 'state.json';
const tensorFile = 'state.safetensors';

/** What a training's numbers depend on beside its options: resumed under another one, a run is not the same bit for bit. */
const fingerprintSchema = z.object({
  /** 'wasm', 'reference', 'cuda:0'. */
  device: z.string(),
  /**
   * Which of the device's builds: 'relaxed' (with fused multiply-add), 'simd128', 'float64', and 'relaxed, int16' and
   * 'simd128, int16' where products are in 16-bit integers.
   */
  build: z.string(),
});
export type Fingerprint = z.infer<typeof fingerprintSchema>;

const schema = z.object({ step: z.int().nonnegative(), fingerprint: fingerprintSchema });

/**
 * Writes a training's state as `folder` (state.json and state.safetensors, all f32): whole or not at all, also where the
 * process or the machine dies meanwhile. A temporary folder `.NAME.tmp` beside it may be left then; nothing reads it.
 */
export async function saveCheckpoint(folder: string, state: TrainState, fingerprint: Fingerprint): Promise<void> {
  const parent = dirname(folder);
  const temporary = join(parent, `.${basename(folder)}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  await makeFolder(temporary);
  try {
    const tensors = new Map(
      [...state.tensors].map(([name, { shape, values }]): [string, SafetensorsTensor] => [
        name,
        { dtype: 'F32', shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) },
      ]),
    );
    await writeSafetensors(join(temporary, tensorFile), tensors);
    const json = JSON.stringify({ step: state.step, fingerprint }, null, 2);
    await replaceFile(join(temporary, stateFile), (file) => file.writeFile(`${json}\n`));
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(parent);
}

/** @throws FormatError naming the file that is missing or damaged */
export async function loadCheckpoint(folder: string): Promise<{ state: TrainState; fingerprint: Fingerprint }> {
  try {
    return await read(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new FormatError(`${folder}: not a whole checkpoint: ${(error as Error).message}`);
  }
}

async function read(folder: string): Promise<{ state: TrainState; fingerprint: Fingerprint }> {
  const path = join(folder, stateFile);
  const parsed = schema.safeParse(await readJson(path));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new FormatError(`${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
  }
  const { step, fingerprint } = parsed.data;
  await using file = await SafetensorsFile.open(join(folder, tensorFile));
  const tensors: TrainState['tensors'] = new Map();
  for (const [name, { dtype, shape }] of file.tensors) {
    if (dtype !== 'F32') throw new FormatError(`${file.path}: ${name} is ${dtype}, a training's state is F32`);
    const bytes = await file.read(name);
    tensors.set(name, { shape, values: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) });
  }
  return { state: { step, tensors }, fingerprint };
}
