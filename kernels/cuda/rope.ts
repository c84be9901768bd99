import { ceilDiv, computeTypes, each, type Family, single, threads } from './table.ts';

/** Four pairs a thread. ints: T, H, D, P, inverse */
const rotate = single((name, { ints: [T, H, D] }) => threads(name, T * H * ceilDiv(D / 2, 4)));

export const rope: Family = each(['rope'], computeTypes, rotate);
