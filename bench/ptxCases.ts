// The CUDA kernels that decide the speed of a training step, at the sizes of LLaMA2-7B: `npm run bench:ptx` models them,
// `npm run bench:gpu` times them.
import { byteLength, type WeightDType } from '../engine/dtype.ts';
import { Forest } from '../engine/index.ts';
import type { BenchInput } from '../engine/op.ts';
import { maskShape } from '../engine/ops/dropout.ts';
import { planArrays } from '../engine/segments.ts';
import { gemvColumns } from '../kernels/cuda/linear.ts';

/** Sizes of a problem, as the case understands them. */
export type Sizes = readonly number[];

/** A kernel that decides the speed of a training step. */
export interface Case {
  readonly op: string;
  readonly module: string;
  readonly entry: string;
  /** Inputs without values are zeros: counters do not depend on numbers. */
  inputs(sizes: Sizes): { inputs: BenchInput[]; attrs?: unknown };
  blocks(sizes: Sizes): number;
  /** Counters are a sum of this many times what one block does once, and once for each of its steps; a mean where blocks differ. */
  steps(sizes: Sizes): number;
  /** Of what the op asks for: a kernel may do more, which it masks. */
  flops(sizes: Sizes): number;
  bytes(sizes: Sizes): number;
  /** Run on the simulator; they differ in their steps. Counters of a block of the first one are printed. */
  readonly simulated: readonly [Sizes, Sizes];
  /** LLaMA2-7B, 2048 tokens; never simulated. */
  readonly extrapolated: readonly Sizes[];
}

/** Products [M, K]·[K, N] of a 7B layer: q, k, v, o; gate, up; down. */
const layers: readonly Sizes[] = [
  [2048, 4096, 4096],
  [2048, 11008, 4096],
  [2048, 4096, 11008],
];

/** Rank of the adapter in `loraLinear` and `loraLinearGradInput`. */
const RANK = 16;

/** The weight of a product in `stored` blocks is widened for `entry`: neither counters nor bytes know of that. */
function product(op: string, entry: string, tile: number, depth: number, stored?: WeightDType): Case {
  const adapted = op.startsWith('lora');
  const backwards = op.endsWith('GradInput');
  const r = adapted ? RANK : 0;
  /** What an adapter adds: u and B, in the gradient gu, A and the mask. */
  const adapterOf = (M: number, N: number): BenchInput[] =>
    backwards
      ? [
          { shape: [M, r], dtype },
          { shape: [r, N], dtype: 'f32' },
          { shape: maskShape(M, N), dtype: 'i32' },
        ]
      : [
          { shape: [M, r], dtype },
          { shape: [N, r], dtype: 'f32' },
        ];
  const dtype = entry.includes('bf16') ? 'bf16' : 'f32';
  const size = dtype === 'bf16' ? 2 : 4;
  return {
    op,
    module: 'linear',
    entry,
    inputs: ([M, N, K]) => ({
      inputs: [
        { shape: [M, K], dtype },
        { shape: backwards ? [K, N] : [N, K], dtype: stored ?? dtype },
        ...(adapted ? adapterOf(M, N) : []),
      ],
      attrs: adapted && backwards ? { p: 0.1, scale: 2 } : undefined,
    }),
    blocks: ([M, N]) => Math.ceil(M / tile) * Math.ceil(N / tile),
    steps: ([, , K]) => Math.ceil(K / depth),
    flops: ([M, N, K]) => 2 * M * N * (K + r),
    bytes: ([M, N, K]) => size * (M * K + N * K + M * N + M * r) + 4 * N * r + (adapted && backwards ? (M * N) / 8 : 0),
    // 128 blocks: the sums of fewer would be cut along k, as no large product's are.
    simulated: [
      [16 * tile, 8 * tile, 256],
      [16 * tile, 8 * tile, 512],
    ],
    extrapolated: layers,
  };
}

