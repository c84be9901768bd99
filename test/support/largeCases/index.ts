import type { Target } from '../../../kernels/cuda/table.ts';
import { attentionOverForests } from './attention.ts';
import type { LargeCase } from './case.ts';
import { largeLosses } from './losses.ts';
import { columnEnds, deepProducts, fewRows, scaledLefts, tileEdges, wholeTiles } from './products.ts';
import { rowEnds } from './rowEnds.ts';

export type { LargeCase } from './case.ts';

/** All that kernels for this target compute. */
export function largeCases(target: Target): LargeCase[] {
  const all = [
    ...attentionOverForests(),
    ...largeLosses(),
    ...deepProducts(),
    ...tileEdges(target),
    ...columnEnds(target),
    ...wholeTiles(target),
    ...fewRows(),
    ...rowEnds(),
  ];
  return target >= 80 ? all : [...all.filter(({ compute }) => compute === 'f32'), ...scaledLefts()];
}
