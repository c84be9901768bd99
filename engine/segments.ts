import type { Backend } from './backend.ts';
import { currentBackend, type Tensor, tensor } from './tensor.ts';

/** Rows in a query tile or a key tile: a multiple of every kernel's tile width, and few enough to balance threads. */
const TILE = 32;

/** Consecutive rows of tokens that continue those of their parent. */
export interface Segment {
  /** Index of the segment it continues; −1 for a root. */
  readonly parent: number;
  /** Key row of its first token. */
  readonly start: number;
  readonly length: number;
  /** Position in its sequence of its first token: where its parent ends. */
  readonly position: number;
}

/**
 * Rows of tokens cut into segments that form a forest: a token attends to its own segment causally and to all ancestors
 * of its segment wholly. One idea for packing (roots side by side), prefixes that a batch shares (one root, many
 * children), labels that share a review, and caches (segments whose rows are not queried any more).
 */
export class Forest {
  readonly segments: Segment[] = [];
  /** Position in its sequence of every row: what rope rotates by. */
  readonly positions: number[] = [];

  /** Key rows of all segments together. */
  get rows(): number {
    return this.positions.length;
  }

  /**
   * Appends a segment of `length` rows to the segment `parent` (−1: none) and returns its index.
   * @throws RangeError unless the parent was added before and the length is a whole number
   */
  add(parent: number, length: number): number {
    const index = this.segments.length;
    if (!Number.isInteger(parent) || parent < -1 || parent >= index) {
      throw new RangeError(`segment ${index}: its parent must be −1 or an earlier segment, found ${parent}`);
    }
    if (!Number.isInteger(length) || length < 0) {
      throw new RangeError(`segment ${index}: its length must be a whole number of rows, found ${length}`);
    }
    const above = parent < 0 ? undefined : this.segments[parent];
    const position = above ? above.position + above.length : 0;
    this.segments.push({ parent, start: this.rows, length, position });
    for (let i = 0; i < length; i++) this.positions.push(position + i);
    return index;
  }
}

/** Rows [start, end) that see the same ancestors and are seen by the same descendants. */
interface Run {
  parent: number;
  start: number;
  end: number;
}

/**
 * The forest without what makes no difference: empty segments vanish, and a segment that begins where its parent ends
 * and is its only child continues it. Runs partition the rows in ascending order.
 */
function runsOf({ segments }: Forest): Run[] {
  // The nearest ancestor, or itself, with rows; and how many segments with rows hang on it.
  const solid: number[] = [];
  const children = new Int32Array(segments.length);
  for (const [i, { parent, length }] of segments.entries()) {
    const above = parent < 0 ? -1 : solid[parent];
    if (length > 0 && above >= 0) children[above]++;
    solid.push(length > 0 ? i : above);
  }
  const runs: Run[] = [];
  const runOf = new Int32Array(segments.length);
  for (const [i, { parent, start, length }] of segments.entries()) {
    if (length === 0) continue;
    const above = parent < 0 ? -1 : solid[parent];
    const run = above < 0 ? -1 : runOf[above];
    if (run >= 0 && children[above] === 1 && runs[run].end === start) {
      runs[run].end += length;
      runOf[i] = run;
    } else {
      runOf[i] = runs.push({ parent: run, start, end: start + length }) - 1;
    }
  }
  return runs;
}

/** A list of spans, kept flat. */
type Spans = number[];

/** Appends key rows [k0, k1), joined to the last span where they continue it. */
function addKeys(spans: Spans, k0: number, k1: number): void {
  if (spans.at(-1) === k0) spans[spans.length - 1] = k1;
  else spans.push(k0, k1);
}

/** Appends queries [q0, q1), whose key rows begin at `row`, joined to the last span where both continue it. */
function addQueries(spans: Spans, q0: number, q1: number, row: number): void {
  const last = spans.length - 3;
  if (last >= 0 && spans[last + 1] === q0 && spans[last + 2] + q0 - spans[last] === row) spans[last + 1] = q1;
  else spans.push(q0, q1, row);
}

/** The lists of `AttentionPlan` on the host. */
export interface PlanArrays {
  queryTiles: number[];
  keySpans: number[];
  keyTiles: number[];
  querySpans: number[];
  queries: number;
  keys: number;
  pairs: number;
}

/**
 * What attention over `forest` computes for the key rows `queries`.
 * @throws RangeError unless the queries ascend within the forest's rows
 */
