import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { isReference } from '../../engine/backend.ts';
import type { WasmBackend } from '../../engine/backends/wasm.ts';
import {
  appendRows,
  attention,
  attentionPlan,
  type Backend,
  createReferenceBackend,
  createWasmBackend,
  Forest,
  grad,
  type Observer,
  ShapeError,
  scope,
  type Tensor,
  tensor,
  withBackend,
  withContext,
  zeros,
} from '../../engine/index.ts';
import { Rng } from '../../engine/random.ts';
import { planArrays } from '../../engine/segments.ts';

const reference = createReferenceBackend();
let wasm: WasmBackend;
beforeAll(async () => {
  wasm = await createWasmBackend({ threads: 2 });
});
afterAll(() => wasm.close());

/** A chain of three segments, branches and lengths 0 and 1 among them. */
const forests = fc
  .array(fc.tuple(fc.nat(), fc.oneof(fc.constantFrom(0, 1), fc.integer({ min: 0, max: 12 }))), { maxLength: 9 })
  .map((segments) => {
    const forest = new Forest();
    for (const [i, [parent, length]] of segments.entries()) {
      forest.add(i < 3 ? i - 1 : (parent % (i + 1)) - 1, length);
    }
    return forest;
  });

/** Key rows of every sequence, from its root to segment `leaf`. */
function sequence({ segments }: Forest, leaf: number): number[] {
  const rows: number[] = [];
  for (let s = leaf; s >= 0; s = segments[s].parent) {
    const { start, length } = segments[s];
    rows.unshift(...Array.from({ length }, (_, i) => start + i));
  }
  return rows;
}

/** The segment of every row. */
const segmentOf = ({ segments }: Forest): number[] =>
  segments.flatMap(({ length }, i) => new Array<number>(length).fill(i));

interface Heads {
  H: number;
  KVH: number;
  D: number;
}

/** Rows of a [T, width] array. */
const pick = (x: Float64Array, rows: number[], width: number): Float64Array =>
  Float64Array.from(rows.flatMap((row) => [...x.subarray(row * width, (row + 1) * width)]));

/** Causal attention of one sequence and its gradients for the output gradient g, by the textbook on whole matrices. */
function alone(
  { H, KVH, D }: Heads,
  scale: number,
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  g: Float64Array,
): Record<'o' | 'q' | 'k' | 'v', Float64Array> {
  const T = q.length / (H * D);
  const out = {
    o: new Float64Array(q.length),
    q: new Float64Array(q.length),
    k: new Float64Array(k.length),
    v: new Float64Array(v.length),
  };
  for (let h = 0; h < H; h++) {
    const qi = (t: number): number => (t * H + h) * D;
    const ki = (t: number): number => (t * KVH + Math.floor((h * KVH) / H)) * D;
    const product = (a: Float64Array, i: number, b: Float64Array, j: number): number => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += a[i + d] * b[j + d];
      return sum;
    };
    for (let t = 0; t < T; t++) {
      const scores = Array.from({ length: t + 1 }, (_, j) => scale * product(q, qi(t), k, ki(j)));
      const max = Math.max(...scores);
      const total = scores.reduce((s, x) => s + Math.exp(x - max), 0);
      const P = scores.map((x) => Math.exp(x - max) / total);
      const dP = P.map((_, j) => product(g, qi(t), v, ki(j)));
      const mean = P.reduce((s, p, j) => s + p * dP[j], 0);
      for (const [j, p] of P.entries()) {
        const dS = scale * p * (dP[j] - mean);
        for (let d = 0; d < D; d++) {
          out.o[qi(t) + d] += p * v[ki(j) + d];
          out.v[ki(j) + d] += p * g[qi(t) + d];
          out.q[qi(t) + d] += dS * k[ki(j) + d];
          out.k[ki(j) + d] += dS * q[qi(t) + d];
        }
      }
    }
  }
  return out;
}

const random = (rng: Rng, n: number): Float64Array =>
  Float64Array.from({ length: n }, () => Math.fround(rng.uniform(-1, 1)));
const add = (to: Float64Array, at: number, x: Float64Array): void => {
  for (const [i, value] of x.entries()) to[at + i] += value;
};

