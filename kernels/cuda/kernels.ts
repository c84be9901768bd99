import { attention } from './attention.ts';
import { dropout } from './dropout.ts';
import { dropoutLinear } from './dropoutLinear.ts';
import { elementwise } from './elementwise.ts';
import { gather } from './gather.ts';
import { linear } from './linear.ts';
import { linearLoss } from './linearLoss.ts';
import { loss } from './loss.ts';
import { matmul } from './matmul.ts';
import { move } from './move.ts';
import { norm } from './norm.ts';
import { optimizer } from './optimizer.ts';
import { quant } from './quant.ts';
import { reduce } from './reduce.ts';
import { rope } from './rope.ts';
import { softmax } from './softmax.ts';
import { swiglu } from './swiglu.ts';
import type { Family } from './table.ts';

/** Every kernel, by the name of the .cu file that holds its entries. */
export const families: Readonly<Record<string, Family>> = {
  attention,
  dropout,
  dropoutLinear,
  elementwise,
  gather,
  linear,
  linearLoss,
  loss,
  matmul,
  move,
  norm,
  optimizer,
  quant,
  reduce,
  rope,
  softmax,
  swiglu,
};
