import { places } from './places.ts';
import * as w from './wasm.ts';

export type MatrixType = 'bf16' | 'f16' | 'tf32';

/** A shape of mma.sync, m16n8k<k>: how many registers of a lane hold its part of A (16×k) and B (k×8). */
export interface MatrixShape {
  readonly type: MatrixType;
  readonly k: number;
  readonly a: number;
  readonly b: number;
}

export const matrixShapes: readonly MatrixShape[] = [
  { type: 'bf16', k: 16, a: 4, b: 2 },
  { type: 'bf16', k: 8, a: 2, b: 1 },
  { type: 'f16', k: 16, a: 4, b: 2 },
  { type: 'f16', k: 8, a: 2, b: 1 },
  { type: 'tf32', k: 8, a: 4, b: 2 },
  { type: 'tf32', k: 4, a: 2, b: 1 },
];

// Bytes from one row of the operands to the next while they are multiplied, as f64.
const rowA = 16 * 8;
const rowB = 8 * 8;
const rowSums = 32 * 8;

const lowHalf = [0, 1, 2, 3, 4, 5, 6, 7];
const highHalf = lowHalf.map((byte) => byte + 8);
const swapHalves = (x: w.Code) => w.shuffle(x, x, [...highHalf, ...lowHalf]);

// f16 in the low bits of each word, to f32: with exponent and mantissa moved to their places it is 2^112 too small.
function halfToSingle(x: w.Code): w.Code {
  const magnitude = w.and(x, w.splat32(0x7fff));
  const value = w.mulF32(w.shiftLeft32(magnitude, 13), w.splat32((127 + 112) << 23));
  const notFinite = w.and(w.greater32(magnitude, w.splat32(0x7bff)), w.splat32(0x7f800000));
  const sign = w.shiftLeft32(w.and(x, w.splat32(0x8000)), 16);
  return w.or(w.or(value, notFinite), sign);
}

/** Four lanes' words as f32: of 16 bits the elements of even k and of odd k, of tf32 the only ones, whose low 13 bits count not. */
const elements: Record<MatrixType, (words: w.Code) => w.Code[]> = {
  bf16: (x) => [w.shiftLeft32(x, 16), w.and(x, w.splat32(~0xffff))],
  f16: (x) => [halfToSingle(w.and(x, w.splat32(0xffff))), halfToSingle(w.shiftRight32(x, 16))],
  tf32: (x) => [w.and(x, w.splat32(~0x1fff))],
};
/** Elements of k that one register has in the four lanes of a group. */
const width = (type: MatrixType) => (type === 'tf32' ? 4 : 8);

// A row of A keeps together what comes from one vector: of eight 16-bit elements those of even k, then those of odd k.
const positionInA = (type: MatrixType, k: number) => (type === 'tf32' ? k : (k & 8) + (k & 1) * 4 + ((k & 7) >> 1));
// A row of B has the columns of C's first register, the even ones, then those of its second.
const positionInB = (column: number) => (column & 1) * 4 + (column >> 1);

// The functions below take byte offsets: of a register's row in the file, and of a place among the operands.

function unpackA(type: MatrixType): w.WasmFunction {
  const [from, to, words, singles] = [0, 1, 2, 3];
  const body: number[] = [];
  for (let g = 0; g < 8; g++) {
    body.push(...w.setLocal(words, w.load(w.local(from), places.file + 16 * g)));
    for (const [i, element] of elements[type](w.local(words)).entries()) {
      const at = g * rowA + 32 * i;
      body.push(...w.setLocal(singles, element));
      body.push(...w.store(w.local(to), at, w.promoteLow(w.local(singles))));
      body.push(...w.store(w.local(to), at + 16, w.promoteLow(swapHalves(w.local(singles)))));
    }
  }
  return { name: `unpackA_${type}`, params: 2, vectors: 2, body };
}

function unpackB(type: MatrixType): w.WasmFunction {
  const [from, to, words, singles, pair] = [0, 1, 2, 3, 4];
  const body: number[] = [];
  for (let g = 0; g < 8; g++) {
    body.push(...w.setLocal(words, w.load(w.local(from), places.file + 16 * g)));
    const vectors = elements[type](w.local(words));
    for (const [i, element] of vectors.entries()) {
      body.push(...w.setLocal(singles, element));
      for (const high of [0, 1]) {
        const two = high === 0 ? w.local(singles) : swapHalves(w.local(singles));
        body.push(...w.setLocal(pair, w.promoteLow(two)));
        for (const half of [0, 1]) {
          const k = (2 * high + half) * vectors.length + i;
          body.push(...w.storeHalf(w.local(to), k * rowB + 8 * positionInB(g), w.local(pair), half));
        }
      }
    }
  }
  return { name: `unpackB_${type}`, params: 2, vectors: 3, body };
}