export function planArrays(forest: Forest, queries?: ArrayLike<number>): PlanArrays {
  const rows = queries ?? Int32Array.from({ length: forest.rows }, (_, i) => i);
  const runs = runsOf(forest);
  const visible = runs.map((): Spans => []);
  for (const [i, { parent, start, end }] of runs.entries()) {
    if (parent >= 0) visible[i].push(...visible[parent]);
    addKeys(visible[i], start, end);
  }
  const plan: PlanArrays = {
    queryTiles: [],
    keySpans: [],
    keyTiles: [],
    querySpans: [],
    queries: rows.length,
    keys: forest.rows,
    pairs: 0,
  };

  const seenBy = runs.map((): Spans => []);
  let q = 0;
  for (const [i, { end }] of runs.entries()) {
    const firstSpan = plan.keySpans.length / 2;
    const begin = q;
    while (q < rows.length && rows[q] < end) {
      const [first, row] = [q, rows[q]];
      if (!Number.isInteger(row) || row < 0 || (q > 0 && row <= rows[q - 1])) break;
      for (; q < rows.length && q - first < TILE && rows[q] === row + q - first && rows[q] < end; q++) {
        plan.pairs += forest.positions[rows[q]] + 1;
      }
      plan.queryTiles.push(first, q - first, row, firstSpan, visible[i].length / 2);
      for (let above = i; above >= 0; above = runs[above].parent) addQueries(seenBy[above], first, q, row);
    }
    if (q > begin) plan.keySpans.push(...visible[i]);
  }
  if (q < rows.length) {
    throw new RangeError(`attention plan: query ${q} is key row ${rows[q]}; queries ascend within ${forest.rows} rows`);
  }

  for (const [i, { start, end }] of runs.entries()) {
    const firstSpan = plan.querySpans.length / 3;
    plan.querySpans.push(...seenBy[i]);
    for (let key = start; key < end; key += TILE) {
      plan.keyTiles.push(key, Math.min(TILE, end - key), firstSpan, seenBy[i].length / 3);
    }
  }
  return plan;
}

/**
 * Which keys every query sees, as kernels walk it. Everywhere, a query at key row p sees key k of its spans iff k ≤ p.
 * Its tensors belong to the innermost scope, as any other; `dispose` frees them earlier.
 */
export interface AttentionPlan extends Disposable {
  /**
   * i32 [nQ, 5]: (first query, count ≤ 32, key row of the first query, first key span, number of key spans). A tile's
   * queries are consecutive in q and in key rows and see the same spans.
   */
  readonly queryTiles: Tensor;
  /** i32 [nS, 2]: key rows [k0, k1), ascending within a tile's spans. */
  readonly keySpans: Tensor;
  /** i32 [nK, 4]: (first key, count ≤ 32, first query span, number of query spans); tiles cover all keys in order. */
  readonly keyTiles: Tensor;
  /** i32 [nS2, 3]: (q0, q1, key row of q0): the queries [q0, q1), ascending, so that a key's gradient sums in row order. */
  readonly querySpans: Tensor;
  /** Rows of q. */
  readonly queries: number;
  /** Rows of k and v that are in use. */
  readonly keys: number;
  /** Visible (query, key) pairs: what attention costs, times 2·D multiply-adds a head. */
  readonly pairs: number;
  dispose(): void;
}

/**
 * The plan for attention over `forest`.
 * @param queries key rows that are queried, ascending; default all. Rows that are in a cache already are left out, and so
 *   are, in a last layer, rows that nobody reads.
 * @throws RangeError unless the queries ascend within the forest's rows
 */
export function attentionPlan(
  forest: Forest,
  queries?: ArrayLike<number>,
  backend: Backend = currentBackend(),
): AttentionPlan {
  const arrays = planArrays(forest, queries);
  const upload = (values: number[], width: number): Tensor =>
    tensor(Int32Array.from(values), [values.length / width, width], { dtype: 'i32', backend });
  const tensors = {
    queryTiles: upload(arrays.queryTiles, 5),
    keySpans: upload(arrays.keySpans, 2),
    keyTiles: upload(arrays.keyTiles, 4),
    querySpans: upload(arrays.querySpans, 3),
  };
  const dispose = (): void => {
    for (const t of Object.values(tensors)) t.dispose();
  };
  const { queries: count, keys, pairs } = arrays;
  return { ...tensors, queries: count, keys, pairs, dispose, [Symbol.dispose]: dispose };
}
