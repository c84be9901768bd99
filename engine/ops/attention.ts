import type { DType } from '../dtype.ts';
import { type BenchInput, elementsOf, type Gen, type Launch, op, type Spec } from '../op.ts';
import { type AttentionPlan, Forest, type PlanArrays, planArrays } from '../segments.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import { storedBytes, type Tensor } from '../tensor.ts';

interface AttentionAttrs {
  scale: number;
  /** Rows of k and v that are in use; behind them a cache may hold anything. */
  keys: number;
  /** Visible (query, key) pairs, for the cost. */
  pairs: number;
}

/** Sizes of q [Tq, H, D] and k [Tk, KVH, D]; `group` query heads share a key head. */
function dims(name: string, q: Spec, k: Spec, v: Spec) {
  const [Tq, H, D] = q.shape;
  const [Tk, KVH, width] = k.shape;
  const shapes = `q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}`;
  if (q.shape.length !== 3 || k.shape.length !== 3 || formatShape(k.shape) !== formatShape(v.shape)) {
    throw new ShapeError(`${name}: needs q [Tq, H, D] and k, v [Tk, KVH, D], found ${shapes}`);
  }
  if (width !== D) throw new ShapeError(`${name}: ${shapes}: axis 2 is ${D} against ${width}`);
  if (KVH === 0 || H % KVH !== 0) throw new ShapeError(`${name}: ${shapes}: ${KVH} key heads do not divide ${H} heads`);
  return { Tq, H, D, Tk, KVH, group: H / KVH };
}

/** Calls `visit(q, keys)` for every query of the plan with the key rows it sees, ascending. */
function eachQuery(tiles: ArrayLike<number>, spans: ArrayLike<number>, visit: (q: number, keys: number[]) => void) {
  for (let t = 0; t < tiles.length; t += 5) {
    for (let i = 0; i < tiles[t + 1]; i++) {
      const keys: number[] = [];
      for (let s = tiles[t + 3]; s < tiles[t + 3] + tiles[t + 4]; s++) {
        for (let k = spans[2 * s]; k < spans[2 * s + 1] && k <= tiles[t + 2] + i; k++) keys.push(k);
      }
      visit(tiles[t] + i, keys);
    }
  }
}

/** Calls `visit(k, queries)` for every key of the plan with the queries that see it, ascending. */
function eachKey(tiles: ArrayLike<number>, spans: ArrayLike<number>, visit: (k: number, queries: number[]) => void) {
  for (let t = 0; t < tiles.length; t += 4) {
    for (let k = tiles[t]; k < tiles[t] + tiles[t + 1]; k++) {
      const queries: number[] = [];
      for (let s = tiles[t + 2]; s < tiles[t + 2] + tiles[t + 3]; s++) {
        const [q0, q1, row] = [spans[3 * s], spans[3 * s + 1], spans[3 * s + 2]];
        for (let q = q0; q < q1; q++) if (row + q - q0 >= k) queries.push(q);
      }
      visit(k, queries);
    }
  }
}

function dot(a: Float64Array, i: number, b: Float64Array, j: number, n: number): number {
  let sum = 0;
  for (let d = 0; d < n; d++) sum += a[i + d] * b[j + d];
  return sum;
}

/** y[j…] += a·x[i…]. */
function axpy(a: number, x: Float64Array, i: number, y: Float64Array, j: number, n: number): void {
  for (let d = 0; d < n; d++) y[j + d] += a * x[i + d];
}

/** From saved numbers: P of a (query, key, head) and the gradient dS of its score, given where their rows begin. */
function softmaxGradient([g, q, k, v, o, lse]: Float64Array[], D: number, scale: number) {
  return (row: number, i: number, j: number) => {
    const p = Math.exp(scale * dot(q, i, k, j, D) - lse[row]);
    return { p, ds: p * (dot(g, i, v, j, D) - dot(g, i, o, i, D)) };
  };
}

/** ints of every kernel of the family: Tq, H, D, Tk, KVH, keys in use, tiles. */
const launchOf = (
  kernel: string,
  [q, k, tiles]: Spec[],
  { keys, scale }: AttentionAttrs,
  io: Pick<Launch, 'outputs' | 'inputs'>,
): Launch[] => {
  const [Tq, H, D] = q.shape;
  const [Tk, KVH] = k.shape;
  const count = tiles.shape[0];
  return [{ kernel, ...io, ints: [Tq, H, D, Tk, KVH, keys, count], floats: [scale], work: [count, H, 1] }];
};

