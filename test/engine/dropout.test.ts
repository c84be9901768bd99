import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Backend,
  backward,
  createReferenceBackend,
  createWasmBackend,
  dropout,
  loraLinear,
  type Observer,
  ones,
  parameter,
  scope,
  type Tensor,
  tensor,
  withContext,
} from '../../engine/index.ts';
import { philox4x32 } from '../../engine/random.ts';

const reference = createReferenceBackend();
let relaxed: Awaited<ReturnType<typeof createWasmBackend>>;
let simd128: Awaited<ReturnType<typeof createWasmBackend>>;
beforeAll(async () => {
  relaxed = await createWasmBackend({ threads: 2, build: 'relaxed' });
  simd128 = await createWasmBackend({ threads: 1, build: 'simd128' });
});
afterAll(() => Promise.all([relaxed.close(), simd128.close()]));

// Known answers of Random123 (kat_vectors, philox4x32 10).
test.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
] as [[number, number, number, number], [number, number], number[]][])('Philox4x32-10 of %o', (counter, key, words) => {
  expect([...philox4x32(counter, key)]).toEqual(words);
});

interface Place {
  seed: number;
  step: number;
  rows: [owner: number, position: number][];
  p: number;
  module: number;
}

/** What dropout makes of `x`, or of ones [rows, C]. */
function apply(backend: Backend, { seed, step, rows, p, module }: Place, x: Tensor): Tensor {
  const rng = tensor(Int32Array.of(seed, step), [2], { dtype: 'i32', backend });
  const places = tensor(Int32Array.from(rows.flat()), [rows.length, 2], { dtype: 'i32', backend });
  return dropout(x, rng, places, { p, module });
}

async function mask(backend: Backend, place: Place, C: number): Promise<number[]> {
  using _ = scope();
  const y = apply(backend, place, ones([place.rows.length, C], { backend }));
  return [...(await y.data())].map((v) => (v === 0 ? 0 : 1));
}

const C = 77;
const place: Place = {
  seed: -123456789,
  step: 2 ** 31 - 1,
  rows: Array.from({ length: 41 }, (_, i) => [i % 5, 1000 - i]),
  p: 0.3,
  module: 17,
};

test('the mask is the documented function of seed, step, owner, position, module and feature', async () => {
  const expected = place.rows.flatMap(([owner, position]) =>
    Array.from({ length: C }, (_, c) => {
      const words = philox4x32([c >> 2, position, owner, place.module], [place.seed, place.step]);
      return +(words[c & 3] >= Math.round(0.3 * 2 ** 32));
    }),
  );
  for (const backend of [reference, relaxed, simd128]) expect(await mask(backend, place, C)).toEqual(expected);
});

test('every coordinate of the function matters', async () => {
  const start = await mask(relaxed, place, C);
  const changes: Partial<Place>[] = [
    { seed: 1 },
    { step: 1 },
    { module: 18 },
    { rows: place.rows.map(([owner, position]) => [owner + 1, position]) },
    { rows: place.rows.map(([owner, position]) => [owner, position + 1]) },
  ];
  for (const change of changes) {
    const other = await mask(relaxed, { ...place, ...change }, C);
    const equal = other.filter((bit, i) => bit === start[i]).length / start.length;
    // Independent masks agree in 0.7² + 0.3² of their elements.
    expect(equal, JSON.stringify(change)).toBeGreaterThan(0.53);
    expect(equal, JSON.stringify(change)).toBeLessThan(0.63);
  }
});

test('a row’s mask does not depend on the rows around it', async () => {
  const whole = await mask(relaxed, place, C);
  const alone = await mask(relaxed, { ...place, rows: place.rows.slice(13, 14) }, C);
  expect(alone).toEqual(whole.slice(13 * C, 14 * C));
});

test.each([0.05, 0.1, 0.5])('p = %d: the keep rate is inside its binomial 99.9%% interval', async (p) => {
  const rows = Array.from({ length: 512 }, (_, i): [number, number] => [0, i]);
  for (let module = 0; module < 3; module++) {
    const kept = (await mask(relaxed, { ...place, rows, p, module }, 576)).reduce((n, bit) => n + bit, 0);
    const n = 512 * 576;
    const reach = 3.2905 * Math.sqrt(n * p * (1 - p));
    expect(Math.abs(kept - n * (1 - p))).toBeLessThan(reach);
  }
});

