import { ceilDiv, computeTypes, each, type Family, single, threads } from './table.ts';

const floats = ['f32', 'f16', 'bf16'];
const from = (types: readonly string[]): string[] => computeTypes.flatMap((T) => types.map((W) => `${T}_${W}`));

/** Four neighbours a thread. ints: rows, columns */
const cast = single((name, { work }) => threads(name, ceilDiv(work[0], 4)));
/** Four neighbours a thread. ints: T, C, V */
const embedding = single((name, { ints: [T, C] }) => threads(name, T * ceilDiv(C, 4)));

export const quant: Family = {
  ...each(['cast'], from([...floats, 'i32']), cast),
  ...each(['embedding'], from(floats), embedding),
};
