import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWasmBackend, type WasmBackend } from '../../../engine/backends/wasm.ts';
import { launch } from './launcher.ts';

const special = [0, -0, Infinity, -Infinity, NaN, 1, -1, 2 ** -149, -(2 ** -149), 2 ** -126, 3.4028234663852886e38];

/** Every exponent of f32 with both signs, and the special values. */
function wide(): Float32Array {
  const values = [...special];
  for (let e = -149; e < 128; e++) for (const m of [1, 1.1, 1.37, 1.9]) values.push(m * 2 ** e, -m * 2 ** e);
  return Float32Array.from(values);
}

/** `count` numbers from a to b. */
const between = (a: number, b: number, count = 20_000): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => a + ((b - a) * i) / (count - 1));

/** Distance to the exact value in units in the last place of f32 (of the smallest number for denormal values). */
function ulps(found: number, exact: number): number {
  if (Object.is(found, exact) || Math.fround(exact) === found) return 0;
  if (Number.isNaN(found) || Number.isNaN(exact)) return Infinity;
  if (!Number.isFinite(found)) return Math.abs(exact) > 3.4028235e38 ? 0 : Infinity;
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(exact))));
  return Math.abs(found - exact) / 2 ** (exponent - 23);
}

/** Φ(x) in float64: by the series near 0, by the continued fraction of erfc in the tails. */
function normalCdf(x: number): number {
  const z = Math.abs(x) / Math.SQRT2;
  if (z < 2) {
    let [term, sum] = [z, z];
    for (let n = 1; n < 100; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    const erf = (2 / Math.sqrt(Math.PI)) * sum;
    return x < 0 ? (1 - erf) / 2 : (1 + erf) / 2;
  }
  let fraction = z;
  for (let n = 200; n > 0; n--) fraction = z + n / 2 / fraction;
  const erfc = Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction;
  return x < 0 ? erfc / 2 : 1 - erfc / 2;
}

const sigmoid = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));

/** [kernel, exact function, largest error in ulp, inputs] */
const unary: [string, (x: number) => number, number, Float32Array[]][] = [
  ['neg', (x) => -x, 0, [wide()]],
  ['abs', Math.abs, 0, [wide()]],
  ['exp', Math.exp, 1.5, [wide(), between(-110, 90), between(-1, 1)]],
  ['log', Math.log, 1.5, [wide(), between(1e-6, 3), between(0.9, 1.1), between(1e-45, 1e-37)]],
  ['sqrt', Math.sqrt, 0.5, [wide(), between(0, 9)]],
  ['rsqrt', (x) => 1 / Math.sqrt(x), 1.5, [wide(), between(0.01, 9)]],
  ['tanh', Math.tanh, 2, [wide(), between(-10, 10), between(-1, 1)]],
  ['sigmoid', sigmoid, 3, [wide(), between(-110, 110), between(-4, 4)]],
  ['relu', (x) => Math.max(x, 0), 0, [wide()]],
  ['silu', (x) => x * sigmoid(x), 3.5, [between(-80, 80), between(-4, 4)]],
  ['gelu', (x) => x * normalCdf(x), 8, [between(-1, 8)]],
  ['gelu', (x) => x * normalCdf(x), 64, [between(-10, -1)]],
];

