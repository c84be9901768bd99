import { Forest, type Gen, registry, type Tensor } from '../../engine/index.ts';
import { type AnyOp, combinations } from '../../engine/op.ts';
import { type PlanArrays, planArrays } from '../../engine/segments.ts';

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
  const like = (gen: Gen, rows: number, heads: number): Tensor =>
    gen.tensor([rows, heads, D], { dtype: compute, lo: -1, hi: 1 });
  // Rows behind those in use: a cache has some.
  const qkv = (gen: Gen): Tensor[] => [like(gen, queries, H), like(gen, keys + 3, KVH), like(gen, keys + 3, KVH)];
  // Log-sum-exps about the logarithm of how many keys a query sees, so that probabilities are what they are in use.
  const backward = (gen: Gen): Tensor[] => [
    like(gen, queries, H),
    ...qkv(gen),
    like(gen, queries, H),
    gen.tensor([queries, H], { lo: 3, hi: 4 }),
  ];
  return [
    make('attention', (gen) => [...qkv(gen), ...byQuery(gen), ...byKey(gen)]),
    make('attentionGradQuery', (gen) => [...backward(gen), ...byQuery(gen)]),
    make('attentionGradKeyValue', (gen) => [...backward(gen), ...byKey(gen)]),
  ];
}

/** Several tiles in a block, several blocks of keys, tiles of different segments side by side. */
export function attentionOverForests(): LargeCase[] {
  const f = forest();
  const all = planArrays(f);
  const behindPrefix = planArrays(
    f,
    Int32Array.from({ length: f.rows - 50 }, (_, i) => i + 50),
  );
  return [
    ...attentionCases('all rows', all, ['f32', 20, 2, 1]),
    ...attentionCases('all rows', all, ['bf16', 64, 2, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['f32', 64, 1, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['bf16', 128, 1, 1]),
  ];
}

/** More than one chunk of the vocabulary; and so many rows and columns that the gradient is not summed in pieces. */
export function chunkedLoss(): LargeCase[] {
  const sizes = [
    [3, 8, 4096 + 70],
    [580, 1024, 7],
  ];
  const make = (op: string, compute: 'f32' | 'bf16', [R, C, V]: number[]): LargeCase => ({
    name: `${op} of ${R} rows and ${V} tokens in ${compute}`,
    def: opOf(op),
    compute,
    make: (gen) => {
      const h = gen.tensor([R, C], { dtype: compute, lo: -(C ** -0.5), hi: C ** -0.5 });
      const w = gen.tensor([V, C], { dtype: 'f32', lo: -1, hi: 1 });
      // Both sides of the chunks' border, the last token, and one twice.
      const pairs = [0, Math.min(4095, V - 2), 0, Math.min(4096, V - 1), 1, V - 1, 2, 5, 2, 5];
      const inputs = [h, w, gen.indices(pairs, [5, 2]), gen.tensor([5], { lo: 0.1, hi: 1 })];
      return [op === 'linearLogProbs' ? inputs.slice(0, 3) : inputs, undefined];
    },
  });
  return (['f32', 'bf16'] as const).flatMap((compute) => [
    make('linearLogProbs', compute, sizes[0]),
    ...sizes.map((size) => make('linearCrossEntropy', compute, size)),
  ]);
}

/** Products of several tiles, deeper than what is in flight at a time. */
export function deepProducts(): LargeCase[] {
  const [M, N, K] = [130, 136, 144];
  return (['f32', 'bf16'] as const).flatMap((compute) => {
    const make = (op: string, shapes: number[][], attrs?: unknown): LargeCase => ({
      name: `${op} ${shapes.map((s) => `[${s}]`).join(' ')} in ${compute}`,
      def: opOf(op),
      compute,
      make: (gen) => [shapes.map((shape) => gen.tensor(shape, { dtype: compute, lo: -1, hi: 1 })), attrs],
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
    ];
  });
}

/** Rows of odd lengths: just more than a warp takes, and so many that a block of threads goes through them more than once. */
export function wideRows(): LargeCase[] {
  const ops = ['rmsNorm', 'rmsNormGradInput', 'layerNorm', 'layerNormGradInput', 'crossEntropy', 'crossEntropyGrad'];
  const cases = [259, 2051].flatMap((columns) => ops.map((op) => ({ columns, def: opOf(op) })));
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
