import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Backend,
  backward,
  createReferenceBackend,
  createWasmBackend,
  crossEntropy,
  linearCrossEntropy,
  linearLogProbs,
  noGrad,
  scope,
  type Tensor,
  tensor,
} from '../../engine/index.ts';
import { Rng } from '../../engine/random.ts';

const reference = createReferenceBackend();
const wasm = new Map<number, Awaited<ReturnType<typeof createWasmBackend>>>();
beforeAll(async () => {
  for (const threads of [1, 3]) wasm.set(threads, await createWasmBackend({ threads }));
});
afterAll(() => Promise.all([...wasm.values()].map((backend) => backend.close())));
const backends = (): Backend[] => [reference, ...wasm.values()];

const ints = (values: number[], shape: number[], backend: Backend): Tensor =>
  tensor(Int32Array.from(values), shape, { dtype: 'i32', backend });

/** Several blocks of rows and of the vocabulary, none of them full; rows with no, one and many targets. */
function largeCase(R: number, V: number, C: number) {
  const rng = new Rng(7);
  const h = Float32Array.from({ length: R * C }, () => rng.normal(0, C ** -0.5));
  const w = Float32Array.from({ length: V * C }, () => rng.normal());
  const targets = Array.from({ length: 2 * R }, () => [rng.int(R), rng.int(V)]);
  targets.push([R - 1, V - 1], [R - 1, 0], [0, 255], [0, 256]);
  const weights = targets.map(() => Math.fround(rng.uniform(0.1, 1)));
  return { h, w, targets, weights };
}

/** Loss, gradient of h and log-probabilities by plain loops over float64. */
function oracle({ h, w, targets, weights }: ReturnType<typeof largeCase>, R: number, V: number, C: number) {
  const z = Array.from({ length: R }, (_, r) =>
    Float64Array.from({ length: V }, (_, v) => {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += h[r * C + c] * w[v * C + c];
      return sum;
    }),
  );
  const total = z.map((row) => row.reduce((sum, x) => sum + Math.exp(x), 0));
  const logProbs = targets.map(([r, v]) => z[r][v] - Math.log(total[r]));
  const dh = new Float64Array(R * C);
  for (const [i, [r, token]] of targets.entries()) {
    for (let v = 0; v < V; v++) {
      const dz = weights[i] * (Math.exp(z[r][v]) / total[r] - +(v === token));
      for (let c = 0; c < C; c++) dh[r * C + c] += dz * w[v * C + c];
    }
  }
  return { loss: -logProbs.reduce((sum, x, i) => sum + weights[i] * x, 0), logProbs, dh };
}

describe.each([
  [5, 1300, 20],
  [130, 700, 37],
])('R = %d, V = %d, C = %d', (R, V, C) => {
  test('linearCrossEntropy and linearLogProbs are what their formulas say, and bit-equal for any threads', async () => {
    const problem = largeCase(R, V, C);
    const expected = oracle(problem, R, V, C);
    const results: ArrayLike<number>[] = [];
    for (const backend of backends()) {
      const tolerance = backend === reference ? 1e-12 : 1e-5;
      const h = tensor(problem.h, [R, C], { backend, requiresGrad: true });
      {
        using _ = scope();
        const w = tensor(problem.w, [V, C], { backend });
        const targets = ints(problem.targets.flat(), [problem.targets.length, 2], backend);
        const loss = linearCrossEntropy(h, w, targets, tensor(problem.weights, { backend }));
        const logProbs = await noGrad(() => linearLogProbs(h, w, targets)).data();
        for (const [i, x] of expected.logProbs.entries())
          expect(Math.abs(logProbs[i] - x)).toBeLessThan(tolerance * 10);
        const found = await loss.item();
        expect(Math.abs(found / expected.loss - 1)).toBeLessThan(tolerance);
        backward(loss);
        const gradient = (await h.grad?.data()) as Float32Array;
        const largest = expected.dh.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
        const worst = expected.dh.reduce((m, x, i) => Math.max(m, Math.abs(x - gradient[i])), 0);
        expect(worst / largest).toBeLessThan(tolerance);
        results.push(logProbs, [found], gradient);
      }
      h.grad?.dispose();
      h.dispose();
    }
    expect(results.slice(3, 6)).toEqual(results.slice(6, 9));
  });
});

test('logits of any size: nothing overflows', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const logits = tensor(Float32Array.of(1e4, -1e4, 0, 80, 81, 82), [2, 3], { backend });
    const weights = tensor([1, 1], { backend });
    const loss = crossEntropy(logits, ints([0, 0], [2], backend), weights);
    const expected = Math.log(1 + Math.E + Math.E ** 2);
    expect(await loss.item()).toBeCloseTo(expected, 5);
    const confident = crossEntropy(logits, ints([1, 2], [2], backend), weights);
    expect(await confident.item()).toBeCloseTo(2e4 + expected - 2, 2);
  }
});

test('one target for each row equals pairs that say the same', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const rng = new Rng(3);
    const logits = tensor(
      Float32Array.from({ length: 15 }, () => rng.normal()),
      [3, 5],
      { backend },
    );
    const weights = tensor([1, 0, 0.5], { backend });
    const rows = crossEntropy(logits, ints([4, 0, 2], [3], backend), weights);
    const pairs = crossEntropy(logits, ints([0, 4, 1, 0, 2, 2], [3, 2], backend), weights);
    expect(await pairs.item()).toBe(await rows.item());
  }
});

test('no targets: the loss is 0; a target outside the logits is NaN and nothing else is', async () => {
  for (const backend of backends()) {
    using _ = scope();
    const h = tensor(new Float32Array(8).fill(1), [2, 4], { backend });
    const w = tensor(new Float32Array(12), [3, 4], { backend });
    const none = linearCrossEntropy(h, w, ints([], [0, 2], backend), tensor(new Float32Array(0), [0], { backend }));
    expect(await none.item()).toBe(0);
    const targets = ints([0, 0, 1, 3, 2, 0, -1, 1, 1, 2], [5, 2], backend);
    const logProbs = [...(await linearLogProbs(h, w, targets).data())];
    expect(logProbs.map((x) => Number.isNaN(x))).toEqual([false, true, true, true, false]);
    expect(logProbs[4]).toBeCloseTo(-Math.log(3), 6);
  }
});

test('errors name the op and what does not fit', () => {
  using _ = scope();
  const [h, w] = [
    tensor(new Float32Array(8), [2, 4], { backend: reference }),
    tensor([[1, 2]], { backend: reference }),
  ];
  const targets = ints([0, 0], [2], reference);
  expect(() => linearLogProbs(h, w, targets)).toThrow(
    'linearLogProbs: expected h [R, C] and W [V, C], found [2, 4] and [1, 2]',
  );
  expect(() => crossEntropy(h, ints([0], [1], reference), tensor([1], { backend: reference }))).toThrow(
    'crossEntropy: targets [1] are neither [2] nor pairs [n, 2]',
  );
  expect(() => crossEntropy(h, targets, tensor([1], { backend: reference }))).toThrow('weights [1] for 2 targets');
});
