import { afterAll, describe, expect, test } from 'vitest';
import { createWasmBackend } from '../../engine/backends/wasm.ts';
import {
  AdamW,
  type Backend,
  backward,
  createReferenceBackend,
  FlatParameters,
  memory,
  mul,
  type Optimizer,
  SGD,
  scope,
  sumTo,
  type Tensor,
  tensor,
} from '../../engine/index.ts';
import { Rng } from '../../engine/random.ts';

const wasm = await createWasmBackend({ threads: 1 });
afterAll(() => wasm.close());

/** Relative to 1: float64 and float32 rounding over a few steps. */
const backends: [string, Backend, number][] = [
  ['reference', createReferenceBackend(), 1e-13],
  ['wasm', wasm, 3e-6],
];

const rng = new Rng(1);
const random = (n: number): number[] => Array.from({ length: n }, () => Math.fround(rng.uniform(-1, 1)));

/** A parameter of each size and a way to give them these gradients. */
function problem(backend: Backend, start: number[][]) {
  const parameters = start.map((values) => tensor(values, { backend, requiresGrad: true }));
  const flat = new FlatParameters(parameters.map((p, i) => [`p${i}`, p]));
  const train = (optimizer: Optimizer, gradients: number[][], lr: number): void => {
    using _ = scope();
    optimizer.zeroGrad();
    for (const [i, p] of parameters.entries()) {
      const loss = sumTo(mul(p, tensor(gradients[i], { backend })), []);
      backward(loss);
      optimizer.addLoss(loss);
    }
    optimizer.step(lr);
  };
  const values = async (): Promise<number[][]> => Promise.all(parameters.map(async (p) => [...(await p.data())]));
  const dispose = (): void => {
    flat.dispose();
    for (const p of parameters) p.dispose();
  };
  return { parameters, flat, train, values, dispose };
}

function expectClose(found: number[][], expected: number[][], tolerance: number): void {
  for (const [i, row] of expected.entries()) {
    for (const [j, x] of row.entries()) expect(Math.abs(found[i][j] - x), `p${i}[${j}]`).toBeLessThan(tolerance);
  }
}

/** torch.optim.AdamW's loop for one number (torch/optim/adamw.py, `_single_tensor_adamw`). */
function torchAdamW(p: number, gradients: number[], lr: number[], { betas, eps, weightDecay }: TorchAdamW): number {
  let [expAvg, expAvgSq] = [0, 0];
  for (const [i, g] of gradients.entries()) {
    p *= 1 - lr[i] * weightDecay;
    expAvg += (g - expAvg) * (1 - betas[0]);
    expAvgSq = expAvgSq * betas[1] + (1 - betas[1]) * g * g;
    const stepSize = lr[i] / (1 - betas[0] ** (i + 1));
    const denominator = Math.sqrt(expAvgSq) / Math.sqrt(1 - betas[1] ** (i + 1)) + eps;
    p -= (stepSize * expAvg) / denominator;
  }
  return p;
}
interface TorchAdamW {
  betas: [number, number];
  eps: number;
  weightDecay: number;
}

const sizes = [1, 70, 5];
const steps = 6;
const start = sizes.map(random);
const gradients = Array.from({ length: steps }, () => sizes.map(random));
const rates = Array.from({ length: steps }, (_, i) => 0.01 * (i + 1));
const history = (i: number, j: number): number[] => gradients.map((g) => g[i][j]);

