// The linear loss on the simulator over more than one chunk of the vocabulary, which the derived suite's sizes never fill.
import { expect, test } from 'vitest';
import { createCudaBackend } from '../../engine/backends/cuda.ts';
import { createReferenceBackend, registry, scope, type Tensor, tensor, withBackend } from '../../engine/index.ts';
import { checkParity } from '../support/parity.ts';

const reference = createReferenceBackend();
const [R, C, V] = [3, 8, 4096 + 70];

/** Multiples of 1/64 in [−1, 1]: exact in bf16. Rows of one sign of slope, so that the largest logit moves to a later chunk. */
function inputs(compute: 'f32' | 'bf16'): Tensor[] {
  const numbers = (n: number, f: (i: number) => number): Float64Array =>
    Float64Array.from({ length: n }, (_, i) => Math.round(64 * f(i)) / 64);
  const h = tensor(
    numbers(R * C, (i) => Math.sin(i + 1)),
    [R, C],
    { dtype: compute },
  );
  const w = tensor(
    numbers(V * C, (i) => Math.sin(0.7 * i) * (0.5 + (0.5 * i) / (V * C))),
    [V, C],
    { dtype: 'f32' },
  );
  // Both sides of the chunks' border, the last token, and one twice.
  const pairs = [0, 4095, 0, 4096, 1, V - 1, 2, 7, 2, 7];
  const targets = tensor(Int32Array.from(pairs), [pairs.length / 2, 2], { dtype: 'i32' });
  return [h, w, targets, tensor([0.5, 0.25, 1, 0.125, 0.75])];
}

test.each(['f32', 'bf16'] as const)('chunks of the vocabulary are joined in %s', async (compute) => {
  const backend = await createCudaBackend({ device: 'cuda-sim' });
  const carried: number[] = [];
  const { launch } = backend.device;
  backend.device.launch = (kernel, ...rest) => {
    if (kernel.name.endsWith('_carry')) carried.push(rest[0][0]);
    launch.call(backend.device, kernel, ...rest);
  };
  await withBackend(reference, async () => {
    using _ = scope();
    for (const name of ['linearLogProbs', 'linearCrossEntropy']) {
      const def = registry.get(name);
      if (!def) throw new Error(`no op ${name}`);
      await checkParity(def, inputs(compute).slice(0, name === 'linearLogProbs' ? 3 : 4), undefined, backend, {
        compute,
      });
    }
  });
  expect(carried, 'rows of each chunk of the two ops').toEqual([R, R, R, R]);
  await backend.close();
});