/** So many products of length D for every visible pair and head; input `at` is shaped like q. */
const cost =
  (products: number, at: number) =>
  (specs: Spec[], { pairs }: AttentionAttrs) => ({
    multiplyAdds: products * pairs * specs[at].shape[1] * specs[at].shape[2],
    bytes: 4 * elementsOf(...specs.map(({ shape }) => shape), specs[at].shape),
  });

/** Eight reviews of 256 tokens, the first 50 of them shared. */
function benchPlan(): PlanArrays {
  const forest = new Forest();
  const root = forest.add(-1, 50);
  for (let i = 0; i < 8; i++) forest.add(root, 206);
  return planArrays(forest);
}

const planInputs = ({ queryTiles, keySpans, keyTiles, querySpans }: PlanArrays) => {
  const rows = (values: number[], width: number) => ({
    shape: [values.length / width, width],
    dtype: 'i32' as const,
    values,
  });
  return {
    queryTiles: rows(queryTiles, 5),
    keySpans: rows(keySpans, 2),
    keyTiles: rows(keyTiles, 4),
    querySpans: rows(querySpans, 3),
  };
};

function benchCase(inputs: (q: Spec, k: Spec, lse: Spec, plan: ReturnType<typeof planInputs>) => BenchInput[]) {
  const plan = benchPlan();
  const f32 = (...shape: number[]): Spec => ({ shape, dtype: 'f32' });
  const { queries, keys, pairs } = plan;
  const attrs: AttentionAttrs = { scale: 1 / 8, keys, pairs };
  const cases: [BenchInput[], AttentionAttrs][] = [
    [inputs(f32(queries, 9, 64), f32(keys, 3, 64), f32(queries, 9), planInputs(plan)), attrs],
  ];
  return cases;
}

/**
 * A random forest with rows already cached, queries left out and unused cache rows; grouped heads of odd widths and, in
 * bf16, of those that tensor cores take.
 */
function sampleCase(gen: Gen, dtype: DType) {
  const forest = new Forest();
  for (let i = gen.int(0, 5); i > 0; i--) {
    forest.add(gen.int(-1, forest.segments.length - 1), gen.dim(i === 1 ? 40 : 9, { zero: true }));
  }
  const keep = [4, 4, 1, 0][gen.int(0, 3)];
  const from = gen.int(0, 1) ? 0 : gen.int(0, forest.rows);
  const rows = Array.from({ length: forest.rows - from }, (_, i) => from + i).filter(() => keep > gen.int(0, 3));
  const plan = planArrays(forest, rows);
  const [KVH, group, D] = [
    gen.int(1, 2),
    gen.int(1, 3),
    dtype === 'bf16' && gen.int(0, 1) ? 64 * gen.int(1, 2) : gen.dim(17),
  ];
  // Of one sign, sums of absolute values are the sums: a bound of bf16's rounding errors made of them hides no key.
  const lo = gen.int(0, 1) ? -1 : 0.25;
  const numbers = (...shape: number[]): Tensor => gen.tensor(shape, { dtype, lo, hi: 1 });
  const { queries, keys, pairs } = plan;
  const H = KVH * group;
  const Tk = keys + gen.int(0, 2);
  const { queryTiles, keySpans, keyTiles, querySpans } = planInputs(plan);
  const indices = (list: { values: number[]; shape: number[] }): Tensor => gen.indices(list.values, list.shape);
  return {
    likeQ: () => numbers(queries, H, D),
    likeK: () => numbers(Tk, KVH, D),
    // Beyond |v|, so that dS taken of absolute values has one sign and bounds its rounding error.
    o: () => gen.tensor([queries, H, D], { dtype, lo: 3, hi: 4 }),
    lse: () => gen.tensor([queries, H], { lo: 1, hi: 3 }),
    queryPlan: [indices(queryTiles), indices(keySpans)],
    keyPlan: [indices(keyTiles), indices(querySpans)],
    attrs: { scale: gen.real(0.1, 1), keys, pairs },
  };
}

