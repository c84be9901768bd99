import { attention } from './attention.ts';
import { elementwise } from './elementwise.ts';
import { gather } from './gather.ts';
import { move } from './move.ts';
import { quant } from './quant.ts';
import { reduce } from './reduce.ts';
import { linear } from './linear.ts';
import { matmul } from './matmul.ts';
import { linearLoss } from './linearLoss.ts';
import { loss } from './loss.ts';
import { rope } from './rope.ts';
import type { Family } from './table.ts';

/** Every kernel, by the name of the .cu file that holds its entries. */
export const families: Readonly<Record<string, Family>> = { attention, linearLoss, loss, rope, matmul, linear, elementwise, gather, move, quant, reduce };
