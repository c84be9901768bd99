import { tiles } from './matmul.ts';
import { computeTypes, each, type Family, single } from './table.ts';

const typeOf = (name: string): string => name.slice(name.indexOf('_') + 1);

/** A block for a tile of the output. ints: T, K, r; work: columns and rows of the output */
const product = single((name, { work: [columns, rows] }) => tiles(name, typeOf(name), rows, columns));

export const dropoutLinear: Family = each(
  ['dropoutLinear', 'dropoutLinearGradInput', 'dropoutLinearGradWeight'],
  computeTypes,
  product,
);
