import { ceilDiv, computeTypes, each, type Family, single, threads } from './table.ts';

const mask = single((name, { work }) => threads(name, work[0] * work[1]));
/** Four neighbours of a row a thread. */
const dropped = single((name, { ints: [T, C] }) => threads(name, T * ceilDiv(C, 4)));

export const dropout: Family = { ...each(['dropoutMask'], ['i32'], mask), ...each(['dropout'], computeTypes, dropped) };