const applyAttention = op<AttentionAttrs>({
  name: 'attention',
  doc: 'softmax(scale·q·kᵀ)·v over segments: a query sees what its plan lists, up to its own row; heads may share keys',
  // No definition in primitives: which pairs are visible stands in tensors that the host cannot read in passing. The
  // oracle of the kernels is `reference`; that of `reference` is attention over every sequence alone, in the tests.
  outputs: ([q, k, v]) => {
    const { Tq, H } = dims('attention', q, k, v);
    return [q, { shape: [Tq, H], dtype: 'f32' }];
  },
  reference: ([o, lse], [q, k, v, queryTiles, keySpans], [qs, ks, vs], { scale }) => {
    const { H, D, KVH, group } = dims('attention', qs, ks, vs);
    eachQuery(queryTiles, keySpans, (row, keys) => {
      for (let h = 0; h < H; h++) {
        const i = (row * H + h) * D;
        const at = keys.map((key) => (key * KVH + Math.floor(h / group)) * D);
        const scores = at.map((j) => scale * dot(q, i, k, j, D));
        const max = Math.max(...scores);
        const sum = scores.reduce((s, x) => s + Math.exp(x - max), 0);
        lse[row * H + h] = max + Math.log(sum);
        for (const [n, j] of at.entries()) axpy(Math.exp(scores[n] - max) / sum, v, j, o, i, D);
      }
    });
  },
  save: ([q, k, v, ...plan], [o, lse], [dq, dk, dv]) => {
    const [queryTiles, keySpans, keyTiles, querySpans] = plan;
    const keyed = dk || dv;
    return [q, k, v, o, lse, dq && queryTiles, dq && keySpans, keyed && keyTiles, keyed && querySpans];
  },
  vjp: (g, { saved, attrs }, [dq, dk, dv]) => {
    const [q, k, v, o, lse, queryTiles, keySpans, keyTiles, querySpans] = saved;
    const query = dq && gradQuery([g, q, k, v, o, lse, queryTiles, keySpans], attrs);
    if (!dk && !dv) return [query];
    const both = gradKeyValue([g, q, k, v, o, lse, keyTiles, querySpans], attrs);
    const bytes = storedBytes(both.backend, both.dtype, k.shape);
    return [query, dk && both.view(k.shape), dv && both.view(v.shape, bytes)];
  },
  launch: ([q, k, , tiles], attrs) =>
    launchOf(`attention_${q.dtype}`, [q, k, tiles], attrs, { outputs: [0, 1], inputs: [0, 1, 2, 3, 4] }),
  contraction: ([q, k]) => q.shape[2] + k.shape[0],
  dtypes: [['f32', 'f32', 'f32', 'i32', 'i32', 'i32', 'i32']],
  activations: [0, 1, 2],
  sample: (gen, [dtype]) => {
    const c = sampleCase(gen, dtype);
    return [[c.likeQ(), c.likeK(), c.likeK(), ...c.queryPlan, ...c.keyPlan], c.attrs];
  },
  bench: () =>
    benchCase((q, k, _, { queryTiles, keySpans, keyTiles, querySpans }) => [
      q,
      k,
      k,
      queryTiles,
      keySpans,
      keyTiles,
      querySpans,
    ]),
  cost: cost(2, 0),
});

/** ∂/∂q; inputs g, q, k, v, o, lse and the plan's queryTiles and keySpans. */
const gradQuery = op<AttentionAttrs>({
  name: 'attentionGradQuery',
  doc: 'gradient of attention for q: scale·dS·k with dS = P ⊙ (g·vᵀ − rowsum(g ⊙ o)), P from lse',
  outputs: ([, q]) => [q],
  reference: ([dq], inputs, [, qs, ks, vs], { scale }) => {
    const { H, D, KVH, group } = dims('attentionGradQuery', qs, ks, vs);
    const gradient = softmaxGradient(inputs, D, scale);
    eachQuery(inputs[6], inputs[7], (row, keys) => {
      for (let h = 0; h < H; h++) {
        const i = (row * H + h) * D;
        for (const key of keys) {
          const j = (key * KVH + Math.floor(h / group)) * D;
          axpy(scale * gradient(row * H + h, i, j).ds, inputs[2], j, dq, i, D);
        }
      }
    });
  },
  launch: ([, q, k, , , , tiles], attrs) =>
    launchOf(`attentionGradQuery_${q.dtype}`, [q, k, tiles], attrs, { outputs: [0], inputs: [0, 1, 2, 3, 4, 5, 6, 7] }),
  contraction: ([, q, k]) => q.shape[2] + k.shape[0],
  dtypes: [['f32', 'f32', 'f32', 'f32', 'f32', 'f32', 'i32', 'i32']],
  activations: [0, 1, 2, 3, 4],
  sample: (gen, [dtype]) => {
    const c = sampleCase(gen, dtype);
    return [[c.likeQ(), c.likeQ(), c.likeK(), c.likeK(), c.o(), c.lse(), ...c.queryPlan], c.attrs];
  },
  bench: () => benchCase((q, k, lse, { queryTiles, keySpans }) => [q, q, k, k, q, lse, queryTiles, keySpans]),
  cost: cost(3, 1),
});

