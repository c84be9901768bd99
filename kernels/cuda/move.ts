import { broadcast, ceilDiv, computeTypes, each, type Family, type Kernel, single, threads } from './table.ts';

const stored = [...computeTypes, 'i32'];

/** Four neighbours a thread. ints: rows, elements of each … */
const copyRows = single((name, { ints: [rows, length] }) => threads(name, rows * ceilDiv(length, 4)));
const appendRows = single((name, { ints: [, n] }) => threads(name, ceilDiv(n, 4)));

const MAX_GRID = 65535;

/** ints: outer, A, middle, B, inner */
const transpose = (name: string): Kernel => ({
  phases: ({ ints: [outer, A, middle, B, inner], work }) => {
    const batch = outer * middle;
    if (inner > 1 || batch > MAX_GRID || ceilDiv(A, 32) > MAX_GRID) return [threads(`${name}_rows`, work[0])];
    return [{ entry: `${name}_tiles`, grid: [ceilDiv(B, 32), ceilDiv(A, 32), batch], block: [32, 8, 1] }];
  },
});

export const move: Family = {
  ...each(['copyRows'], stored, copyRows),
  ...each(['appendRows'], computeTypes, appendRows),
  ...each(['transpose'], stored, transpose),
  ...each(['expand'], computeTypes, broadcast(4)),
};
