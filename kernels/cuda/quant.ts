import { ceilDiv, computeTypes, each, type Family, single, threads, weightTypes } from './table.ts';

const from = (types: readonly string[]): string[] => computeTypes.flatMap((T) => types.map((W) => `${T}_${W}`));

/** Four neighbours a thread; rows are whole blocks, so that all of them are one. ints: rows, columns */
const cast = single((name, { work: [n] }) => threads(name, ceilDiv(n, 4), [n]));
/** Four neighbours a thread. ints: T, C, V */
const embedding = single((name, { ints: [T, C] }) => threads(name, T * ceilDiv(C, 4)));

export const quant: Family = {
  ...each(['cast'], from([...weightTypes, 'i32']), cast),
  ...each(['embedding'], from(weightTypes), embedding),
};
