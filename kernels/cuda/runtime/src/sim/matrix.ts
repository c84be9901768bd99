import { fromHalf, toHalf } from './float.ts';

const bits = new Int32Array(1);
const single = new Float32Array(bits.buffer);

function unpackPair(bfloat: boolean, pair: number, into: Float64Array, at: number): void {
  if (bfloat) {
    bits[0] = pair << 16;
    into[at] = single[0];
    bits[0] = pair & 0xffff0000;
    into[at + 1] = single[0];
  } else {
    into[at] = fromHalf(pair);
    into[at + 1] = fromHalf(pair >>> 16);
  }
}

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
    bfloat: boolean,
    k: number,
    base: number,
    rowsA: readonly number[],
    rowsB: readonly number[],
  ): void {
    for (let lane = 0; lane < 32; lane++) {
      const g = lane >> 2;
      const t = lane & 3;
      for (let i = 0; i < rowsA.length; i++) {
        unpackPair(bfloat, file[base + rowsA[i] + lane], a, (g + 8 * (i & 1)) * k + 2 * t + 8 * (i >> 1));
      }
      for (let i = 0; i < rowsB.length; i++) {
        unpackPair(bfloat, file[base + rowsB[i] + lane], b, g * k + 2 * t + 8 * i);
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

  const sums = new Float64Array(4);

  // The four elements of D that a lane holds, onto `sums`: four chains of additions that the processor can overlap.
  function multiply(row: number, column: number, k: number): void {
    let s0 = sums[0];
    let s1 = sums[1];
    let s2 = sums[2];
    let s3 = sums[3];
    const p = row * k;
    const p8 = p + 8 * k;
    const q = column * k;
    const q1 = q + k;
    for (let j = 0; j < k; j++) {
      const x = a[p + j];
      const x8 = a[p8 + j];
      const y = b[q + j];
      const y1 = b[q1 + j];
      s0 += x * y;
      s1 += x * y1;
      s2 += x8 * y;
      s3 += x8 * y1;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
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
    else unpackHalf(type === 'bf16', k, base, rowsA, rowsB);
    for (let lane = 0; lane < 32; lane++) {
      const at = base + lane;
      if (accumulator === 'f32') for (let i = 0; i < 4; i++) sums[i] = floats[at + rowsC[i]];
      else for (let i = 0; i < 4; i++) sums[i] = fromHalf(file[at + rowsC[i >> 1]] >>> (16 * (i & 1)));
      multiply(lane >> 2, 2 * (lane & 3), k);
      if (accumulator === 'f32') for (let i = 0; i < 4; i++) floats[at + rowsD[i]] = sums[i];
      else for (let i = 0; i < 2; i++) file[at + rowsD[i]] = toHalf(sums[2 * i]) | (toHalf(sums[2 * i + 1]) << 16);
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
