import { attentionOverForests } from './attention.ts';
import type { LargeCase } from './case.ts';
import { largeLosses } from './losses.ts';
import { columnEnds, deepProducts, fewRows, tileEdges, wholeTiles } from './products.ts';
import { rowEnds } from './rowEnds.ts';

export type { LargeCase } from './case.ts';

/** All of them. */
export const largeCases = (): LargeCase[] => [
  ...attentionOverForests(),
  ...largeLosses(),
  ...deepProducts(),
  ...tileEdges(),
  ...columnEnds(),
  ...wholeTiles(),
  ...fewRows(),
  ...rowEnds(),
];