describe.each(backends)('optimizers on %s', (_, backend, tolerance) => {
  test.each([
    { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
    { betas: [0.8, 0.95], eps: 1e-3, weightDecay: 0.1 },
  ] as TorchAdamW[])('AdamW is torch’s: %o', async (settings) => {
    const p = problem(backend, start);
    const [beta1, beta2] = settings.betas;
    const optimizer = new AdamW(p.flat, { ...settings, beta1, beta2 });
    for (const [i, g] of gradients.entries()) p.train(optimizer, g, rates[i]);
    const expected = start.map((row, i) => row.map((x, j) => torchAdamW(x, history(i, j), rates, settings)));
    expectClose(await p.values(), expected, tolerance);
    optimizer.dispose();
    p.dispose();
  });

  test('AdamW’s first step is the learning rate, whatever the gradient’s size', async () => {
    const p = problem(backend, [[1, 1, 1]]);
    const optimizer = new AdamW(p.flat);
    p.train(optimizer, [[1e-3, -5, 100]], 0.25);
    expectClose(await p.values(), [[0.75, 1.25, 0.75]], 1e-5);
    optimizer.dispose();
    p.dispose();
  });

  test.each([
    { momentum: 0, nesterov: false, weightDecay: 0 },
    { momentum: 0.9, nesterov: false, weightDecay: 0.1 },
    { momentum: 0.9, nesterov: true, weightDecay: 0 },
  ])('SGD is torch’s: %o', async ({ momentum, nesterov, weightDecay }) => {
    const p = problem(backend, start);
    const optimizer = new SGD(p.flat, { momentum, nesterov, weightDecay });
    for (const [i, g] of gradients.entries()) p.train(optimizer, g, rates[i]);
    const expected = start.map((row, i) =>
      row.map((x, j) => {
        let buffer: number | undefined;
        for (const [s, g] of history(i, j).entries()) {
          const d = g + weightDecay * x;
          buffer = buffer === undefined ? d : momentum * buffer + d;
          x -= rates[s] * (momentum === 0 ? d : nesterov ? d + momentum * buffer : buffer);
        }
        return x;
      }),
    );
    expectClose(await p.values(), expected, tolerance);
    optimizer.dispose();
    p.dispose();
  });

  test('clips by the norm over all parameters and reports it unclipped', async () => {
    const p = problem(backend, [[0, 0], [0]]);
    const optimizer = new SGD(p.flat, { maxNorm: 1 });
    p.train(optimizer, [[3, 4], [12]], 1);
    const { norm, loss, bad } = await optimizer.snapshot();
    expect([norm, loss, bad]).toEqual([13, 0, false]);
    expectClose(await p.values(), [[-3 / 13, -4 / 13], [-12 / 13]], 1e-6);
    p.train(optimizer, [[0.3, 0.4], [0]], 1);
    expectClose(await p.values(), [[-3 / 13 - 0.3, -4 / 13 - 0.4], [-12 / 13]], 1e-6);
    optimizer.dispose();
    p.dispose();
  });

  test('adds the losses of a step and begins anew with the next', async () => {
    const p = problem(backend, [[2], [3]]);
    const optimizer = new SGD(p.flat);
    p.train(optimizer, [[0.5], [2]], 0);
    const first = optimizer.snapshot();
    p.train(optimizer, [[1], [1]], 0);
    expect((await first).loss).toBe(7);
    expect((await optimizer.snapshot()).loss).toBe(5);
    optimizer.dispose();
    p.dispose();
  });

  test('groups have their own weight decay and learning rate', async () => {
    const p = problem(backend, [[1], [1], [1]]);
    const optimizer = new AdamW(p.flat, {
      weightDecay: 0.5,
      groups: [{ match: (name) => name === 'p1', weightDecay: 0, lrScale: 10 }],
    });
    p.train(optimizer, [[1], [1], [1]], 0.01);
    expectClose(await p.values(), [[0.985], [0.9], [0.985]], 1e-6);
    optimizer.dispose();
    p.dispose();
  });

  test.each([
    ['a gradient', [[Number.NaN], [1]]],
    ['the norm', [[1e300], [1e300]]],
    ['the loss', [[Number.POSITIVE_INFINITY], [1]]],
  ])('%s that is not finite stops every step until the flag is cleared', async (what, broken) => {
    // 1e300 is finite in float64 and infinite in float32 and when squared.
    const p = problem(backend, [[1], [2]]);
    const optimizer = new AdamW(p.flat);
    p.train(optimizer, [[1], [1]], 0.1);
    const before = await p.values();
    const moments = async (): Promise<number[]> => {
      const state = optimizer.stateDict();
      const values = await Promise.all(
        [...state].filter(([n]) => n !== 'step').map(async ([, t]) => [...(await t.data())]),
      );
      for (const t of state.values()) t.dispose();
      return values.flat();
    };
    const momentsBefore = await moments();
    p.train(optimizer, broken, 0.1);
    expect((await optimizer.snapshot()).bad, what).toBe(true);
    p.train(optimizer, [[1], [1]], 0.1);
    expect((await optimizer.snapshot()).bad, 'sticky').toBe(true);
    expect(await p.values()).toEqual(before);
    expect(await moments()).toEqual(momentsBefore);
    optimizer.clearFlag();
    p.train(optimizer, [[1], [1]], 0.1);
    expect((await optimizer.snapshot()).bad).toBe(false);
    expect((await p.values())[0][0]).toBeLessThan(before[0][0]);
    optimizer.dispose();
    p.dispose();
  });

  test('names the parameters that no gradient has reached', () => {
    const p = problem(backend, [[1], [2], [3]]);
    const optimizer = new AdamW(p.flat);
    p.train(optimizer, [[1], [1], [1]], 0.1);
    optimizer.zeroGrad();
    using _ = scope();
    backward(sumTo(p.parameters[1], []));
    expect(() => optimizer.step(0.1)).toThrow('no gradient has reached p0, p2 since zeroGrad');
    optimizer.dispose();
    p.dispose();
  });

  test('goes on from a saved state as if it had not stopped, bit for bit', async () => {
    const straight = problem(backend, start);
    const first = new AdamW(straight.flat);
    for (const [i, g] of gradients.entries()) straight.train(first, g, rates[i]);

    const cut = problem(backend, start);
    const before = new AdamW(cut.flat);
    for (const i of [0, 1, 2]) cut.train(before, gradients[i], rates[i]);
    const resumed = problem(backend, await cut.values());
    const after = new AdamW(resumed.flat);
    const state = before.stateDict();
    expect([...state.keys()].slice(0, 3)).toEqual(['step', 'p0.exp_avg', 'p1.exp_avg']);
    await after.loadStateDict(state);
    for (const i of [3, 4, 5]) resumed.train(after, gradients[i], rates[i]);
    expect(await resumed.values()).toEqual(await straight.values());

    state.get('p1.exp_avg')?.dispose();
    state.delete('p1.exp_avg');
    await expect(after.loadStateDict(state)).rejects.toThrow('p1.exp_avg is missing, expected [70]');
    for (const t of state.values()) t.dispose();
    for (const o of [first, before, after]) o.dispose();
    for (const p of [straight, cut, resumed]) p.dispose();
  });
});

describe('FlatParameters', () => {
  const backend = createReferenceBackend();

  test('keeps the tensors and their values, makes gradients views, and frees everything', async () => {
    const before = memory();
    const p = problem(backend, [[1, 2, 3], [4]]);
    expect(p.flat.names).toEqual(['p0', 'p1']);
    expect(await p.values()).toEqual([[1, 2, 3], [4]]);
    expect(p.flat.size).toBe(128);
    const [first, second]: Tensor[] = p.parameters;
    {
      using _ = scope();
      backward(sumTo(mul(first, 2), []));
      backward(sumTo(mul(second, 3), []));
    }
    expect((await p.flat.grad.data()).slice(0, 4)).toEqual(Float64Array.of(2, 2, 2, 0));
    p.flat.zeroGrad();
    expect(await first.grad?.data()).toEqual(Float64Array.of(0, 0, 0));
    p.dispose();
    expect(memory()).toMatchObject({ tensors: before.tensors, bytes: before.bytes });
  });

  test('refuses what it cannot train', () => {
    using _ = scope();
    const frozen = tensor([1], { backend });
    expect(() => new FlatParameters([['frozen', frozen]])).toThrow('frozen is not a trainable f32 leaf');
    expect(() => new FlatParameters([])).toThrow('nothing to train');
    const here = tensor([1], { backend, requiresGrad: true });
    const there = tensor([1], { backend: wasm, requiresGrad: true });
    expect(
      () =>
        new FlatParameters([
          ['here', here],
          ['there', there],
        ]),
    ).toThrow('there is on wasm, others on reference');
    here.dispose();
    there.dispose();
  });
});
