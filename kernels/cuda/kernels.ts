import { elementwise } from './elementwise.ts';
import { gather } from './gather.ts';
import { move } from './move.ts';
import { quant } from './quant.ts';
import { reduce } from './reduce.ts';
import { linear } from './linear.ts';
import { matmul } from './matmul.ts';
import type { Family } from './table.ts';

/** Every kernel, by the name of the .cu file that holds its entries. */
export const families: Readonly<Record<string, Family>> = { matmul, linear, elementwise, gather, move, quant, reduce };
