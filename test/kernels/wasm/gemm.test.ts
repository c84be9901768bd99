import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWasmBackend, type WasmBackend, type WasmOptions } from '../../../engine/backends/wasm.ts';
import { byteLength, type DType, dtypes, isQuantized, weightDTypes } from '../../../engine/dtype.ts';
import { fromBf16, fromF16, toBf16, toF16 } from '../../../engine/half.ts';
import { dequantize } from '../../../engine/quant.ts';
import { Rng } from '../../../engine/random.ts';
import { randomBlocks } from '../../support/gen.ts';

/** A weight [rows, columns] as stored, and the numbers it holds. */
interface Stored {
  bytes: Uint8Array;
  values: Float64Array;
}

const bytesOf = (array: Float32Array | Uint16Array | Int32Array): Uint8Array => new Uint8Array(array.buffer);

function floats(length: number, rng: Rng): Float32Array {
  return Float32Array.from({ length }, () => rng.uniform(-2, 2));
}

function stored(dtype: DType, rows: number, columns: number, rng: Rng): Stored {
  const n = rows * columns;
  if (isQuantized(dtype)) {
    const bytes = randomBlocks(dtype, [rows, columns], rng);
    return { bytes, values: dequantize(bytes, dtype, n) };
  }
  const values = floats(n, rng);
  if (dtype === 'f32') return { bytes: bytesOf(values), values: Float64Array.from(values) };
  const [to, from] = dtype === 'f16' ? [toF16, fromF16] : [toBf16, fromBf16];
  const bits = Uint16Array.from(values, to);
  return { bytes: bytesOf(bits), values: Float64Array.from(bits, from) };
}

/** Runs a kernel on copies of `inputs`; its one output has `elements` f32 and must be all that it writes. */
async function run(
  backend: WasmBackend,
  kernel: string,
  elements: number,
  inputs: Uint8Array[],
  ints: number[],
): Promise<Float32Array> {
  const guard = 64;
  const handles = [4 * elements + guard, ...inputs.map((bytes) => bytes.length)].map((bytes) =>
    backend.alloc(Math.max(bytes, 1)),
  );
  try {
    backend.write(handles[0], new Uint8Array(4 * elements + guard).fill(0x7f));
    inputs.forEach((bytes, i) => {
      backend.write(handles[i + 1], bytes);
    });
    backend.launch(
      kernel,
      handles.map((handle) => ({ handle, byteOffset: 0 })),
      ints,
      [],
      [1, 1, 1],
    );
    const bytes = await backend.read(handles[0], 4 * elements + guard);
    expect(bytes.subarray(4 * elements).every((byte) => byte === 0x7f)).toBe(true);
    return new Float32Array(bytes.buffer, 0, elements);
  } finally {
    for (const handle of handles) backend.free(handle);
  }
}

type Launched = [kernel: string, elements: number, inputs: Uint8Array[], ints: number[]];

/** 1, 2 and 3 threads; narrow and wide tiles. */
async function openAll(options: WasmOptions): Promise<WasmBackend[]> {
  const wide: WasmOptions = { revectorize: true, probe: () => ({ wide: true, wideInt16: true, found: 'the test' }) };
  const backends = [];
  for (const differing of [{ threads: 1 }, { threads: 2 }, { threads: 3, ...wide }, { threads: 1, ...wide }]) {
    backends.push(await createWasmBackend({ ...options, ...differing }));
  }
  expect(new Set(backends.map((b) => `${b.threads} ${b.info.revectorize}`)).size).toBe(4);
  await Promise.all(backends.map(poison));
  return backends;
}

/** The result of all backends, which is the same bit for bit. */
async function onAll(backends: WasmBackend[], ...launched: Launched): Promise<Float32Array> {
  const results: Float32Array[] = [];
  for (const backend of backends) results.push(await run(backend, ...launched));
  for (const [i, other] of results.entries()) {
    const differ = Buffer.compare(bytesOf(results[0].slice()), bytesOf(other.slice()));
    const [kernel, , , ints] = launched;
    if (differ) throw new Error(`${kernel} [${ints}]: backend ${i} gives other bits than backend 0`);
  }
  return results[0];
}

/** Leaves NaN in the scratch memory that the next launches find. */
async function poison(backend: WasmBackend): Promise<void> {
  const [M, N, K] = [64, 64, 640];
  const nan = bytesOf(new Float32Array(M * K).fill(Number.NaN));
  await run(backend, 'matmul_f32', M * N, [nan, nan], [1, M, N, K, 0, 1, 0, 0]);
}