/** A product of one row with a weight that is read as it is stored, sizes [1, N, K]. */
function gemv(stored: WeightDType): Case {
  return {
    op: 'linear',
    module: 'linear',
    entry: `linear_bf16_${stored}_gemv`,
    inputs: ([M, N, K]) => ({
      inputs: [
        { shape: [M, K], dtype: 'bf16' },
        { shape: [N, K], dtype: stored },
      ],
    }),
    blocks: ([, N]) => N / gemvColumns(stored),
    steps: ([, , K]) => K / 1024,
    flops: ([M, N, K]) => 2 * M * N * K,
    bytes: ([M, N, K]) => 2 * M * (N + K) + byteLength(stored, [N, K]),
    simulated: [
      [1, 16, 1024],
      [1, 16, 2048],
    ],
    extrapolated: layers.map(([, N, K]) => [1, N, K]),
  };
}

/** Rows of q or k that a block has: four tiles of the plan. */
const OWN = 128;

/** Causal attention over one sequence, sizes [T, H, D]; of `rows` tensors of [T, H, D] and `products` products of length D. */
function attention(op: string, D: number, products: number, rows: number): Case {
  const pairs = (T: number): number => (T * (T + 1)) / 2;
  return {
    op,
    module: 'attention',
    entry: `${op}_bf16_mma${D}`,
    inputs: ([T, H]) => {
      const forest = new Forest();
      forest.add(-1, T);
      const { queryTiles, keySpans, keyTiles, querySpans } = planArrays(forest);
      const heads: BenchInput = { shape: [T, H, D], dtype: 'bf16' };
      const list = (values: number[], width: number): BenchInput => ({
        shape: [values.length / width, width],
        dtype: 'i32',
        values,
      });
      const byQuery = [list(queryTiles, 5), list(keySpans, 2)];
      const byKey = [list(keyTiles, 4), list(querySpans, 3)];
      const saved: BenchInput[] = [heads, heads, heads, heads, heads, { shape: [T, H], dtype: 'f32' }];
      const inputs = {
        attention: [heads, heads, heads, ...byQuery, ...byKey],
        attentionGradQuery: [...saved, ...byQuery],
        attentionGradKeyValue: [...saved, ...byKey],
      }[op] as BenchInput[];
      return { inputs, attrs: { scale: D ** -0.5, keys: T, pairs: pairs(T) } };
    },
    blocks: ([T, H]) => (T / OWN) * H,
    // The block on the diagonal is the same for all; of those beside it, the first block has none and the last one the most.
    steps: ([T]) => (T / OWN - 1) / 2,
    flops: ([T, H]) => 2 * products * pairs(T) * H * D,
    bytes: ([T, H]) => 2 * rows * T * H * D,
    simulated: [
      [2 * OWN, 1, D],
      [3 * OWN, 1, D],
    ],
    extrapolated: [[2048, 4096 / D, D]],
  };
}

export const cases: readonly Case[] = [
  product('linear', 'linear_bf16_async', 128, 32),
  product('loraLinear', 'loraLinear_bf16_async', 128, 32),
  product('linearGradInput', 'linearGradInput_bf16_async', 128, 32),
  product('loraLinearGradInput', 'loraLinearGradInput_bf16_async', 128, 32),
  product('linear', 'linear_f32', 64, 16),
  product('linearGradInput', 'linearGradInput_f32', 64, 16),
  ...(['bf16', 'q8_0', 'q4_0', 'q4_k'] as const).map(gemv),
  ...[128, 64].flatMap((D) => [
    attention('attention', D, 2, 4),
    attention('attentionGradQuery', D, 3, 6),
    attention('attentionGradKeyValue', D, 4, 6),
  ]),
];

/** Products with weights that they widen first. */
export const storedCases: readonly Case[] = (['q8_0', 'q4_k'] as const).flatMap((stored) => [
  product('linear', 'linear_bf16_async', 128, 32, stored),
  product('linearGradInput', 'linearGradInput_bf16_async', 128, 32, stored),
]);