// Sums of 4 rows by the 4 columns of one of C's registers: eight vectors, which fit in the registers of every processor and are
// enough additions in flight. Products of these types are exact in f64, so that it is all one how often a multiply-add rounds.
function multiply(type: MatrixType, k: number, relaxed: boolean): w.WasmFunction {
  const [fromA, fromB, sums, column, row, first] = [0, 1, 2, 3, 5, 6];
  const body: number[] = [];
  for (let i = 0; i < 8; i++) body.push(...w.setLocal(first + i, w.load(w.local(sums), 16 * i)));
  for (let j = 0; j < k; j++) {
    for (const half of [0, 1]) body.push(...w.setLocal(column + half, w.load(w.local(fromB), rowB * j + 16 * half)));
    for (let i = 0; i < 4; i++) {
      body.push(...w.setLocal(row, w.loadSplat64(w.local(fromA), i * rowA + 8 * positionInA(type, j))));
      for (const half of [0, 1]) {
        const sum = first + 2 * i + half;
        const [x, y, z] = [row, column + half, sum].map(w.local);
        body.push(...w.setLocal(sum, relaxed ? w.relaxedMultiplyAddF64(x, y, z) : w.addF64(w.mulF64(x, y), z)));
      }
    }
  }
  for (let i = 0; i < 8; i++) body.push(...w.store(w.local(sums), 16 * i, w.local(first + i)));
  return { name: `multiply_${type}_${k}`, params: 3, vectors: 11, body };
}

function widenSums(): w.WasmFunction {
  const [from, to, singles] = [0, 1, 2];
  const body: number[] = [];
  for (let lane = 0; lane < 32; lane += 4) {
    body.push(...w.setLocal(singles, w.load(w.local(from), places.file + 4 * lane)));
    body.push(...w.store(w.local(to), 8 * lane, w.promoteLow(w.local(singles))));
    body.push(...w.store(w.local(to), 8 * lane + 16, w.promoteLow(swapHalves(w.local(singles)))));
  }
  return { name: 'widenSums', params: 2, vectors: 1, body };
}

function roundSums(): w.WasmFunction {
  const [from, to, singles] = [0, 1, 2];
  const lowHalves = [...lowHalf, ...lowHalf.map((byte) => byte + 16)];
  const body: number[] = [];
  for (let lane = 0; lane < 32; lane += 4) {
    const [x, y] = [0, 16].map((at) => w.demote(w.load(w.local(from), 8 * lane + at)));
    body.push(...w.setLocal(singles, w.shuffle(x, y, lowHalves)));
    // Every NaN becomes the canonical one.
    const isNumber = w.equalF32(w.local(singles), w.local(singles));
    const value = w.select(w.local(singles), w.splat32(0x7fffffff), isNumber);
    body.push(...w.store(w.local(to), places.file + 4 * lane, value));
  }
  return { name: 'roundSums', params: 2, vectors: 1, body };
}

/**
 * Functions that multiply what the lanes of a warp hold in their registers. For each shape:
 * `product_<type>_<k>(a…, b…)` adds A·B to the sums, `mma_<type>_<k>(a…, b…, c…, d…)` is D = A·B + C with f32 accumulators;
 * their parameters are the rows of the registers in the file, in bytes. Products are exact, and summed in f64 in ascending k
 * onto the accumulator.
 *
 * With g = lane / 4 and t = lane % 4, a lane holds of A the rows g and g + 8, of B the column g, of C and D (16×8) the rows g
 * and g + 8 at columns 2t and 2t + 1: PTX's figures in its chapter on matrix fragments.
 *
 * @param relaxed whether to use relaxed SIMD; results are the same
 */
export function mmaFunctions(relaxed: boolean): w.WasmFunction[] {
  const functions: w.WasmFunction[] = [];
  const add = (fn: w.WasmFunction) => functions.push(fn) - 1;
  const widen = add(widenSums());
  const round = add(roundSums());
  const unpackers = { bf16: unpackersOf('bf16'), f16: unpackersOf('f16'), tf32: unpackersOf('tf32') };
  for (const shape of matrixShapes) {
    const { type, k, a, b } = shape;
    const operands = Array.from({ length: a + b }, (_, i) => w.local(i));
    const product = add({ name: `product_${type}_${k}`, params: a + b, vectors: 0, body: productOf(shape, operands) });
    const body: number[] = [];
    for (let r = 0; r < 4; r++) body.push(...w.call(widen, w.local(a + b + r), w.i32(places.sums + r * rowSums)));
    body.push(...w.call(product, ...operands));
    for (let r = 0; r < 4; r++) body.push(...w.call(round, w.i32(places.sums + r * rowSums), w.local(a + b + 4 + r)));
    add({ name: `mma_${type}_${k}`, params: a + b + 8, vectors: 0, body });
  }
  return functions;

  function unpackersOf(type: MatrixType) {
    return { a: add(unpackA(type)), b: add(unpackB(type)) };
  }

  function productOf({ type, k, a }: MatrixShape, operands: readonly w.Code[]): number[] {
    const body: number[] = [];
    for (const [i, register] of operands.entries()) {
      if (i < a) {
        const to = places.a + 8 * (i & 1) * rowA + 8 * width(type) * (i >> 1);
        body.push(...w.call(unpackers[type].a, register, w.i32(to)));
      } else body.push(...w.call(unpackers[type].b, register, w.i32(places.b + width(type) * (i - a) * rowB)));
    }
    const tile = add(multiply(type, k, relaxed));
    for (let r = 0; r < 4; r++) {
      for (const row of [0, 4]) {
        const fromA = places.a + (8 * (r >> 1) + row) * rowA;
        const sums = places.sums + r * rowSums + 4 * row * 8;
        body.push(...w.call(tile, w.i32(fromA), w.i32(places.b + 32 * (r & 1)), w.i32(sums)));
      }
    }
    return body;
  }
}