describe.each(['relaxed', 'simd128'] as const)('elementwise kernels (%s)', (build) => {
  let backend: WasmBackend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 2, build });
  });
  afterAll(() => backend.close());

  test.each(unary)('%s_f32', async (name, exact, bound, inputs) => {
    for (const x of inputs) {
      const y = await launch(backend, `${name}_f32`, new Float32Array(x.length), [x]);
      let [worst, at] = [0, 0];
      for (const [i, v] of x.entries()) {
        const error = ulps(y[i], exact(v));
        if (error > worst) [worst, at] = [error, i];
      }
      expect(worst, `${name}(${x[at]}) is ${y[at]}, not ${exact(x[at])}`).toBeLessThanOrEqual(bound);
    }
  });

  test('zeros keep their sign', async () => {
    for (const name of ['tanh', 'sqrt', 'neg', 'silu', 'gelu']) {
      const y = await launch(backend, `${name}_f32`, new Float32Array(2), [Float32Array.of(0, -0)]);
      expect([...y], name).toEqual(name === 'neg' ? [-0, 0] : [0, -0]);
    }
  });

  test('gelu vanishes far below 0 and is the identity far above', async () => {
    const y = await launch(backend, 'gelu_f32', new Float32Array(4), [Float32Array.of(-1e30, -20, 20, 1e30)]);
    expect(y).toEqual(Float32Array.of(-0, -0, 20, 1e30));
  });

  const binary: [string, (a: number, b: number) => number][] = [
    ['add', (a, b) => a + b],
    ['sub', (a, b) => a - b],
    ['mul', (a, b) => a * b],
    ['div', (a, b) => a / b],
    ['eq', (a, b) => Number(a === b)],
    ['ne', (a, b) => Number(a !== b)],
    ['lt', (a, b) => Number(a < b)],
    ['le', (a, b) => Number(a <= b)],
    ['gt', (a, b) => Number(a > b)],
    ['ge', (a, b) => Number(a >= b)],
  ];
  test.each(binary)('%s_f32 on all pairs of special values is exact', async (name, f) => {
    const comparison = name.length === 2;
    const a = Float32Array.from(special.flatMap((x) => special.map(() => x)));
    const b = Float32Array.from(special.flatMap(() => special));
    const out = comparison ? new Int32Array(a.length) : new Float32Array(a.length);
    const y = await launch<typeof out>(backend, `${name}_f32`, out, [a, b], { ints: [1, a.length, 1, 1] });
    expect(y).toEqual(out.map((_, i) => f(a[i], b[i])));
  });

  test('pow_f32', async () => {
    const a = between(0.01, 30, 999);
    const b = between(-20, 20, 999);
    const y = await launch(backend, 'pow_f32', new Float32Array(999), [a, b], { ints: [1, 999, 1, 1] });
    for (const [i, v] of y.entries()) expect(ulps(v, a[i] ** b[i])).toBeLessThan(1);
    const odd = await launch(
      backend,
      'pow_f32',
      new Float32Array(4),
      [Float32Array.of(-2, -2, 0, -0), Float32Array.of(3, 0.5, 0, -1)],
      { ints: [1, 4, 1, 1] },
    );
    expect(odd).toEqual(Float32Array.of(-8, NaN, 1, -Infinity));
  });

  // Shapes that reach every inner loop: whole vectors, unrolled ones, tails, runs that end inside a chunk.
  test.each([
    { dims: [3, 50_000], a: [50_000, 1], b: [0, 1], what: 'a row against a matrix' },
    { dims: [5000, 7], a: [7, 1], b: [1, 0], what: 'a column against a matrix' },
    { dims: [1_000, 3], a: [0, 0], b: [3, 1], what: 'a scalar' },
    { dims: [4, 3, 2, 5, 3, 2], a: [180, 0, 30, 0, 2, 1], b: [0, 5, 0, 1, 0, 0], what: 'six axes' },
    { dims: [1], a: [1], b: [1], what: 'one element' },
    { dims: [2, 0], a: [0, 1], b: [0, 1], what: 'no element' },
  ])('broadcasting: $what', async ({ dims, a, b }) => {
    const n = dims.reduce((x, y) => x * y, 1);
    const extent = (strides: number[]) => 1 + strides.reduce((sum, s, k) => sum + s * Math.max(0, dims[k] - 1), 0);
    const x = Float32Array.from({ length: extent(a) }, (_, i) => i);
    const z = Float32Array.from({ length: extent(b) }, (_, i) => i / 1024);
    const y = await launch(backend, 'sub_f32', new Float32Array(n), [x, z], {
      ints: [dims.length, ...dims, ...a, ...b],
    });
    const expected = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      let [rest, ia, ib] = [i, 0, 0];
      for (let k = dims.length - 1; k >= 0; k--) {
        ia += (rest % dims[k]) * a[k];
        ib += (rest % dims[k]) * b[k];
        rest = Math.floor(rest / dims[k]);
      }
      expected[i] = Math.fround(x[ia] - z[ib]);
    }
    expect(y).toEqual(expected);
  });

  test('clamp, where, fill, accumulate', async () => {
    const x = Float32Array.of(-3, -1, 0, 0.5, 2, NaN, Infinity);
    const empty = new Float32Array(7);
    expect(await launch(backend, 'clamp_f32', empty, [x], { floats: [-1, 1] })).toEqual(
      Float32Array.of(-1, -1, 0, 0.5, 1, NaN, 1),
    );
    const condition = Int32Array.of(1, 0, -5, 0, 1, 0, 1);
    const ints = [1, 7, 1, 1, 0];
    expect(await launch(backend, 'where_f32', empty, [condition, x, Float32Array.of(9)], { ints })).toEqual(
      Float32Array.of(-3, 9, 0, 9, 2, 9, Infinity),
    );
    expect(await launch(backend, 'fill_f32', empty, [], { floats: [2.5] })).toEqual(new Float32Array(7).fill(2.5));
    expect(await launch(backend, 'accumulate_f32', x, [Float32Array.from(x, () => 1)])).toEqual(x.map((v) => v + 1));
  });
});
