import type { AccessCounter } from './counters.ts';
import type { Instrumentation } from './instrumentation.ts';
import type { SharedMemory } from './sharedMemory.ts';

const matrixRows = 8;
const rowBytes = 16;

/**
 * ldmatrix: lane 8i + r names the 16-byte row r of matrix i; lane l receives of each matrix the two elements of row l / 4 at
 * columns 2(l % 4) and the next (of the transposed matrix: the same places with rows and columns exchanged).
 */
export function matrixLoader(file: Int32Array, shared: SharedMemory, checks: Instrumentation, counter: AccessCounter) {
  const rowOffsets = new Int32Array(32);
  const highs = new Int32Array(32);
  const { ints, halves } = shared.data;

  // A matrix's rows one after the other are what the lanes receive.
  function loadRows(matrix: number, to: number): void {
    for (let r = 0; r < matrixRows; r++) {
      const from = rowOffsets[matrixRows * matrix + r] >>> 2;
      const at = to + 4 * r;
      file[at] = ints[from];
      file[at + 1] = ints[from + 1];
      file[at + 2] = ints[from + 2];
      file[at + 3] = ints[from + 3];
    }
  }

  function loadColumns(matrix: number, to: number): void {
    for (let pair = 0; pair < 4; pair++) {
      const low = rowOffsets[matrixRows * matrix + 2 * pair] >>> 1;
      const high = rowOffsets[matrixRows * matrix + 2 * pair + 1] >>> 1;
      for (let column = 0; column < matrixRows; column++) {
        file[to + 4 * column + pair] = halves[low + column] | (halves[high + column] << 16);
      }
    }
  }

  /** `row` has the lanes' addresses, in `wide` rows of 64 bits; destinations are rows of the warp's file, −1 for a sink. */
  return function loadMatrix(
    site: number,
    w: number,
    row: number,
    wide: boolean,
    offset: number,
    transposed: boolean,
    base: number,
    destinations: readonly number[],
  ): void {
    const lanes = matrixRows * destinations.length;
    for (let l = 0; l < lanes; l++) {
      rowOffsets[l] = (wide ? file[row + 2 * l] : file[row + l]) + offset;
      highs[l] = wide ? file[row + 2 * l + 1] : 0;
    }
    if (checks.counters) counter.shared(rowOffsets, 0, lanes === 32 ? -1 : (1 << lanes) - 1, rowBytes, 'loads');
    if (checks.memory) shared.loadRows(site, w, lanes, rowOffsets, highs);
    for (let i = 0; i < destinations.length; i++) {
      if (destinations[i] < 0) continue;
      if (transposed) loadColumns(i, base + destinations[i]);
      else loadRows(i, base + destinations[i]);
    }
  };
}