describe.each(['reference', 'wasm'])('on %s', (name) => {
  const on = (): Backend => (name === 'wasm' ? relaxed : reference);

  test('the gradient is masked and scaled as the output is', async () => {
    const backend = on();
    const x = ones([place.rows.length, C], { backend, requiresGrad: true });
    {
      using _ = scope();
      const y = apply(backend, place, x);
      const out = await y.data();
      backward(y, ones(y.shape, { backend }));
      expect(await x.grad?.data()).toEqual(out);
      expect(Math.max(...out)).toBeCloseTo(1 / 0.7, 6);
    }
    x.grad?.dispose();
    x.dispose();
  });

  test('p = 0 is the identity; p outside [0, 1) is an error', () => {
    using _ = scope();
    const x = ones([place.rows.length, C], { backend: on() });
    expect(apply(on(), { ...place, p: 0 }, x)).toBe(x);
    for (const p of [-0.1, 1, Number.NaN]) {
      expect(() => apply(on(), { ...place, p }, x)).toThrow(`dropout: p must be in [0, 1), found ${p}`);
    }
  });
});

test.each([0, 0.5])('with p = %d a LoRA layer’s gradient for its input is one op', async (p) => {
  using _ = scope();
  const [T, K, N, r] = [3, 6, 4, 2];
  const f = (...shape: number[]): Tensor => ones(shape, { backend: relaxed });
  const leaf = (...shape: number[]): Tensor => parameter(f(...shape));
  const [x, a, b] = [leaf(T, K), leaf(r, K), leaf(N, r)];
  const i32 = { dtype: 'i32', backend: relaxed } as const;
  const mask = {
    rng: tensor([7, 2], i32),
    rows: tensor(
      [
        [0, 0],
        [0, 1],
        [0, 2],
      ],
      i32,
    ),
  };
  const y = loraLinear(x, { weight: f(N, K), a, b }, { scale: 2, dropout: p > 0 ? { p, module: 0 } : undefined }, mask);
  const ops: string[] = [];
  const made = ({ def, outputs }: Parameters<Observer>[0]): void => {
    if (outputs[0].shape.join() === `${T},${K}`) ops.push(def.name);
  };
  withContext({ observer: made }, () => backward(y, f(T, N)));
  expect(ops).toEqual(['loraLinearGradInput']);
  for (const t of [x, a, b]) {
    t.grad?.dispose();
    t.dispose();
  }
});

test('in a LoRA layer the mask falls on the input of the low-rank branch alone', async () => {
  const [T, K, N, r, scale, p, module] = [3, 6, 4, 2, 1.5, 0.5, 9];
  const wave = (n: number, k: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(k + i * i));
  const [x, w, a, b] = [wave(T * K, 1), wave(N * K, 2), wave(r * K, 3), wave(N * r, 4)];
  const rows = [
    [0, 5],
    [1, 0],
    [1, 1],
  ];
  const dropped = x.map((v, i) => {
    const [owner, position] = rows[Math.floor(i / K)];
    const c = i % K;
    const word = philox4x32([c >> 2, position, owner, module], [7, 2])[c & 3];
    return word >= p * 2 ** 32 ? v / (1 - p) : 0;
  });
  expect(dropped.some((v) => v === 0) && dropped.some((v) => v !== 0)).toBe(true);
  const row = (m: number[], i: number, n: number): number[] => m.slice(i * n, (i + 1) * n);
  const inner = (u: number[], v: number[]): number => u.reduce((s, e, i) => s + e * v[i], 0);
  const expected = Array.from({ length: T * N }, (_, i) => {
    const [t, n] = [Math.floor(i / N), i % N];
    const u = Array.from({ length: r }, (_, j) => inner(row(dropped, t, K), row(a, j, K)));
    return inner(row(x, t, K), row(w, n, K)) + scale * inner(u, row(b, n, r));
  });
  for (const backend of [reference, relaxed, simd128]) {
    using _ = scope();
    const f = (values: number[], ...shape: number[]): Tensor => tensor(Float64Array.from(values), shape, { backend });
    const rng = tensor(Int32Array.of(7, 2), [2], { dtype: 'i32', backend });
    const places = tensor(Int32Array.from(rows.flat()), [T, 2], { dtype: 'i32', backend });
    const layer = { weight: f(w, N, K), a: f(a, r, K), b: f(b, N, r) };
    const y = await loraLinear(f(x, T, K), layer, { scale, dropout: { p, module } }, { rng, rows: places }).data();
    for (const [i, e] of expected.entries()) expect(y[i]).toBeCloseTo(e, 5);
  }
});
