import { Forest } from '../engine/index.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { PromptTemplate } from './template.ts';

/** One example in tokens. Its sequence is shared + prompt + answer. */
export interface Example {
  /** Its place in the data. */
  readonly index: number;
  /** Tokens all examples of a run begin with; may be empty. */
  readonly shared: readonly number[];
  readonly prompt: readonly number[];
  /** What is trained: the answer with its end token. Empty when there is nothing to learn. */
  readonly answer: readonly number[];
  /** The text was longer than the maximum and was cut. */
  readonly cut: boolean;
}

/** The text's own tokens, the first `maxLength` of them. */
export function encodeText(text: string, tokenizer: Tokenizer, maxLength: number): { ids: number[]; cut: boolean } {
  const ids = tokenizer.encode(text, { continuation: true });
  return { ids: ids.slice(0, maxLength), cut: ids.length > maxLength };
}

/** Tokens of an answer as it goes on from the template's prompt, without the end token. */
export const encodeAnswer = (answer: string, template: PromptTemplate, tokenizer: Tokenizer): number[] =>
  tokenizer.encode(template.joint + answer, { continuation: true });

/** A text in its prompt, with the answer it is trained on (none for evaluation). */
export function labelledExample(
  { index, text, answer }: { index: number; text: string; answer?: string },
  template: PromptTemplate,
  tokenizer: Tokenizer,
  maxLength: number,
): Example {
  const { ids, cut } = encodeText(text, tokenizer, maxLength);
  return {
    index,
    shared: template.before,
    prompt: [...ids, ...template.after],
    answer: answer === undefined ? [] : [...encodeAnswer(answer, template, tokenizer), template.end],
    cut,
  };
}

/** Rows of a batch and the tokens they have to predict. */
export interface TrainingRows {
  forest: Forest;
  /** Ids of all rows but the virtual ones. */
  ids: number[];
  /** Rows whose hidden states are wanted, ascending. */
  outputs: number[];
  /** (index into `outputs`, token) of every label token. */
  targets: [output: number, token: number][];
  /** Of every row, whose dropout mask it takes: −1 for rows that all share, else the example's place in the epoch. */
  owners: number[];
}

export interface RowOptions {
  virtualTokens: number;
  /** Compute the tokens all examples begin with once for the batch. */
  sharePrefix: boolean;
}

/**
 * A batch of examples as segments: virtual tokens and shared tokens are the root, every example is its child, and nothing
 * is padded. `places` are the examples' places in the epoch's order.
 * @throws when an example has no token to predict its answer from
 */
export function trainingRows(
  examples: readonly Example[],
  places: readonly number[],
  options: RowOptions,
): TrainingRows {
  const { virtualTokens, sharePrefix } = options;
  const forest = new Forest();
  const rows: TrainingRows = { forest, ids: [], outputs: [], targets: [], owners: [] };
  const shared = sharePrefix ? (examples[0]?.shared ?? []) : [];
  const append = (parent: number, tokens: readonly number[], owner: number): number => {
    rows.ids.push(...tokens);
    for (let i = 0; i < tokens.length; i++) rows.owners.push(owner);
    return forest.add(parent, tokens.length);
  };
  let root = -1;
  if (virtualTokens + shared.length > 0) {
    for (let i = 0; i < virtualTokens; i++) rows.owners.push(-1);
    rows.ids.push(...shared);
    for (let i = 0; i < shared.length; i++) rows.owners.push(-1);
    root = forest.add(-1, virtualTokens + shared.length);
  }
  // Root rows are predicted from too when an example has no tokens of its own before its answer.
  const outputOf = new Map<number, number>();
  const wanted: { row: number; token: number }[] = [];
  for (const [i, { shared: own, prompt, answer, index }] of examples.entries()) {
    const before = sharePrefix ? prompt : [...own, ...prompt];
    const start = forest.rows;
    append(root, [...before, ...answer.slice(0, -1)], places[i]);
    for (const [k, token] of answer.entries()) {
      const row = before.length + k > 0 ? start + before.length + k - 1 : lastRow(forest, root);
      if (row < 0) throw new Error(`example ${index}: there is no token before its answer`);
      wanted.push({ row, token });
    }
  }
  for (const row of [...new Set(wanted.map((w) => w.row))].sort((a, b) => a - b)) outputOf.set(row, outputOf.size);
  rows.outputs = [...outputOf.keys()];
  rows.targets = wanted.map(({ row, token }) => [outputOf.get(row) as number, token]);
  return rows;
}

/** The last row of a segment; −1 where there is no segment. */
function lastRow(forest: Forest, segment: number): number {
  if (segment < 0) return -1;
  const { start, length } = forest.segments[segment];
  return start + length - 1;
}