/** Output and gradients of attention over `forest` for its queried rows, every row's sequence computed alone. */
function everySequenceAlone(
  forest: Forest,
  queries: number[],
  heads: Heads,
  scale: number,
  { q, k, v, g }: Record<'q' | 'k' | 'v' | 'g', Float64Array>,
): Record<'o' | 'q' | 'k' | 'v', Float64Array> {
  const [wq, wk] = [heads.H * heads.D, heads.KVH * heads.D];
  const whole = {
    o: new Float64Array(q.length),
    q: new Float64Array(q.length),
    k: new Float64Array(k.length),
    v: new Float64Array(v.length),
  };
  const owner = segmentOf(forest);
  for (const s of new Set(queries.map((row) => owner[row]))) {
    const rows = sequence(forest, s);
    // Every queried row counts in one sequence only: that of its own segment.
    const asked = new Map(queries.map((row, i) => [row, i] as const).filter(([row]) => owner[row] === s));
    const expand = (x: Float64Array): Float64Array =>
      Float64Array.from(
        rows.flatMap((row) => {
          const i = asked.get(row);
          return i === undefined ? new Array<number>(wq).fill(0) : [...x.subarray(i * wq, (i + 1) * wq)];
        }),
      );
    const one = alone(heads, scale, expand(q), pick(k, rows, wk), pick(v, rows, wk), expand(g));
    for (const [t, row] of rows.entries()) {
      add(whole.k, row * wk, one.k.subarray(t * wk, (t + 1) * wk));
      add(whole.v, row * wk, one.v.subarray(t * wk, (t + 1) * wk));
      const i = asked.get(row);
      if (i === undefined) continue;
      add(whole.o, i * wq, one.o.subarray(t * wq, (t + 1) * wq));
      add(whole.q, i * wq, one.q.subarray(t * wq, (t + 1) * wq));
    }
  }
  return whole;
}

/** Output and gradients of `attention` over the forest. */
async function together(
  backend: Backend,
  forest: Forest,
  queries: number[],
  { H, KVH, D }: Heads,
  scale: number,
  values: Record<'q' | 'k' | 'v' | 'g', Float64Array>,
): Promise<Record<'o' | 'q' | 'k' | 'v', ArrayLike<number>>> {
  return withContext({ backend }, async () => {
    using _ = scope();
    const make = (x: Float64Array, heads: number): Tensor =>
      tensor(isReference(backend) ? x : Float32Array.from(x), [x.length / (heads * D), heads, D], {
        requiresGrad: true,
      });
    const leaves = [make(values.q, H), make(values.k, KVH), make(values.v, KVH)];
    using plan = attentionPlan(forest, queries);
    const o = attention(leaves[0], leaves[1], leaves[2], plan, { scale });
    const g = make(values.g, H);
    const [dq, dk, dv] = grad(o, leaves, { seed: g });
    const result = { o: await o.data(), q: await dq.data(), k: await dk.data(), v: await dv.data() };
    for (const t of [...leaves, g]) t.dispose();
    return result;
  });
}

function expectClose(found: ArrayLike<number>, wanted: Float64Array, tolerance: number, what: string): void {
  expect(found.length).toBe(wanted.length);
  const largest = wanted.reduce((m, x) => Math.max(m, Math.abs(x)), 1);
  for (let i = 0; i < wanted.length; i++) {
    if (!(Math.abs(found[i] - wanted[i]) <= tolerance * largest)) {
      expect.fail(`${what}[${i}] is ${found[i]}, alone ${wanted[i]}`);
    }
  }
}

const allHeads = [
  { H: 2, KVH: 2, D: 4 },
  { H: 4, KVH: 2, D: 5 },
  { H: 3, KVH: 1, D: 8 },
];

describe('attention over segments equals every sequence alone, values and gradients', () => {
  test.each(['reference', 'wasm'] as const)('%s', async (name) => {
    const [backend, tolerance] = name === 'wasm' ? [wasm, 1e-5] : [reference, 1e-12];
    await fc.assert(
      fc.asyncProperty(
        forests,
        fc.nat(),
        fc.constantFrom('all', 'new', 'some'),
        fc.constantFrom(...allHeads),
        async (forest, seed, which, heads) => {
          const rng = new Rng(seed);
          const from = which === 'new' ? rng.int(forest.rows + 1) : 0;
          const queries = Array.from({ length: forest.rows - from }, (_, i) => from + i).filter(
            () => which !== 'some' || rng.uniform() < 0.5,
          );
          const { H, KVH, D } = heads;
          const values = {
            q: random(rng, queries.length * H * D),
            k: random(rng, forest.rows * KVH * D),
            v: random(rng, forest.rows * KVH * D),
            g: random(rng, queries.length * H * D),
          };
          const wanted = everySequenceAlone(forest, queries, heads, 0.7, values);
          const found = await together(backend, forest, queries, heads, 0.7, values);
          for (const key of ['o', 'q', 'k', 'v'] as const) expectClose(found[key], wanted[key], tolerance, key);
        },
      ),
      { numRuns: name === 'wasm' ? 100 : 60 },
    );
  });
});

