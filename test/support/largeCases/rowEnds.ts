import type { Gen } from '../../../engine/index.ts';
import { combinations } from '../../../engine/op.ts';
import { type LargeCase, opOf } from './case.ts';

/** Rows that end within a packet of four, in the first of a thread's packets and in a later one; a warp's and a block's. */
export function rowEnds(): LargeCase[] {
  const norms = ['rmsNorm', 'rmsNormGradInput', 'layerNorm', 'layerNormGradInput'];
  const losses = ['crossEntropy', 'crossEntropyGrad'];
  const cases = [
    ...[10, 11, 129, 130, 257, 259, 514, 1539].flatMap((columns) => norms.map((op) => ({ columns, def: opOf(op) }))),
    ...[259, 700, 2051].flatMap((columns) => losses.map((op) => ({ columns, def: opOf(op) }))),
  ];
  return (['f32', 'bf16'] as const).flatMap((compute) =>
    cases.map(({ columns, def }) => ({
      name: `${def.name} of ${columns} columns in ${compute}`,
      def,
      compute,
      make: (gen: Gen) => {
        const dim: Gen['dim'] = (max, options) => (max === 300 ? columns : Math.max(1, gen.dim(max, options)));
        return def.sample({ ...gen, dim }, combinations(def, compute)[0], compute);
      },
    })),
  );
}
