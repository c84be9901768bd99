import { ceilDiv, computeTypes, each, type Family, single } from './table.ts';

/** A block for 128 columns of a row. ints: M, C, N */
const scatterAdd = single((entry, { ints: [, C, N] }) => ({
  entry,
  grid: [N * ceilDiv(C, 128), 1, 1],
  block: [128, 1, 1],
}));

export const gather: Family = each(['scatterAdd'], computeTypes, scatterAdd);