/** Element (i, j) of a matrix with so many elements from row to row and from column to column. */
type Strides = readonly [row: number, column: number];

/** What an element may be away from its value, from Σ|a||b| and K. */
type Tolerance = (absolute: number, K: number, i: number, j: number) => number;

/** What rounding each of K sums to f32 may do. */
const rounding: Tolerance = (absolute, K) => 16 * 2 ** -24 * Math.sqrt(K) * absolute;

/** Every element of C[M, N] = A[M, K]·B[K, N] (+ bias[N]) within a tolerance of its value in float64. */
function expectProduct(
  c: Float32Array,
  [M, N, K]: readonly [number, number, number],
  a: ArrayLike<number>,
  [ai, ak]: Strides,
  b: ArrayLike<number>,
  [bk, bj]: Strides,
  bias?: ArrayLike<number>,
  tolerance = rounding,
): void {
  for (let i = 0; i < M; i++) {
    for (let j = 0; j < N; j++) {
      let [sum, absolute] = bias ? [bias[j], Math.abs(bias[j])] : [0, 0];
      for (let k = 0; k < K; k++) {
        const product = a[i * ai + k * ak] * b[k * bk + j * bj];
        sum += product;
        absolute += Math.abs(product);
      }
      const error = Math.abs(c[i * N + j] - sum);
      if (!(error <= tolerance(absolute, K, i, j))) {
        throw new Error(`[${M}, ${N}, ${K}]: C[${i}, ${j}] is ${c[i * N + j]}, expected ${sum}`);
      }
    }
  }
}

/** Sizes on both sides of every width: tiles (6 × 8, 6 × 16), packing (32 columns, 24 rows), and what lies between. */
const around = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 65];
const small = fc.oneof(fc.constantFrom(...around), fc.nat(70));
/** As contraction: also more than one block of the depth. */
const depth = fc.oneof({ weight: 3, arbitrary: small }, { weight: 1, arbitrary: fc.constantFrom(383, 384, 385, 777) });
const seed = fc.nat(2 ** 30);
/** A K that the type can have, from any number. */
const columnsFor = (dtype: DType, k: number): number =>
  isQuantized(dtype) ? dtypes[dtype].block * (1 + (k % (dtypes[dtype].block === 32 ? 14 : 3))) : k;

const runs = { numRuns: 30 };
/** One and two rows, for which linear has code of its own: M, N, K, bias, seed. */
const gemv: [number, number, number, boolean, number][] = [
  [1, 33, 777, true, 1],
  [2, 33, 777, true, 2],
  [1, 6, 384, false, 3],
  [2, 6, 384, false, 4],
];