/** ∂/∂k and ∂/∂v as [2, Tk, KVH, D]; inputs g, q, k, v, o, lse and the plan's keyTiles and querySpans. */
const gradKeyValue = op<AttentionAttrs>({
  name: 'attentionGradKeyValue',
  doc: 'gradients of attention for k and v, stacked: scale·dSᵀ·q and Pᵀ·g, summed over the heads that share a key head',
  outputs: ([, , k]) => [{ shape: [2, ...k.shape], dtype: k.dtype }],
  reference: ([dkv], inputs, [, qs, ks, vs], { scale }) => {
    const { H, D, KVH, group } = dims('attentionGradKeyValue', qs, ks, vs);
    const [g, q] = inputs;
    const gradient = softmaxGradient(inputs, D, scale);
    eachKey(inputs[6], inputs[7], (key, queries) => {
      for (let h = 0; h < H; h++) {
        const j = (key * KVH + Math.floor(h / group)) * D;
        for (const row of queries) {
          const i = (row * H + h) * D;
          const { p, ds } = gradient(row * H + h, i, j);
          axpy(scale * ds, q, i, dkv, j, D);
          axpy(p, g, i, dkv, size(ks.shape) + j, D);
        }
      }
    });
  },
  launch: ([, q, k, , , , tiles], attrs) =>
    launchOf(`attentionGradKeyValue_${q.dtype}`, [q, k, tiles], attrs, {
      outputs: [0],
      inputs: [0, 1, 2, 3, 4, 5, 6, 7],
    }),
  contraction: ([, q]) => q.shape[2] + q.shape[0] * q.shape[1],
  dtypes: [['f32', 'f32', 'f32', 'f32', 'f32', 'f32', 'i32', 'i32']],
  activations: [0, 1, 2, 3, 4],
  sample: (gen, [dtype]) => {
    const c = sampleCase(gen, dtype);
    return [[c.likeQ(), c.likeQ(), c.likeK(), c.likeK(), c.o(), c.lse(), ...c.keyPlan], c.attrs];
  },
  bench: () => benchCase((q, k, lse, { keyTiles, querySpans }) => [q, q, k, k, q, lse, keyTiles, querySpans]),
  cost: cost(4, 1),
});

/**
 * Attention over segments: q [Tq, H, D], k and v [Tk, KVH, D] → [Tq, H, D] with softmax(scale·q·kᵀ)·v over the keys
 * that `plan` shows each query. H is a multiple of KVH; query head h reads key head ⌊h·KVH/H⌋. k and v may have more rows
 * than the plan uses (a cache): they are not read and their gradient is 0. No Tq×Tk matrix is ever in memory: the backward
 * pass recomputes the probabilities from the log-sum-exps (FlashAttention-2, Dao 2023).
 * @throws ShapeError when heads, widths or rows do not fit each other and the plan
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, { scale }: { scale: number }): Tensor {
  const { queries, keys, pairs, queryTiles, keySpans, keyTiles, querySpans } = plan;
  if (q.shape[0] !== queries || k.shape[0] < keys) {
    const found = `q ${formatShape(q.shape)}, k ${formatShape(k.shape)}`;
    throw new ShapeError(`attention: the plan has ${queries} queries and ${keys} keys on axis 0, found ${found}`);
  }
  return applyAttention([q, k, v, queryTiles, keySpans, keyTiles, querySpans], { scale, keys, pairs });
}
