import { Forest } from '../engine/index.ts';
import type { EncodeOptions, Tokenizer } from '../models/tokenizer/tokenizer.ts';
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
export function encodeText(
  text: string,
  tokenizer: Tokenizer,
  maxLength: number,
  options: EncodeOptions = { continuation: true },
): { ids: number[]; cut: boolean } {
  const ids = tokenizer.encode(text, options);
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
  const { ids, cut } = encodeText(text, tokenizer, maxLength, template.text);
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
  const append = (tokens: readonly number[], owner: number, parent: number, virtual = 0): number => {
    rows.ids.push(...tokens);
    for (let i = 0; i < virtual + tokens.length; i++) rows.owners.push(owner);
    return forest.add(parent, virtual + tokens.length);
  };
  const root = virtualTokens + shared.length > 0 ? append(shared, -1, -1, virtualTokens) : -1;
  const wanted: { row: number; token: number }[] = [];
  for (const [i, { shared: own, prompt, answer, index }] of examples.entries()) {
    const before = sharePrefix ? prompt : [...own, ...prompt];
    if (before.length === 0) throw new Error(`example ${index}: its prompt is empty`);
    // The prompt's last row predicts the answer's first token; the end token predicts nothing and needs no row.
    const first = forest.rows + before.length - 1;
    append([...before, ...answer.slice(0, -1)], places[i], root);
    for (const [k, token] of answer.entries()) wanted.push({ row: first + k, token });
  }
  rows.outputs = wanted.map((w) => w.row);
  rows.targets = wanted.map(({ token }, output) => [output, token]);
  return rows;
}