describe.each(['relaxed', 'simd128'] as const)('products (%s)', (build) => {
  let backends: WasmBackend[];
  beforeAll(async () => {
    backends = await openAll({ build });
  });
  afterAll(() => Promise.all(backends.map((backend) => backend.close())));

  const everywhere = (...launched: Launched) => onAll(backends, ...launched);

  test('matmul, plain and transposed, batched and broadcast', () =>
    fc.assert(
      fc.asyncProperty(
        fc.tuple(small, small, depth),
        fc.nat(3),
        fc.tuple(fc.boolean(), fc.boolean()),
        fc.nat(2),
        seed,
        async ([M, N, K], batch, [transA, transB], shared, seed) => {
          const rng = new Rng(seed);
          const strideA = shared === 1 ? 0 : M * K;
          const strideB = shared === 2 ? 0 : K * N;
          const a = floats(strideA ? batch * strideA : M * K, rng);
          const b = floats(strideB ? batch * strideB : K * N, rng);
          const ints = [batch, M, N, K, +transA, +transB, strideA, strideB];
          const c = await everywhere('matmul_f32', batch * M * N, [bytesOf(a), bytesOf(b)], ints);
          for (let i = 0; i < batch; i++) {
            const [ai, bi] = [a.subarray(i * strideA), b.subarray(i * strideB)];
            const [as, bs]: [Strides, Strides] = [transA ? [1, M] : [K, 1], transB ? [1, K] : [N, 1]];
            expectProduct(c.subarray(i * M * N), [M, N, K], ai, as, bi, bs);
          }
        },
      ),
      runs,
    ));

  test.each(weightDTypes)('linear with %s weights', (dtype) =>
    fc.assert(
      fc.asyncProperty(small, small, depth, fc.boolean(), seed, async (M, N, anyK, hasBias, seed) => {
        const K = columnsFor(dtype, anyK);
        const rng = new Rng(seed);
        const [x, w, bias] = [floats(M * K, rng), stored(dtype, N, K, rng), floats(N, rng)];
        const inputs = [bytesOf(x), w.bytes, bytesOf(bias)];
        const y = await everywhere(`linear_f32_${dtype}`, M * N, inputs, [M, N, K, +hasBias]);
        expectProduct(y, [M, N, K], x, [K, 1], w.values, [1, K], hasBias ? bias : undefined);
      }),
      { ...runs, examples: gemv },
    ),
  );

  test.each(weightDTypes)("linear's gradient for its input with %s weights", (dtype) =>
    fc.assert(
      fc.asyncProperty(small, depth, small, seed, async (M, N, anyK, seed) => {
        const K = columnsFor(dtype, anyK);
        const rng = new Rng(seed);
        const [g, w] = [floats(M * N, rng), stored(dtype, N, K, rng)];
        const dx = await everywhere(`linearGradInput_f32_${dtype}`, M * K, [bytesOf(g), w.bytes], [M, N, K]);
        expectProduct(dx, [M, K, N], g, [N, 1], w.values, [K, 1]);
      }),
      runs,
    ),
  );

  // Several chunks of rows and of columns, blocks of rows and of the depth, all with tails. Up to 384 rows threads pack the
  // left operand each for itself, in 384 rows of few columns there are two chunks of rows.
  test.each([
    [1, 999, 608],
    [2, 999, 608],
    [384, 40, 416],
    [397, 40, 800],
    [1201, 9, 96],
    [130, 811, 416],
    [4, 999, 608],
    [1160, 760, 32],
  ])('large products [%i, %i, %i]', async (M, N, K) => {
    const rng = new Rng(M);
    const [x, w] = [floats(M * K, rng), stored('q4_1', N, K, rng)];
    const y = await everywhere('linear_f32_q4_1', M * N, [bytesOf(x), w.bytes], [M, N, K, 0]);
    expectProduct(y, [M, N, K], x, [K, 1], w.values, [1, K]);
    const dw = await everywhere('matmul_f32', N * K, [bytesOf(y.slice()), bytesOf(x)], [1, N, K, M, 1, 0, 0, 0]);
    expectProduct(dw, [N, K, M], y, [1, N], x, [K, 1]);
    const dx = await everywhere('linearGradInput_f32_q4_1', M * K, [bytesOf(y.slice()), w.bytes], [M, N, K]);
    expectProduct(dx, [M, K, N], y, [N, 1], w.values, [K, 1]);
  });

  test.each(weightDTypes.filter((dtype) => dtype !== 'f32'))('cast of %s is exact', (dtype) =>
    fc.assert(
      fc.asyncProperty(fc.nat(40), fc.nat(600), seed, async (rows, anyColumns, seed) => {
        const columns = columnsFor(dtype, anyColumns);
        const w = stored(dtype, rows, columns, new Rng(seed));
        const out = await everywhere(`cast_f32_${dtype}`, rows * columns, [w.bytes], [rows, columns]);
        expect(out).toEqual(Float32Array.from(w.values));
      }),
      runs,
    ),
  );

  test('cast of every f16 that is a number is exact, and infinities and NaN stay what they are', async () => {
    const bits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
    const out = await everywhere('cast_f32_f16', bits.length, [bytesOf(bits)], [1, bits.length]);
    expect(out).toEqual(Float32Array.from(bits, fromF16));
  });

  test.each(weightDTypes)('embedding of %s rows is exact', (dtype) =>
    fc.assert(
      fc.asyncProperty(fc.nat(40), fc.integer({ min: 1, max: 50 }), fc.nat(300), seed, async (T, V, anyC, seed) => {
        const C = columnsFor(dtype, anyC);
        const rng = new Rng(seed);
        const w = stored(dtype, V, C, rng);
        expect(w.bytes.length).toBe(byteLength(dtype, [V, C]));
        const ids = Int32Array.from({ length: T }, () => rng.int(V));
        const out = await everywhere(`embedding_f32_${dtype}`, T * C, [w.bytes, bytesOf(ids)], [T, C, V]);
        const expected = [...ids].flatMap((id) => [...w.values.subarray(id * C, (id + 1) * C)]);
        expect(out).toEqual(Float32Array.from(expected));
      }),
      runs,
    ),
  );
});

