import { inParts, inTiles, type Product, partialBytes, tileOf } from './gemm.ts';
import { type Call, computeTypes, type Family, type Kernel } from './table.ts';

/** A product with few outputs, of which each sums many. */
function long(entry: string, sizes: (call: Call) => Product): Kernel {
  return {
    scratchBytes: (call) => partialBytes(sizes(call)),
    phases: (call) => {
      const p = sizes(call);
      return inParts(p, [entry, call.ints], [`${entry}_total`, [p.M, p.N]]);
    },
  };
}

const gradInputAdd: Kernel = {
  phases: ({ ints: [T, K, r], target }) => [
    inTiles('dropoutLinearGradInputAdd_f32', { tile: tileOf('f32', target), M: T, N: K, K: r }),
  ],
};

/** ints: T, K, r */
export const dropoutLinear: Family = Object.fromEntries([
  ['dropoutLinearGradInputAdd_f32', gradInputAdd],
  ...computeTypes.flatMap((type): [string, Kernel][] => [
    [
      `dropoutLinear_${type}`,
      long(`dropoutLinear_${type}`, ({ ints: [T, K, r], target }) => ({ tile: tileOf(type, target), M: T, N: r, K })),
    ],
    [
      `dropoutLinearGradWeight_${type}`,
      long(`dropoutLinearGradWeight_${type}`, ({ ints: [T, K, r], target }) => ({
        tile: tileOf(type, target),
        M: r,
        N: K,
        K: T,
      })),
    ],
  ]),
]);
