import { expect, test } from 'vitest';
import { createWasmBackend } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import { goldenPath } from '../support/golden.ts';

test('loading frees each tensor’s bytes as soon as the backend has them', async () => {
  const backend = await createWasmBackend({ threads: 1 });
  const checkpoint = await openCheckpoint(goldenPath('llama2'));
  const seen: Uint8Array[] = [];
  const read = async (name: string): Promise<Uint8Array> => {
    expect(seen.every((bytes) => bytes.length === 0)).toBe(true);
    const bytes = await checkpoint.read(name);
    seen.push(bytes);
    return bytes;
  };
  const model = await LlamaModel.load({ ...checkpoint, read }, backend);
  expect(seen).toHaveLength(checkpoint.tensors.size);
  model.dispose();
  await checkpoint.close();
  await backend.close();
});
