import type { DType } from '../../engine/dtype.ts';
import { Forest, type Gen, registry, type Tensor } from '../../engine/index.ts';
import { type AnyOp, combinations } from '../../engine/op.ts';
import { type PlanArrays, planArrays } from '../../engine/segments.ts';
import { host } from './gradcheck.ts';

/** One case for `checkParity` that the derived suite's sizes do not reach. */
export interface LargeCase {
  name: string;
  def: AnyOp;
  compute: 'f32' | 'bf16';
  /** Made when they are wanted, on the generator's backend. */
  make(gen: Gen): [inputs: Tensor[], attrs: unknown];
}

function opOf(name: string): AnyOp {
  const def = registry.get(name);
  if (!def) throw new Error(`no op ${name}`);
  return def;
}

/** A shared root with children and a grandchild, empty and single rows among them, and a segment of its own. */
function forest(): Forest {
  const f = new Forest();
  const root = f.add(-1, 70);
  const child = f.add(root, 37);
  f.add(child, 0);
  f.add(child, 5);
  f.add(root, 1);
  f.add(root, 33);
  f.add(-1, 67);
  return f;
}

function attentionCases(
  name: string,
  plan: PlanArrays,
  [compute, D, H, KVH]: ['f32' | 'bf16', number, number, number],
): LargeCase[] {
  const { queries, keys, pairs } = plan;
  const attrs = { scale: D ** -0.5, keys, pairs };
  const make = (op: string, inputs: (gen: Gen) => Tensor[]): LargeCase => ({
    name: `${op}, ${H} heads of ${D} in ${compute}, ${name}`,
    def: opOf(op),
    compute,
    make: (gen) => [inputs(gen), attrs],
  });
  const indices = (gen: Gen, values: number[], width: number): Tensor =>
    gen.indices(values, [values.length / width, width]);
  const byQuery = (gen: Gen): Tensor[] => [indices(gen, plan.queryTiles, 5), indices(gen, plan.keySpans, 2)];
  const byKey = (gen: Gen): Tensor[] => [indices(gen, plan.keyTiles, 4), indices(gen, plan.querySpans, 3)];
  // In bf16 of one sign: sums of absolute values, of which the bound is made, are then the sums, and no key hides in it.
  const [least, score] = compute === 'bf16' ? [0.25, 0.4 * D ** 0.5] : [-1, 0];
  const like = (gen: Gen, rows: number, heads: number, [lo, hi] = [least, 1]): Tensor =>
    gen.tensor([rows, heads, D], { dtype: compute, lo, hi });
  // Rows behind those in use: a cache has some.
  const qkv = (gen: Gen): Tensor[] => [like(gen, queries, H), like(gen, keys + 3, KVH), like(gen, keys + 3, KVH)];
  // Log-sum-exps about the logarithm of how many keys a query sees, so that probabilities are what they are in use; o
  // beyond |v|, so that no dS cancels.
  const backward = (gen: Gen): Tensor[] => [
    like(gen, queries, H),
    ...qkv(gen),
    like(gen, queries, H, [1.5, 2]),
    gen.tensor([queries, H], { lo: score + 3, hi: score + 4 }),
  ];
  // The first key of each tree takes it all: e to a difference to anything but the largest score is infinite.
  const sure = (gen: Gen): Tensor[] => {
    const [q, k, v] = [like(gen, queries, H, [0.25, 1]), like(gen, keys + 3, KVH, [0.25, 1]), like(gen, keys + 3, KVH)];
    const values = host(k);
    for (let i = 0; i < values.length; i++) if (Math.floor(i / (KVH * D)) % 73 !== 0) values[i] *= -256;
    return [q, k, v];
  };
  const sureAttention = make('attention', (gen) => [...sure(gen), ...byQuery(gen), ...byKey(gen)]);
  return [
    make('attention', (gen) => [...qkv(gen), ...byQuery(gen), ...byKey(gen)]),
    { ...sureAttention, name: `sure ${sureAttention.name}` },
    make('attentionGradQuery', (gen) => [...backward(gen), ...byQuery(gen)]),
    make('attentionGradKeyValue', (gen) => [...backward(gen), ...byKey(gen)]),
  ];
}

