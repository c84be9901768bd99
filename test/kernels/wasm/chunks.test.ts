import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWasmBackend, type WasmBackend } from '../../../engine/backends/wasm.ts';
import { launch } from './launcher.ts';

// Sizes of several chunks, which the ops' own parity tests are too small to reach.
const backends: WasmBackend[] = [];
beforeAll(async () => {
  for (const threads of [1, 3]) backends.push(await createWasmBackend({ threads }));
});
afterAll(() => Promise.all(backends.map((backend) => backend.close())));

/** The output on one thread, after checking that three threads give the same bits. */
async function both(kernel: string, length: number, x: Float32Array, ints: number[]): Promise<Float32Array> {
  // Rubbish in the output: what a kernel leaves out shows.
  const [one, three] = await Promise.all(
    backends.map((backend) => launch(backend, kernel, new Float32Array(length).fill(77), [x], { ints })),
  );
  expect(three).toEqual(one);
  return one;
}

const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898));

describe('sumTo_f32', () => {
  // [extents of x, strides of the output along them]
  test.each([
    { what: 'rows', dims: [700, 576], strides: [0, 1] },
    { what: 'columns', dims: [700, 576], strides: [1, 0] },
    { what: 'everything', dims: [300_001], strides: [0] },
    { what: 'nothing', dims: [50_000], strides: [1] },
    { what: 'the middle axis', dims: [70, 80, 60], strides: [60, 0, 1] },
    { what: 'the outer axes', dims: [70, 80, 60], strides: [0, 1, 0] },
    { what: 'rows of a few columns', dims: [100_000, 3], strides: [1, 0] },
    { what: 'an axis of no elements', dims: [0, 30], strides: [0, 1] },
    { what: 'rows of no elements', dims: [30, 0], strides: [1, 0] },
  ])('$what', async ({ dims, strides }) => {
    const x = numbers(dims.reduce((a, b) => a * b, 1));
    const size = dims.reduce((n, extent, axis) => (strides[axis] > 0 ? n * extent : n), 1);
    const y = await both('sumTo_f32', size, x, [size, dims.length, ...dims, ...strides]);
    const [sums, magnitudes] = [new Float64Array(size), new Float64Array(size)];
    for (const [i, v] of x.entries()) {
      let [rest, j] = [i, 0];
      for (let axis = dims.length - 1; axis >= 0; axis--) {
        j += (rest % dims[axis]) * strides[axis];
        rest = Math.floor(rest / dims[axis]);
      }
      sums[j] += v;
      magnitudes[j] += Math.abs(v);
    }
    const wrong = sums.findIndex((sum, j) => !(Math.abs(y[j] - sum) <= 1e-6 * magnitudes[j]));
    expect(wrong, `sum ${wrong} is ${y[wrong]}, not ${sums[wrong]}`).toBe(-1);
  });
});

test('copyRows_f32 leaves the rest of the output alone', async () => {
  const [rows, taken, outRow, begin, row, from] = [900, 61, 70, 5, 65, 2];
  const x = numbers(rows * row);
  const y = await both('copyRows_f32', rows * outRow, x, [rows, taken, outRow, begin, row, from]);
  for (const [i, v] of y.entries()) {
    const [r, j] = [Math.floor(i / outRow), (i % outRow) - begin];
    if (v !== (j >= 0 && j < taken ? x[r * row + from + j] : 77)) throw new Error(`element ${j} of row ${r} is ${v}`);
  }
});

test.each([
  [1, 300, 1, 500, 1],
  [2, 65, 3, 67, 5],
])('transpose_f32 of [%i, %i, %i, %i, %i]', async (outer, A, middle, B, inner) => {
  const x = numbers(outer * A * middle * B * inner);
  const y = await both('transpose_f32', x.length, x, [outer, A, middle, B, inner]);
  let from = 0;
  for (let o = 0; o < outer; o++)
    for (let a = 0; a < A; a++)
      for (let m = 0; m < middle; m++)
        for (let b = 0; b < B; b++)
          for (let i = 0; i < inner; i++, from++) {
            const to = (((o * B + b) * middle + m) * A + a) * inner + i;
            if (y[to] !== x[from]) throw new Error(`element ${to} is ${y[to]}, expected ${x[from]}`);
          }
});