describe('attention plan', () => {
  /** (query, key) pairs by the definition: a row sees its ancestors' rows and its own segment's up to itself. */
  function visiblePairs(forest: Forest, queries: number[]): string[] {
    const owner = segmentOf(forest);
    return queries.flatMap((row, q) =>
      sequence(forest, owner[row])
        .filter((k) => k <= row)
        .map((k) => `${q} ${k}`),
    );
  }

  it('lists the visible pairs, each once, in both directions, and counts them', () => {
    fc.assert(
      fc.property(forests, fc.array(fc.boolean(), { minLength: 110, maxLength: 110 }), (forest, mask) => {
        const queries = Array.from({ length: forest.rows }, (_, i) => i).filter((i) => mask[i]);
        const plan = planArrays(forest, queries);
        const byQuery: string[] = [];
        for (let t = 0; t < plan.queryTiles.length; t += 5) {
          const [first, count, row, span, spans] = plan.queryTiles.slice(t, t + 5);
          for (let i = 0; i < count; i++) {
            expect(queries[first + i]).toBe(row + i);
            for (let s = span; s < span + spans; s++) {
              const [k0, k1] = plan.keySpans.slice(2 * s, 2 * s + 2);
              for (let k = k0; k < k1; k++) if (k <= row + i) byQuery.push(`${first + i} ${k}`);
            }
          }
        }
        const byKey: string[] = [];
        let nextKey = 0;
        for (let t = 0; t < plan.keyTiles.length; t += 4) {
          const [first, count, span, spans] = plan.keyTiles.slice(t, t + 4);
          expect(first).toBe(nextKey);
          nextKey += count;
          for (let k = first; k < first + count; k++) {
            for (let s = span; s < span + spans; s++) {
              const [q0, q1, row] = plan.querySpans.slice(3 * s, 3 * s + 3);
              for (let q = q0; q < q1; q++) if (k <= row + q - q0) byKey.push(`${q} ${k}`);
            }
          }
        }
        const wanted = visiblePairs(forest, queries);
        expect(byQuery).toEqual(wanted);
        expect(byKey.sort()).toEqual([...wanted].sort());
        expect(nextKey).toBe(forest.rows);
        expect([plan.queries, plan.keys, plan.pairs]).toEqual([queries.length, forest.rows, wanted.length]);
      }),
    );
  });

  it('is one span for one sequence, whole or made of many segments', () => {
    const whole = new Forest();
    whole.add(-1, 70);
    const chain = new Forest();
    for (const length of [1, 0, 32, 1, 0, 0, 30, 6]) chain.add(chain.segments.length - 1, length);
    for (const forest of [whole, chain]) {
      const plan = planArrays(forest);
      expect(plan.keySpans).toEqual([0, 70]);
      expect(plan.querySpans).toEqual([0, 70, 0]);
      expect(plan.queryTiles).toEqual([0, 32, 0, 0, 1, 32, 32, 32, 0, 1, 64, 6, 64, 0, 1]);
      expect(plan.pairs).toBe((70 * 71) / 2);
      expect(forest.positions).toEqual(Array.from({ length: 70 }, (_, i) => i));
    }
  });

  it('counts a shared prefix once', () => {
    const forest = new Forest();
    const root = forest.add(-1, 50);
    for (let i = 0; i < 8; i++) forest.add(root, 200);
    const plan = planArrays(forest);
    expect(plan.pairs).toBe((50 * 51) / 2 + 8 * (200 * 50 + (200 * 201) / 2));
    expect(forest.positions.slice(250, 252)).toEqual([50, 51]);
  });

  it('is what the ops cost: the visible pairs alone', () => {
    const counted: Record<string, number> = {};
    const observer: Observer = ({ def, specs, attrs }) => {
      counted[def.name] = def.cost(specs, attrs as never).multiplyAdds;
    };
    const forest = new Forest();
    const root = forest.add(-1, 30);
    for (let i = 0; i < 3; i++) forest.add(root, 20);
    const pairs = (30 * 31) / 2 + 3 * (20 * 30 + (20 * 21) / 2);
    withContext({ backend: reference, observer }, () => {
      using _ = scope();
      const leaves = [4, 2, 2].map((heads) => zeros([90, heads, 8], { requiresGrad: true }));
      const o = attention(leaves[0], leaves[1], leaves[2], attentionPlan(forest), { scale: 1 });
      grad(o, leaves, { seed: zeros(o.shape) });
      for (const t of leaves) t.dispose();
    });
    expect(counted).toEqual({
      attention: 2 * pairs * 4 * 8,
      attentionGradQuery: 3 * pairs * 4 * 8,
      attentionGradKeyValue: 4 * pairs * 4 * 8,
    });
  });

  it('refuses what is no forest and queries that do not ascend', () => {
    const forest = new Forest();
    expect(() => forest.add(0, 1)).toThrow(/segment 0: its parent must be −1 or an earlier segment, found 0/);
    expect(() => forest.add(-1, 1.5)).toThrow(/length must be a whole number of rows, found 1.5/);
    forest.add(-1, 3);
    for (const queries of [[1, 1], [2, 0], [3], [-1], [0.5], [Number.NaN]]) {
      expect(() => planArrays(forest, queries), `${queries}`).toThrow(/attention plan: query \d is key row/);
    }
  });
});

