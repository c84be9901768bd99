import { Forest, type Gen, type Tensor } from '../../../engine/index.ts';
import { type PlanArrays, planArrays } from '../../../engine/segments.ts';
import { host } from '../gradcheck.ts';
import { type LargeCase, opOf } from './case.ts';

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
  // One key takes it all: e to a difference to anything but the largest score is infinite.
  const sure = (which: string, change: (x: number, key: number, column: number) => number): LargeCase => {
    const inputs = (gen: Gen): Tensor[] => {
      const [q, k] = [like(gen, queries, H, [0.5, 1]), like(gen, keys + 3, KVH, [0.5, 1])];
      const values = host(k);
      for (const [i, x] of values.entries()) values[i] = change(x, Math.floor(i / (KVH * D)), i % D);
      return [q, k, like(gen, keys + 3, KVH), ...byQuery(gen), ...byKey(gen)];
    };
    const made = make('attention', inputs);
    return { ...made, name: `${made.name}, sure of the ${which}` };
  };
  return [
    make('attention', (gen) => [...qkv(gen), ...byQuery(gen), ...byKey(gen)]),
    sure('first key of a tree', (x, key) => (key % 73 === 0 ? x : -256 * x)),
    // Σ ⌊(key + d)/D⌋ over columns d is key: each one more is larger in one column.
    sure('last key seen', (_, key, column) => 4096 * Math.floor((key + column) / D)),
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
    ...attentionCases('all rows', all, ['bf16', 43, 2, 1]),
    // Three and four columns a lane, and as many packets a thread.
    ...attentionCases('all rows', all, ['f32', 99, 1, 1]),
    ...attentionCases('all rows', all, ['bf16', 99, 1, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['f32', 72, 1, 1]),
    ...attentionCases('behind a cached prefix', behindPrefix, ['bf16', 128, 1, 1]),
  ];
}