/** Several tiles in a block, several blocks of keys, tiles of different segments side by side. */
function attentionOverForests(): LargeCase[] {
  const f = forest();
  const all = planArrays(f);
  const behindPrefix = planArrays(
    f,
    Int32Array.from({ length: f.rows - 50 }, (_, i) => i + 50),
  );
  return [
    ...attentionCases('all rows', all, ['f32', 20, 2, 1]),
    ...attentionCases('all rows', all, ['bf16', 64, 2, 1]),
    ...attentionCases('all rows', all, ['bf16', 43, 2, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['f32', 64, 1, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['bf16', 128, 1, 1]),
  ];
}

/** `name` for h [R, C], W [V, C] and pairs (row, token); `change` has the values of h and W. */
function lossCase(
  name: string,
  [R, C, V]: [number, number, number],
  pairs: number[],
  compute: 'f32' | 'bf16',
  change: (h: Float64Array, w: Float64Array) => void = () => {},
): LargeCase {
  return {
    name: `${name} of ${R} rows, ${V} tokens, ${pairs.length / 2} targets in ${compute}`,
    def: opOf(name),
    compute,
    make: (gen) => {
      const h = gen.tensor([R, C], { dtype: compute, lo: -(C ** -0.5), hi: C ** -0.5 });
      const w = gen.tensor([V, C], { dtype: 'f32', lo: -1, hi: 1 });
      change(host(h), host(w));
      const n = pairs.length / 2;
      const inputs = [h, w, gen.indices(pairs, [n, 2]), gen.tensor([n], { lo: 0.1, hi: 1 })];
      return [name === 'linearLogProbs' ? inputs.slice(0, 3) : inputs, undefined];
    },
  };
}

/** Losses beyond a chunk of the vocabulary, a block's threads, a block's columns, and beyond what e to the power of it can be. */
function largeLosses(): LargeCase[] {
  const chunks: [number, number, number] = [3, 8, 4096 + 70];
  // Both sides of the chunks' border, the last token, and one twice.
  const border = [0, 4095, 0, 4096, 1, chunks[2] - 1, 2, 5, 2, 5];
  // A token for each row takes it all, in the first chunk or the second: e to a difference to another logit is infinite.
  const sure = (h: Float64Array, w: Float64Array): void => {
    for (const [row, token] of [4100, 0, 2000].entries()) {
      h[row * chunks[1] + row] = 64;
      w[token * chunks[1] + row] = 4;
    }
  };
  // More targets than threads; the last ones are a token and a row that there are not.
  const many = Array.from({ length: 298 }, (_, i) => [i % 2, (7 * i) % 9]).flat();
  many.push(2, 9, 3, 0);
  const sureCase = (name: string, compute: 'f32' | 'bf16'): LargeCase => ({
    ...lossCase(name, chunks, border, compute, sure),
    name: `${name} of sure tokens in ${compute}`,
  });
  return [
    lossCase('linearLogProbs', chunks, border, 'f32'),
    sureCase('linearLogProbs', 'f32'),
    ...(['f32', 'bf16'] as const).flatMap((compute) => [
      lossCase('linearCrossEntropy', chunks, border, compute),
      sureCase('linearCrossEntropy', compute),
      lossCase('linearCrossEntropy', [3, 1030, 40], [0, 3, 2, 39], compute),
      lossCase('linearCrossEntropy', [3, 12, 9], many, compute),
      ...sureLogits(compute),
      ...manyTargets(compute, many),
    ]),
  ];
}

function sureLogits(compute: 'f32' | 'bf16'): LargeCase[] {
  const make = (gen: Gen): [Tensor[], unknown] => {
    const [R, V] = [3, 2051];
    const logits = gen.tensor([R, V], { dtype: compute, lo: -0.5, hi: 0.5 });
    for (const [row, token] of [0, 1, 1300].entries()) host(logits)[row * V + token] = 200;
    return [[logits, gen.ints([R], 3, 9), gen.tensor([R], { lo: 0.1, hi: 1 })], undefined];
  };
  return [{ name: `crossEntropy of sure tokens in ${compute}`, def: opOf('crossEntropy'), compute, make }];
}

function manyTargets(compute: 'f32' | 'bf16', pairs: number[]): LargeCase[] {
  const [R, V, n] = [3, 9, pairs.length / 2];
  const make = (op: string, inputs: (gen: Gen, shared: Tensor[]) => Tensor[]): LargeCase => ({
    name: `${op} of ${n} targets in ${compute}`,
    def: opOf(op),
    compute,
    make: (gen) => {
      const logits = gen.tensor([R, V], { dtype: compute, lo: -0.5, hi: 0.5 });
      const shared = [logits, gen.indices(pairs, [n, 2]), gen.tensor([n], { lo: 0.1, hi: 1 })];
      return [inputs(gen, shared), undefined];
    },
  });
  return [
    make('crossEntropy', (_, shared) => shared),
    make('crossEntropyGrad', (gen, shared) => [
      gen.tensor([], { apart: 0.1 }),
      ...shared,
      gen.tensor([R], { lo: 2, hi: 2.3 }),
    ]),
  ];
}

/** Products of several tiles, deeper than what is in flight at a time. */
function deepProducts(): LargeCase[] {
  const [M, N, K] = [130, 136, 144];
  return (['f32', 'bf16'] as const).flatMap((compute) => {
    const make = (op: string, shapes: number[][], dtypes: DType[] = shapes.map(() => compute)): LargeCase => ({
      name: `${op} ${shapes.map((s) => `[${s}]`).join(' ')} in ${compute}`,
      def: opOf(op),
      compute,
      make: (gen) => [shapes.map((shape, i) => gen.tensor(shape, { dtype: dtypes[i], lo: -1, hi: 1 })), undefined],
    });
    return [
      make('linear', [
        [M, K],
        [N, K],
      ]),
      make('linearGradInput', [
        [M, N],
        [N, K],
      ]),
      // A rank deeper than what is in flight.
      make(
        'loraLinear',
        [
          [M, 16],
          [N, 16],
          [M, K],
          [N, K],
        ],
        [compute, 'f32', compute, 'f32'],
      ),
      // Cut into parts.
      make('linearGradInput', [
        [5, 261],
        [261, 6],
      ]),
    ];
  });
}

/**
 * Products whose edges fall on every part of a tile: rows on each of those that a thread has, the end of k in each stage of
 * the pipeline and beyond a cut, four neighbours that lack one, two or three.
 */
function tileEdges(): LargeCase[] {
  const edges = {
    f32: [
      [7, 30, 45],
      [21, 61, 35],
      [42, 27, 71],
      [59, 46, 32],
      [8, 3, 18],
      [12, 5, 6],
      [9, 9, 17],
      [14, 66, 3],
      [5, 6, 261],
    ],
    bf16: [
      [7, 30, 45],
      [21, 125, 70],
      [107, 27, 71],
      [123, 94, 96],
      [5, 6, 261],
    ],
  };
  const flags = [false, true];
  const layouts = flags.flatMap((transA) => flags.map((transB) => ({ transA, transB })));
  const products = [
    { compute: 'f32', to: undefined },
    { compute: 'bf16', to: undefined },
    { compute: 'bf16', to: 'f32' },
  ] as const;
  return products.flatMap(({ compute, to }) =>
    layouts.flatMap(({ transA, transB }) =>
      edges[compute].map(([M, N, K]) => ({
        name: `matmul ${transA ? 't' : 'n'}${transB ? 't' : 'n'} of ${M}×${N}×${K} in ${compute}${to ? ` to ${to}` : ''}`,
        def: opOf('matmul'),
        compute,
        make: (gen: Gen): [Tensor[], unknown] => {
          const shapes = [transA ? [K, M] : [M, K], transB ? [N, K] : [K, N]];
          return [shapes.map((shape) => gen.tensor(shape, { dtype: compute, lo: -1, hi: 1 })), { transA, transB, to }];
        },
      })),
    ),
  );
}

/** Rows that end within a packet of four, in the first of a thread's packets and in a later one; a warp's and a block's. */
function rowEnds(): LargeCase[] {
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

/** All of them. */
export const largeCases = (): LargeCase[] => [
  ...attentionOverForests(),
  ...largeLosses(),
  ...deepProducts(),
  ...tileEdges(),
  ...rowEnds(),
];
