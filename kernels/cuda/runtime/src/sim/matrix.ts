import { fromBfloat, fromHalf, toHalf } from './float.ts';

const bits = new Int32Array(1);
const single = new Float32Array(bits.buffer);

/**
 * mma.sync over rows of the register file. With g = lane / 4 and t = lane % 4, a lane holds of A (16×k) the rows g and g + 8,
 * of B (k×8) the column g, of C and D (16×8) the rows g and g + 8 at columns 2t and 2t + 1; PTX's figures in its chapter on
 * matrix fragments. Products are exact and summed in double in ascending k onto the accumulator, then rounded once.
 */
export function matrixFunctions(file: Int32Array, floats: Float32Array) {
  const a = new Float64Array(16 * 16);
  const b = new Float64Array(8 * 16);

  // Elements of 16 bits: two a register, neighbours in k.
  function unpackHalf(
    decode: (bits: number) => number,
    k: number,
    base: number,
    rowsA: readonly number[],
    rowsB: readonly number[],
  ): void {
    for (let lane = 0; lane < 32; lane++) {
      const g = lane >> 2;
      const t = lane & 3;
      for (let i = 0; i < rowsA.length; i++) {
        const at = (g + 8 * (i & 1)) * k + 2 * t + 8 * (i >> 1);
        const pair = file[base + rowsA[i] + lane];
        a[at] = decode(pair & 65535);
        a[at + 1] = decode(pair >>> 16);
      }
      for (let i = 0; i < rowsB.length; i++) {
        const at = g * k + 2 * t + 8 * i;
        const pair = file[base + rowsB[i] + lane];
        b[at] = decode(pair & 65535);
        b[at + 1] = decode(pair >>> 16);
      }
    }
  }

  // tf32 elements: one a register; the low 13 bits are not read.
  function unpackTf32(k: number, base: number, rowsA: readonly number[], rowsB: readonly number[]): void {
    for (let lane = 0; lane < 32; lane++) {
      const g = lane >> 2;
      const t = lane & 3;
      for (let i = 0; i < rowsA.length; i++) {
        bits[0] = file[base + rowsA[i] + lane] & ~0x1fff;
        a[(g + 8 * (i & 1)) * k + t + 4 * (i >> 1)] = single[0];
      }
      for (let i = 0; i < rowsB.length; i++) {
        bits[0] = file[base + rowsB[i] + lane] & ~0x1fff;
        b[g * k + t + 4 * i] = single[0];
      }
    }
  }

  function dot(row: number, column: number, k: number, start: number): number {
    let sum = start;
    const p = row * k;
    const q = column * k;
    for (let j = 0; j < k; j++) sum += a[p + j] * b[q + j];
    return sum;
  }

  function mma(
    type: 'f16' | 'bf16' | 'tf32',
    accumulator: 'f32' | 'f16',
    k: number,
    base: number,
    rowsA: readonly number[],
    rowsB: readonly number[],
    rowsC: readonly number[],
    rowsD: readonly number[],
  ): void {
    if (type === 'tf32') unpackTf32(k, base, rowsA, rowsB);
    else unpackHalf(type === 'f16' ? fromHalf : fromBfloat, k, base, rowsA, rowsB);
    for (let lane = 0; lane < 32; lane++) {
      const g = lane >> 2;
      const column = 2 * (lane & 3);
      if (accumulator === 'f32') {
        const r0 = dot(g, column, k, floats[base + rowsC[0] + lane]);
        const r1 = dot(g, column + 1, k, floats[base + rowsC[1] + lane]);
        const r2 = dot(g + 8, column, k, floats[base + rowsC[2] + lane]);
        const r3 = dot(g + 8, column + 1, k, floats[base + rowsC[3] + lane]);
        floats[base + rowsD[0] + lane] = r0;
        floats[base + rowsD[1] + lane] = r1;
        floats[base + rowsD[2] + lane] = r2;
        floats[base + rowsD[3] + lane] = r3;
      } else {
        for (let i = 0; i < 2; i++) {
          const c = file[base + rowsC[i] + lane];
          const lo = dot(g + 8 * i, column, k, fromHalf(c));
          const hi = dot(g + 8 * i, column + 1, k, fromHalf(c >>> 16));
          file[base + rowsD[i] + lane] = toHalf(lo) | (toHalf(hi) << 16);
        }
      }
    }
  }

  return { mma };
}

/**
 * ldmatrix: lane 8i + r names the 16-byte row r of matrix i; lane l receives of each matrix the two elements of row l / 4 at
 * columns 2(l % 4) and the next (of the transposed matrix: the same places with rows and columns exchanged).
 */
export function loadMatrixRows(
  file: Int32Array,
  shared: Uint16Array,
  rowOffsets: Int32Array,
  transposed: boolean,
  base: number,
  destinations: readonly number[],
): void {
  for (let i = 0; i < destinations.length; i++) {
    if (destinations[i] < 0) continue;
    const destination = base + destinations[i];
    for (let lane = 0; lane < 32; lane++) {
      const major = lane >> 2;
      const minor = 2 * (lane & 3);
      let low: number;
      let high: number;
      if (transposed) {
        low = shared[(rowOffsets[8 * i + minor] >>> 1) + major];
        high = shared[(rowOffsets[8 * i + minor + 1] >>> 1) + major];
      } else {
        const at = (rowOffsets[8 * i + major] >>> 1) + minor;
        low = shared[at];
        high = shared[at + 1];
      }
      file[destination + lane] = low | (high << 16);
    }
  }
}
