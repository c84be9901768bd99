import type { BlockMemory } from './blockMemory.ts';
import type { AccessCounter } from './counters.ts';
import type { Instrumentation } from './instrumentation.ts';
import { LaneAddresses } from './laneAddresses.ts';
import { arenaBytes, rowBytes } from './places.ts';
import type { SharedMemory } from './sharedMemory.ts';

const matrixRows = 8;

/**
 * ldmatrix: lane 8i + r names the 16-byte row r of matrix i; lane l receives of each matrix the two elements of row l / 4 at
 * columns 2(l % 4) and the next (of the transposed matrix: the same places with rows and columns exchanged).
 */
export function matrixLoader(
  { file, rows, functions }: BlockMemory,
  shared: SharedMemory,
  checks: Instrumentation,
  counter: AccessCounter,
) {
  const addresses = new LaneAddresses(file.ints, rows);

  /** The address is given as to LaneAddresses.read; destinations are rows of the warp's file, which begins at `base`, −1 for a sink. */
  return function loadMatrix(
    site: number,
    w: number,
    row: number,
    words: number,
    low: number,
    high: number,
    transposed: boolean,
    base: number,
    destinations: readonly number[],
  ): void {
    const lanes = matrixRows * destinations.length;
    addresses.read(row, words, low, high);
    if (checks.counters) counter.shared(rows, 0, -1 >>> (32 - lanes), rowBytes, 'loads');
    if (checks.memory) shared.readRows(site, w, lanes, addresses);
    else for (let l = 0; l < lanes; l++) rows[l] &= arenaBytes - rowBytes;
    const load = transposed ? functions.loadColumns : functions.loadRows;
    for (const [i, to] of destinations.entries()) if (to >= 0) load(4 * matrixRows * i, 4 * (base + to));
  };
}
