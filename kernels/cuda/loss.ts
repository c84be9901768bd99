import { computeTypes, each, type Family, type Phase, single, threads } from './table.ts';

/** ints: R, V, n, columns of the targets */
const rows = (entry: string, R: number): Phase => ({ entry, grid: [R, 1, 1], block: [256, 1, 1] });

export const loss: Family = {
  ...each(['logProbs'], computeTypes, (name) => ({
    phases: ({ ints: [R, , n] }) => [rows(`${name}_rows`, R), threads(`${name}_targets`, n)],
  })),
  ...each(
    ['crossEntropyGrad'],
    computeTypes,
    single((name, { ints: [R] }) => rows(name, R)),
  ),
  ...each(
    ['weightedLoss'],
    ['f32'],
    single((name) => rows(name, 1)),
  ),
};