/**
 * What products in 16 bits may be off: an element of a line is an integer times the line's scale s, the larger of its largest
 * |x| / 32767 and its norm / 46000, and so off by s/2 at most.
 */
function quantization(
  [M, N, K]: readonly [number, number, number],
  a: ArrayLike<number>,
  [ai, ak]: Strides,
  b: ArrayLike<number>,
  [bk, bj]: Strides,
): Tolerance {
  const line = (x: ArrayLike<number>, start: number, stride: number) => {
    let [sum, squares, largest] = [0, 0, 0];
    for (let k = 0; k < K; k++) {
      const value = Math.abs(x[start + k * stride]);
      sum += value;
      squares += value ** 2;
      largest = Math.max(largest, value);
    }
    return { sum, half: Math.max(largest / 32767, Math.sqrt(squares) / 46000) / 2 };
  };
  const rows = Array.from({ length: M }, (_, i) => line(a, i * ai, ak));
  const columns = Array.from({ length: N }, (_, j) => line(b, j * bj, bk));
  return (absolute, _, i, j) => {
    const [row, column] = [rows[i], columns[j]];
    const integers = row.half * column.sum + column.half * row.sum + K * row.half * column.half;
    return 1.001 * integers + rounding(absolute, K, i, j);
  };
}

describe.each(['relaxed', 'simd128'] as const)('products in 16 bits (%s)', (build) => {
  let backends: WasmBackend[];
  let float: WasmBackend;
  beforeAll(async () => {
    backends = await openAll({ build, products: 'int16' });
    float = await createWasmBackend({ build, threads: 1 });
  });
  afterAll(() => Promise.all([...backends, float].map((backend) => backend.close())));

  const everywhere = (...launched: Launched) => onAll(backends, ...launched);

  const rows = fc.oneof(fc.constantFrom(15, 16, 17, 19, 20, 21, 24, 25, 26), fc.integer({ min: 16, max: 90 }));
  /** What is as narrow as an adapter may be is in f32. */
  const width = fc.oneof(fc.constantFrom(129, 130, 159, 160, 161, 191, 192, 193), fc.integer({ min: 129, max: 210 }));
  /** Numbers of every size, a line's alike or not. */
  const sizes = fc.constantFrom(0, 3, 12);
  const scaled = (length: number, line: number, size: number, rng: Rng): Float32Array => {
    const scales = Array.from({ length: Math.ceil(length / line) }, () => 10 ** rng.uniform(-size, size));
    return floats(length, rng).map((x, i) => x * scales[Math.floor(i / line)]);
  };

  test.each(weightDTypes)('linear and its gradient with %s weights', (dtype) =>
    fc.assert(
      fc.asyncProperty(
        fc.tuple(rows, width, fc.oneof(width, fc.constantFrom(767, 769, 1537))),
        fc.tuple(fc.boolean(), sizes),
        seed,
        async ([M, N, anyK], [hasBias, size], seed) => {
          const K = Math.ceil(anyK / dtypes[dtype].block) * dtypes[dtype].block;
          const rng = new Rng(seed);
          const [x, w, bias] = [scaled(M * K, K, size, rng), stored(dtype, N, K, rng), floats(N, rng)];
          const y = await everywhere(
            `linear_f32_${dtype}`,
            M * N,
            [bytesOf(x), w.bytes, bytesOf(bias)],
            [M, N, K, +hasBias],
          );
          const tolerance = quantization([M, N, K], x, [K, 1], w.values, [1, K]);
          expectProduct(y, [M, N, K], x, [K, 1], w.values, [1, K], hasBias ? bias : undefined, tolerance);
          const g = scaled(M * N, N, size, rng);
          const dx = await everywhere(`linearGradInput_f32_${dtype}`, M * K, [bytesOf(g), w.bytes], [M, N, K]);
          const gradTolerance = quantization([M, K, N], g, [N, 1], w.values, [K, 1]);
          expectProduct(dx, [M, K, N], g, [N, 1], w.values, [K, 1], undefined, gradTolerance);
        },
      ),
      { numRuns: 15 },
    ),
  );

  /** linear and its gradient of such a shape: in f32, and in 16 bits if they are asked for. */
  const inBoth = async (M: number, N: number, K: number): Promise<[Launched[0], Float32Array, Float32Array][]> => {
    const rng = new Rng(M);
    const [x, w, g] = [M * K, N * K, M * N].map((length) => bytesOf(floats(length, rng)));
    const launches: Launched[] = [
      ['linear_f32_f32', M * N, [x, w, w], [M, N, K, 0]],
      ['linearGradInput_f32_f32', M * K, [g, w], [M, N, K]],
    ];
    return Promise.all(launches.map(async (of) => [of[0], await run(float, ...of), await everywhere(...of)]));
  };

  // An adapter's A is [rank, K], its B [N, rank].
  test.each([
    [32, 64, 576],
    [32, 576, 64],
    [32, 128, 576],
    [32, 576, 128],
    [15, 192, 192],
    [2, 192, 192],
  ])('products of few rows or as narrow as an adapter [%i, %i, %i] are in f32', async (...shape) => {
    for (const [kernel, f32, int16] of await inBoth(...shape)) expect(int16, kernel).toEqual(f32);
  });

  test('others are not', async () => {
    for (const [kernel, f32, int16] of await inBoth(16, 129, 129)) expect(int16, kernel).not.toEqual(f32);
  });

  // The sums of whole numbers that the largest lines give do not leave 32 bits: all alike, few large ones, one.
  test.each([1, 2, 40, 800])('lines of %i equal elements', async (count) => {
    const [M, N, K] = [16, 136, 800];
    const fill = (lines: number, value: number) =>
      Float32Array.from({ length: lines * K }, (_, i) => (i % K < count ? value : 0));
    const [x, w] = [fill(M, 3e4), fill(N, -7e5)];
    const y = await everywhere('linear_f32_f32', M * N, [bytesOf(x), bytesOf(w), bytesOf(w)], [M, N, K, 0]);
    for (const value of y) expect(value / (3e4 * -7e5 * count)).toBeCloseTo(1, 3);
  });

  test('zeros give zeros, and what is not a number spreads over its row or column alone', async () => {
    const [M, N, K] = [20, 136, 192];
    const rng = new Rng(1);
    const [x, w] = [floats(M * K, rng), floats(N * K, rng)];
    x.fill(0, 3 * K, 4 * K);
    x.fill(1e-35, 4 * K, 5 * K);
    x[5 * K + 7] = Number.NaN;
    x[6 * K + 8] = Number.POSITIVE_INFINITY;
    w[9 * K + 191] = Number.NEGATIVE_INFINITY;
    const y = await everywhere('linear_f32_f32', M * N, [bytesOf(x), bytesOf(w), bytesOf(w)], [M, N, K, 0]);
    for (let i = 0; i < M; i++) {
      for (let j = 0; j < N; j++) {
        const value = y[i * N + j];
        if (i === 5 || i === 6 || j === 9) expect(value).toBeNaN();
        else if (i === 3 || i === 4) expect(Math.abs(value)).toBe(0);
        else expect(Number.isFinite(value)).toBe(true);
      }
    }
  });

  // As in f32: several chunks of rows and columns, blocks of rows and of the depth, all with tails.
  test.each([
    [384, 136, 832],
    [397, 136, 1600],
    [397, 1600, 160],
    [1201, 133, 160],
    [130, 811, 832],
    [1160, 760, 160],
  ])('large products [%i, %i, %i]', async (M, N, K) => {
    const rng = new Rng(M);
    const [x, w] = [floats(M * K, rng), stored('q4_1', N, K, rng)];
    const y = await everywhere('linear_f32_q4_1', M * N, [bytesOf(x), w.bytes], [M, N, K, 0]);
    const tolerance = quantization([M, N, K], x, [K, 1], w.values, [1, K]);
    expectProduct(y, [M, N, K], x, [K, 1], w.values, [1, K], undefined, tolerance);
    const dx = await everywhere('linearGradInput_f32_q4_1', M * K, [bytesOf(y.slice()), w.bytes], [M, N, K]);
    const gradTolerance = quantization([M, K, N], y, [N, 1], w.values, [K, 1]);
    expectProduct(dx, [M, K, N], y, [N, 1], w.values, [K, 1], undefined, gradTolerance);
  });
});
