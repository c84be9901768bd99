// Attention on the simulator over forests larger than the derived suite's: several tiles in a block, several blocks of keys, and
// tiles of different segments side by side; head widths of ordinary and of tensor cores.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CudaBackend, createCudaBackend } from '../../engine/backends/cuda.ts';
import {
  createReferenceBackend,
  Forest,
  registry,
  scope,
  type Tensor,
  tensor,
  withBackend,
} from '../../engine/index.ts';
import { planArrays } from '../../engine/segments.ts';
import { checkParity } from '../support/parity.ts';

const reference = createReferenceBackend();
const launched = new Set<string>();
let backend: CudaBackend;
beforeAll(async () => {
  backend = await createCudaBackend({ device: 'cuda-sim' });
  const { launch } = backend.device;
  backend.device.launch = (kernel, ...rest) => {
    launched.add(kernel.name);
    launch.call(backend.device, kernel, ...rest);
  };
});
afterAll(() => backend.close());

/** A shared root with children and a grandchild, empty and single rows among them, and a segment of its own. */
function forest(): Forest {
  const f = new Forest();
  const root = f.add(-1, 70);
  const child = f.add(root, 37);
  f.add(child, 0);
  f.add(child, 5);
  f.add(root, 1);
  f.add(root, 33);
  f.add(-1, 97);
  return f;
}

/** Numbers of 7 bits in [−bound, bound], exact in bf16. */
const numbers = (shape: number[], dtype: 'f32' | 'bf16', seed: number, bound = 1): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1);
  const values = Float64Array.from({ length: n }, (_, i) => (bound * Math.round(64 * Math.sin(seed + 0.7 * i))) / 64);
  return tensor(values, shape, { dtype });
};

const f = forest();
const plans = {
  'all rows': planArrays(f),
  'behind a cached prefix': planArrays(
    f,
    Int32Array.from({ length: f.rows - 50 }, (_, i) => i + 50),
  ),
};

describe.each(Object.entries(plans))('%s', (_, plan) => {
  test.each([
    { compute: 'f32', D: 20, H: 2, KVH: 1 },
    { compute: 'bf16', D: 20, H: 2, KVH: 1 },
    { compute: 'bf16', D: 64, H: 2, KVH: 1 },
    { compute: 'bf16', D: 128, H: 1, KVH: 1 },
  ] as const)('$compute, $H heads of $D', ({ compute, D, H, KVH }) =>
    withBackend(reference, async () => {
      using _ = scope();
      const { queries, keys, pairs } = plan;
      const indices = (values: number[], width: number): Tensor =>
        tensor(Int32Array.from(values), [values.length / width, width], { dtype: 'i32' });
      const queryPlan = [indices(plan.queryTiles, 5), indices(plan.keySpans, 2)];
      const keyPlan = [indices(plan.keyTiles, 4), indices(plan.querySpans, 3)];
      const attrs = { scale: D ** -0.5, keys, pairs };
      const qkv = [[queries, H, D], ...[1, 2].map(() => [keys + 3, KVH, D])].map((s, i) => numbers(s, compute, i));
      const backward = [numbers([queries, H, D], compute, 3), ...qkv, numbers([queries, H, D], compute, 4, 0.5)];
      // About the logarithm of how many keys a query sees, so that probabilities are what they are in use.
      const lse = tensor(
        Float64Array.from({ length: queries * H }, () => 4),
        [queries, H],
      );
      const cases = {
        attention: [...qkv, ...queryPlan, ...keyPlan],
        attentionGradQuery: [...backward, lse, ...queryPlan],
        attentionGradKeyValue: [...backward, lse, ...keyPlan],
      };
      for (const [name, inputs] of Object.entries(cases)) {
        const def = registry.get(name);
        if (!def) throw new Error(`no op ${name}`);
        for (const shift of [0, 1]) await checkParity(def, inputs, attrs, backend, { compute, shift });
      }
    }),
  );
});

test('tensor cores take bf16 heads of 64 and 128', () => {
  expect([...launched].filter((entry) => entry.includes('_mma')).sort()).toEqual([
    'attention_bf16_mma128',
    'attention_bf16_mma64',
  ]);
});