describe('shapes', () => {
  const refuses = (q: number[], k: number[], v: number[], message: RegExp) =>
    withBackend(reference, () => {
      using _ = scope();
      const forest = new Forest();
      forest.add(-1, 3);
      const run = () => attention(zeros(q), zeros(k), zeros(v), attentionPlan(forest), { scale: 1 });
      expect(run).toThrow(ShapeError);
      expect(run).toThrow(message);
    });

  it('are refused by name', () => {
    refuses([3, 4, 8], [3, 3, 8], [3, 3, 8], /3 key heads do not divide 4 heads/);
    refuses([3, 4, 8], [3, 2, 4], [3, 2, 4], /axis 2 is 8 against 4/);
    refuses([3, 4, 8], [3, 2, 8], [3, 4, 8], /needs q \[Tq, H, D\] and k, v \[Tk, KVH, D\]/);
    refuses([2, 4, 8], [3, 4, 8], [3, 4, 8], /the plan has 3 queries and 3 keys on axis 0, found q \[2, 4, 8\]/);
    refuses([3, 4, 8], [2, 4, 8], [2, 4, 8], /the plan has 3 queries and 3 keys/);
  });
});

describe('a cached prefix', () => {
  test.each(['reference', 'wasm'] as const)(
    'gives on %s what one pass gives, whatever stands behind it',
    async (name) => {
      const backend = name === 'wasm' ? wasm : reference;
      await withContext({ backend }, async () => {
        using _ = scope();
        const rng = new Rng(3);
        const [H, KVH, D] = [4, 2, 8];
        const forest = new Forest();
        const root = forest.add(-1, 40);
        forest.add(root, 9);
        forest.add(root, 1);
        const make = (rows: number, heads: number): Tensor =>
          tensor(Float32Array.from(random(rng, rows * heads * D)), [rows, heads, D]);
        const [q, k, v] = [make(50, H), make(50, KVH), make(50, KVH)];
        const all = await attention(q, k, v, attentionPlan(forest), { scale: 0.3 }).data();

        const part = (x: Tensor, from: number, to: number): Tensor => {
          const bytes = (x.shape[1] * D * (isReference(backend) ? 8 : 4)) as number;
          return x.view([to - from, x.shape[1], D], from * bytes);
        };
        const unused = tensor(new Float32Array(60 * KVH * D).fill(Number.NaN), [60, KVH, D]);
        const [keys, values] = [unused, tensor(new Float32Array(60 * KVH * D).fill(Number.NaN), [60, KVH, D])];
        const outputs: number[] = [];
        for (const [from, to] of [
          [0, 33],
          [33, 40],
          [40, 50],
        ]) {
          const known = new Forest();
          if (to === 50) {
            const again = known.add(-1, 40);
            known.add(again, 9);
            known.add(again, 1);
          } else known.add(-1, to);
          appendRows(keys, part(k, from, to), { at: from });
          appendRows(values, part(v, from, to), { at: from });
          const rows = Array.from({ length: to - from }, (_, i) => from + i);
          outputs.push(
            ...(await attention(part(q, from, to), keys, values, attentionPlan(known, rows), { scale: 0.3 }).data()),
          );
        }
        expectClose(outputs, Float64Array.from(all), name === 'wasm' ? 1e-6 : 0, 'o');
      });
    },
  );

  it('refuses rows that do not fit', () => {
    withBackend(reference, () => {
      using _ = scope();
      const cache = zeros([4, 2, 3]);
      expect(() => appendRows(cache, zeros([2, 2, 3]), { at: 3 })).toThrow(/rows 3 to 5 do not fit axis 0 of 4/);
      expect(() => appendRows(cache, zeros([2, 3, 2]), { at: 0 })).toThrow(/their rows differ/);
    });
  });
});
