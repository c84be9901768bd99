// The gradient's norm where it is summed by several blocks: longer than the registry's samples.
import { expect, test } from 'vitest';
import { createCudaBackend, Rng, tensor } from '../../../engine/index.ts';
import { globalNorm, stateSize, stateSlot } from '../../../engine/ops/optimizer.ts';

const pieces = 4096;

test.each([pieces, pieces + 1, 3 * pieces + 5])('globalNorm of %i elements', async (n) => {
  const backend = await createCudaBackend({ device: 'cuda-sim' });
  const rng = new Rng(n);
  // The last ones count most: a piece that is left out shows.
  const values = Float32Array.from({ length: n }, (_, i) => rng.uniform(-1, 1) * (i < n - 3 ? 1 : 100));
  const norm = Math.sqrt(values.reduce((sum, g) => sum + g * g, 0));
  const state = tensor(new Float32Array(stateSize), [stateSize], { backend });
  globalNorm(tensor(values, [n], { backend }), state, { maxNorm: 1 });
  const found = await state.data();
  expect(found[stateSlot.norm]).toBe(Math.fround(norm));
  expect(found[stateSlot.clip]).toBe(Math.fround(1 / (norm + 1e-6)));
  expect(found[stateSlot.bad]).toBe(0);
  await backend.close();
});

test.each([
  ['a gradient', [Number.NaN, 1], 0],
  ['a loss', [1, 1], Number.POSITIVE_INFINITY],
])('%s that is not finite raises the flag', async (_, gradient, loss) => {
  const backend = await createCudaBackend({ device: 'cuda-sim' });
  const values = new Float32Array(stateSize);
  values[stateSlot.loss] = loss;
  const state = tensor(values, [stateSize], { backend });
  globalNorm(tensor(gradient, { backend }), state, { maxNorm: Number.POSITIVE_INFINITY });
  expect((await state.data())[stateSlot.bad]).toBe(1);
  await backend.close();
});
