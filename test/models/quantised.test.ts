// A GGUF file with tensors of every quantised type: what CUDA's kernels make of planes beside the float64 reference on blocks.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isQuantized, type WeightDType, weightDTypes } from '../../engine/dtype.ts';
import { type Backend, createCudaBackend, createReferenceBackend, Forest, noGrad, scope } from '../../engine/index.ts';
import { Rng } from '../../engine/random.ts';
import { prepareBatch } from '../../models/batch.ts';
import { type Checkpoint, expectedTensors, openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import { randomBlocks } from '../support/gen.ts';
import { convert, ggufFile } from '../support/gguf.ts';
import { goldenPath, relativeError } from '../support/golden.ts';

/** Type numbers of the format. */
const ids: Record<WeightDType, number> = {
  ...{ f32: 0, f16: 1, bf16: 30, q4_0: 2, q4_1: 3, q5_0: 6, q5_1: 7, q8_0: 8, q4_k: 12, q5_k: 13, q6_k: 14 },
};
const types = weightDTypes.filter(isQuantized);

/** A model whose matrices take these types in turn. */
async function quantised(): Promise<Checkpoint> {
  const golden = await openCheckpoint(goldenPath('llama2'));
  await golden.close();
  const sizes = { vocabSize: 43, hiddenSize: 256, intermediateSize: 256, numHiddenLayers: 1, headDim: 64 };
  const config = { ...golden.config, ...sizes };
  let matrices = 0;
  const tensors: Checkpoint['tensors'] = new Map(
    [...expectedTensors(config)].map(([name, shape]) => [
      name,
      { shape, dtype: shape.length === 1 ? 'f32' : types[matrices++ % types.length] },
    ]),
  );
  const rng = new Rng(1);
  const read = async (name: string): Promise<Uint8Array<ArrayBuffer>> => {
    const { dtype, shape } = tensors.get(name) as { dtype: WeightDType; shape: number[] };
    // Blocks stand for numbers up to 4; small norms keep attention from being sure of one token.
    if (dtype === 'f32') return new Uint8Array(new Float32Array(shape[0]).fill(0.05).buffer);
    return new Uint8Array(randomBlocks(dtype, shape, rng));
  };
  expect(new Set([...tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(['f32', ...types]));
  return { ...golden, config, tensors, read };
}

async function logits(path: string, backend: Backend, tokens: number): Promise<ArrayLike<number>> {
  const checkpoint = await openCheckpoint(path);
  const model = await LlamaModel.load(checkpoint, backend);
  await checkpoint.close();
  try {
    return await noGrad(async () => {
      using _ = scope();
      const forest = new Forest();
      forest.add(-1, tokens);
      const rows = { forest, ids: Array.from({ length: tokens }, (_, i) => (7 * i) % 43) };
      return await model.logits(model.forward(prepareBatch(rows, backend))).data();
    });
  } finally {
    model.dispose();
  }
}

test('logits of three tokens, which read planes, and of twelve, for which weights are widened', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lorikeet-quantised-'));
  const cuda = await createCudaBackend({ device: 'cuda-sim' });
  try {
    const model = await quantised();
    const { metadata, tensors } = await convert(model);
    const dtypes = [...model.tensors.values()].map(({ dtype }) => dtype as WeightDType);
    const typed = [...tensors].map(([name, t], i) => [name, { ...t, type: ids[dtypes[i]] }] as const);
    const path = join(folder, 'model.gguf');
    await writeFile(path, ggufFile(metadata, typed, { alignment: 64 }));
    for (const tokens of [3, 12]) {
      const expected = await logits(path, createReferenceBackend(), tokens);
      expect(relativeError(await logits(path, cuda, tokens), expected), `${tokens} tokens`).toBeLessThan(1e-5);
    }
  } finally {
    await cuda.close();
    await rm(folder, { recursive: true });
  }
});
