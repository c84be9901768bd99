import { Forest, linearLogProbs, noGrad, scope, tensor } from '../engine/index.ts';
import { KeyValueCache } from '../models/cache.ts';
import type { Example } from './examples.ts';
import type { PeftModel } from './model.ts';

/** The tokens that score each label. */
export interface LabelTokens {
  tokens: readonly (readonly number[])[];
  /** One label's tokens begin another's, so the end token is scored for all. */
  endScored: boolean;
}

/**
 * Labels as tokens (without end). When one begins another, its score would always be at least the longer one's: then all
 * of them are scored with the end token.
 * @throws when two labels are the same tokens, naming them
 */
export function labelTokens(
  labels: readonly string[],
  tokens: readonly (readonly number[])[],
  end: number,
): LabelTokens {
  const begins = (a: readonly number[], b: readonly number[]): boolean => a.every((t, i) => t === b[i]);
  let endScored = false;
  for (const [i, a] of tokens.entries()) {
    for (const [j, b] of tokens.entries()) {
      if (i === j || !begins(a, b)) continue;
      if (a.length === b.length) throw new Error(`labels '${labels[i]}' and '${labels[j]}' are the same tokens`);
      endScored = true;
    }
  }
  return { tokens: endScored ? tokens.map((t) => [...t, end]) : tokens, endScored };
}

export interface Score {
  index: number;
  /** Sum of the log-probabilities of each label's own tokens, unnormalised. */
  logProbs: number[];
  /** The best label; the first of equals. */
  predicted: number;
  tie: boolean;
}

/** Rows of one scoring batch: every review a child of the root, every label a child of its review. */
function scoringRows(examples: readonly Example[], { tokens }: LabelTokens, root: number) {
  const forest = new Forest();
  const parent = root > 0 ? forest.add(-1, root) : -1;
  const ids: number[] = [];
  const outputs: number[] = [];
  /** (index into outputs, token) and whose score it adds to. */
  const targets: { output: number; token: number; example: number; label: number }[] = [];
  for (const [e, { prompt, index }] of examples.entries()) {
    if (prompt.length === 0) throw new Error(`example ${index}: its prompt is empty`);
    const review = forest.add(parent, prompt.length);
    ids.push(...prompt);
    // Labels' first tokens are all predicted by the review's last row.
    const first = outputs.push(forest.rows - 1) - 1;
    for (const [label, sequence] of tokens.entries()) {
      const start = forest.rows;
      forest.add(review, sequence.length - 1);
      for (const [k, token] of sequence.entries()) {
        if (k > 0) ids.push(sequence[k - 1]);
        const output = k === 0 ? first : outputs.push(start + k - 1) - 1;
        targets.push({ output, token, example: e, label });
      }
    }
  }
  return { forest, ids, outputs, targets };
}

/** Scores labels, keeping the keys and values of what all examples begin with. */
export class LabelScorer implements Disposable {
  readonly #peft: PeftModel;
  readonly #labels: LabelTokens;
  readonly #shared: readonly number[];
  readonly #budget: number;
  #cache: KeyValueCache | undefined;
  #version = -1;

  /** `budget`: rows a batch may have at most (a longer example is a batch of its own). */
  constructor(peft: PeftModel, labels: LabelTokens, shared: readonly number[], budget = 2048) {
    this.#peft = peft;
    this.#labels = labels;
    this.#shared = shared;
    this.#budget = budget;
  }

  /** Rows before every review. */
  get #root(): number {
    return this.#peft.virtualTokens + this.#shared.length;
  }

  rowsOf(example: Example): number {
    return example.prompt.length + this.#labels.tokens.reduce((n, t) => n + t.length - 1, 0);
  }

  /** A cache that holds the root's rows under the adapter's present weights, with room for `rows` more. */
  #prefix(rows: number): KeyValueCache | undefined {
    const root = this.#root;
    if (root === 0) return undefined;
    if (this.#cache && this.#version === this.#peft.version && this.#cache.capacity >= root + rows) {
      this.#cache.length = root;
      return this.#cache;
    }
    this[Symbol.dispose]();
    const cache = new KeyValueCache(this.#peft.model, root + Math.max(rows, this.#budget));
    try {
      using _ = scope();
      const forest = new Forest();
      forest.add(-1, root);
      this.#peft.forward({ forest, ids: this.#shared, outputs: [root - 1] }, { cache });
    } catch (error) {
      cache[Symbol.dispose]();
      throw error;
    }
    this.#cache = cache;
    this.#version = this.#peft.version;
    return cache;
  }

  /** Batches of examples within the row budget, in order. */
  *batches<E extends Example>(examples: Iterable<E>): Generator<E[]> {
    let batch: E[] = [];
    let rows = 0;
    for (const example of examples) {
      const n = this.rowsOf(example);
      if (batch.length > 0 && rows + n > this.#budget) {
        yield batch;
        batch = [];
        rows = 0;
      }
      batch.push(example);
      rows += n;
    }
    if (batch.length > 0) yield batch;
  }

  /**
   * The labels' scores for each example.
   * @throws naming the example whose score is not a finite number
   */
  async score(examples: readonly Example[]): Promise<Score[]> {
    return noGrad(async () => {
      using _ = scope();
      const { backend, head } = this.#peft.model;
      const { forest, ids, outputs, targets } = scoringRows(examples, this.#labels, this.#root);
      const cache = this.#prefix(ids.length);
      const hidden = this.#peft.forward({ forest, ids, outputs, from: cache?.length }, { cache });
      const pairs = Int32Array.from(targets.flatMap(({ output, token }) => [output, token]));
      const index = tensor(pairs, [targets.length, 2], { dtype: 'i32', backend });
      const logProbs = await linearLogProbs(hidden, head, index).data();
      const sums = examples.map(() => this.#labels.tokens.map(() => 0));
      for (const [i, { example, label }] of targets.entries()) sums[example][label] += logProbs[i];
      return examples.map(({ index }, e) => best(index, sums[e]));
    });
  }

  [Symbol.dispose](): void {
    this.#cache?.[Symbol.dispose]();
    this.#cache = undefined;
  }
}

function best(index: number, logProbs: number[]): Score {
  if (!logProbs.every(Number.isFinite)) throw new Error(`example ${index}: a label's score is ${logProbs.join(', ')}`);
  const top = Math.max(...logProbs);
  const predicted = logProbs.indexOf(top);
  return { index, logProbs, predicted, tie: logProbs.lastIndexOf(top) !== predicted };
}
