import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  attention,
  attentionPlan,
  type Backend,
  createReferenceBackend,
  createWasmBackend,
  Forest,
  grad,
  scope,
  type Tensor,
  tensor,
  withContext,
} from '../../../engine/index.ts';
import { Rng } from '../../../engine/random.ts';

// Sizes of several blocks, strips and chunks, which the ops' own parity tests are too small to reach.

type Backends = Record<string, Awaited<ReturnType<typeof createWasmBackend>>>;
const backends: Backends = {};
beforeAll(async () => {
  backends['one thread'] = await createWasmBackend({ threads: 1 });
  backends['three threads'] = await createWasmBackend({ threads: 3 });
  backends['wide strips'] = await createWasmBackend({
    threads: 2,
    revectorize: true,
    probe: () => ({ wide: true, wideInt16: true, found: 'the test' }),
  });
  backends.simd128 = await createWasmBackend({ threads: 2, build: 'simd128' });
});
afterAll(async () => {
  for (const backend of Object.values(backends)) await backend.close();
});

/** A root of more than a block, children of some tiles, of one row and of none, a grandchild, a second root. */
function forest(): Forest {
  const f = new Forest();
  const root = f.add(-1, 203);
  const first = f.add(root, 65);
  for (const length of [1, 0, 70]) f.add(root, length);
  f.add(first, 40);
  f.add(-1, 17);
  return f;
}

interface Case {
  what: string;
  H: number;
  KVH: number;
  D: number;
  queries: (rows: number) => number[];
}

const all = (rows: number): number[] => Array.from({ length: rows }, (_, i) => i);
const cases: Case[] = [
  { what: 'SmolLM2 heads', H: 3, KVH: 1, D: 64, queries: all },
  { what: 'odd heads', H: 4, KVH: 2, D: 33, queries: all },
  { what: 'wide heads, new rows', H: 2, KVH: 2, D: 130, queries: (rows) => all(rows).slice(260) },
  {
    what: 'narrow heads, every third row',
    H: 2,
    KVH: 1,
    D: 3,
    queries: (rows) => all(rows).filter((i) => i % 3 === 0),
  },
  { what: 'nine of ten rows', H: 1, KVH: 1, D: 16, queries: (rows) => all(rows).filter((i) => i % 10 !== 4) },
  { what: 'decoding', H: 6, KVH: 2, D: 65, queries: (rows) => [rows - 18] },
];

/** Output and gradients; behind the rows in use k and v hold NaN, which must not show. */
async function run(
  backend: Backend,
  { H, KVH, D, queries }: Case,
): Promise<Record<'o' | 'q' | 'k' | 'v', Float64Array>> {
  return withContext({ backend }, async () => {
    using _ = scope();
    const f = forest();
    const rows = queries(f.rows);
    const rng = new Rng(5);
    const make = (T: number, heads: number, unused = 0): Tensor => {
      const values = Float32Array.from({ length: (T + unused) * heads * D }, (__, i) =>
        i < T * heads * D ? rng.uniform(-2, 2) : Number.NaN,
      );
      return tensor(values, [T + unused, heads, D], { requiresGrad: true });
    };
    const leaves = [make(rows.length, H), make(f.rows, KVH, 3), make(f.rows, KVH, 3)];
    const o = attention(leaves[0], leaves[1], leaves[2], attentionPlan(f, rows), { scale: 1 / Math.sqrt(D) });
    const seed = make(rows.length, H);
    const results = [o, ...grad(o, leaves, { seed })];
    const [out, q, k, v] = await Promise.all(results.map(async (t) => Float64Array.from(await t.data())));
    for (const t of [...leaves, seed]) t.dispose();
    return { o: out, q, k, v };
  });
}

describe.each(cases)('$what', (c) => {
  test('agrees with the reference in every build', async () => {
    const wanted = await run(createReferenceBackend(), c);
    for (const name of ['one thread', 'simd128']) {
      const found = await run(backends[name], c);
      for (const key of ['o', 'q', 'k', 'v'] as const) {
        const largest = wanted[key].reduce((m, x) => Math.max(m, Math.abs(x)), 0);
        const wrong = wanted[key].findIndex((x, i) => !(Math.abs(found[key][i] - x) <= 3e-6 * largest));
        expect(wrong, `${name}: ${key}[${wrong}] is ${found[key][wrong]}, not ${wanted[key][wrong]}`).toBe(-1);
      }
    }
  });

  test('gives the same bits on any number of threads and in strips of any width', async () => {
    const one = await run(backends['one thread'], c);
    expect(await run(backends['three threads'], c)).toEqual(one);
    expect(await run(backends['wide strips'], c)).toEqual(one);
  });
});

test('a score that is not finite is not hidden', async () => {
  await withContext({ backend: backends['one thread'] }, async () => {
    using _ = scope();
    const f = new Forest();
    f.add(-1, 12);
    const x = Float32Array.from({ length: 12 * 8 }, (__, i) => (i === 5 * 8 + 1 ? Number.NaN : Math.sin(i)));
    const t = tensor(x, [12, 1, 8]);
    const o = await attention(t, t, t, attentionPlan(f), { scale: 1 }).data();
    const nan = Array.from({ length: 12 }, (__, row) => o.subarray(8 * row, 8 * row + 8).every(Number.isNaN));
    expect(nan).toEqual(Array.from({ length: 12 }, (__, row) => row >= 5));
  });
});
