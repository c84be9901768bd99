import { Forest, noGrad, scope, type Tensor } from '../engine/index.ts';
import { type BatchRows, prepareBatch } from './batch.ts';
import { KeyValueCache } from './cache.ts';
import { LlamaModel } from './llama.ts';
import { Sampler, type SamplingOptions } from './sampling.ts';
import type { Tokenizer } from './tokenizer/tokenizer.ts';

/** A LLaMA with or without an adapter. */
export interface LanguageModel {
  readonly model: LlamaModel;
  /** Rows that it puts before every sequence; `rows.forest` has them at its beginning. */
  readonly virtualTokens: number;
  forward(rows: Omit<BatchRows, 'virtual'>, options: { cache: KeyValueCache }): Tensor;
}

const languageModel = (model: LlamaModel | LanguageModel): LanguageModel =>
  model instanceof LlamaModel
    ? {
        model,
        virtualTokens: 0,
        forward: (rows, options) => model.forward(prepareBatch(rows, model.backend), options),
      }
    : model;

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to generate at most. */
  maxNewTokens: number;
  /** Ids that end a sequence. They are not among the ids that are returned. */
  eosIds: readonly number[];
}

/** Sequences that grow token by token over one cache. Belongs to no scope. */
class Continuation implements Disposable {
  readonly #model: LanguageModel;
  readonly #forest = new Forest();
  readonly #cache: KeyValueCache;
  /** Each sequence's last segment. */
  readonly #last: number[] = [];

  constructor(model: LanguageModel, rows: number) {
    this.#model = model;
    this.#cache = new KeyValueCache(model.model, rows);
  }

  /** Computes what the sequences begin with and the prompts, in one pass; logits [V] after each prompt. */
  async begin(shared: readonly number[], prompts: readonly (readonly number[])[]): Promise<ArrayLike<number>[]> {
    const root = this.#model.virtualTokens + shared.length;
    const parent = root > 0 ? this.#forest.add(-1, root) : -1;
    const outputs = prompts.map((prompt) => {
      this.#last.push(this.#forest.add(parent, prompt.length));
      return this.#forest.rows - 1;
    });
    return this.#pass([...shared, ...prompts.flat()], outputs);
  }

  /** Appends a token to each of some sequences; logits [V] after each. */
  async append(tokens: readonly { sequence: number; id: number }[]): Promise<ArrayLike<number>[]> {
    const outputs = tokens.map(({ sequence }) => {
      this.#last[sequence] = this.#forest.add(this.#last[sequence], 1);
      return this.#forest.rows - 1;
    });
    return this.#pass(
      tokens.map(({ id }) => id),
      outputs,
    );
  }

  #pass(ids: readonly number[], outputs: readonly number[]): Promise<ArrayLike<number>[]> {
    return noGrad(async () => {
      using _ = scope();
      const { model } = this.#model;
      const rows = { forest: this.#forest, from: this.#cache.length, ids, outputs };
      const logits = await model.logits(this.#model.forward(rows, { cache: this.#cache })).data();
      const V = model.config.vocabSize;
      return outputs.map((_, i) => logits.subarray(i * V, (i + 1) * V));
    });
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}

/**
 * Continues several prompts at once, each as if it were alone. What they have in common, `shared`, is computed once.
 * Yields tokens as they come: the sequence's index and the new id.
 * @throws RangeError for an empty prompt or an option out of range
 */
async function* tokens(
  model: LlamaModel | LanguageModel,
  shared: readonly number[],
  prompts: readonly (readonly number[])[],
  { maxNewTokens, eosIds, ...sampling }: GenerateOptions,
): AsyncGenerator<{ sequence: number; id: number }> {
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new RangeError(`generation: maxNewTokens ${maxNewTokens} is not a whole number ≥ 1`);
  }
  for (const [i, { length }] of prompts.entries()) {
    if (length === 0) throw new RangeError(`generation: prompt ${i} is empty: there is nothing to go on from`);
  }
  const source = languageModel(model);
  const samplers = prompts.map((prompt, i) => new Sampler(sampling, [...shared, ...prompt], i));
  const length = prompts.reduce((n, prompt) => n + prompt.length, source.virtualTokens + shared.length);
  using continuation = new Continuation(source, length + prompts.length * (maxNewTokens - 1));
  let live = [...prompts.keys()];
  let logits = await continuation.begin(shared, prompts);
  for (let step = 1; ; step++) {
    const next = live
      .map((sequence, i) => ({ sequence, id: samplers[sequence].next(logits[i]) }))
      .filter(({ id }) => !eosIds.includes(id));
    yield* next;
    if (next.length === 0 || step === maxNewTokens) return;
    live = next.map(({ sequence }) => sequence);
    logits = await continuation.append(next);
  }
}

/**
 * Continuations of several prompts, each as if it were alone: the new ids of each, without the one that ended it.
 * @param shared tokens that all prompts begin with, computed once
 * @throws RangeError for an empty prompt or an option out of range
 */
export async function generateBatch(
  model: LlamaModel | LanguageModel,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions & { shared?: readonly number[] },
): Promise<number[][]> {
  const { shared = [], ...rest } = options;
  const out = prompts.map((): number[] => []);
  for await (const { sequence, id } of tokens(model, shared, prompts, rest)) out[sequence].push(id);
  return out;
}

/**
 * The text that continues a prompt, in pieces as they become certain, up to an end token or a stop string (which is left
 * out, also where it stands across tokens).
 * @throws RangeError for an empty prompt or an option out of range
 */
export async function* generate(
  model: LlamaModel | LanguageModel,
  prompt: readonly number[],
  tokenizer: Tokenizer,
  { stop = [], ...options }: Omit<GenerateOptions, 'eosIds'> & { stop?: readonly string[] },
): AsyncGenerator<string> {
  const decoder = tokenizer.stream({ skipSpecial: true, continuation: true });
  const output = new StopStrings(stop);
  for await (const { id } of tokens(model, [], [prompt], { ...options, eosIds: tokenizer.eosIds })) {
    const piece = output.push(decoder.push(id));
    if (piece !== '') yield piece;
    if (output.stopped) return;
  }
  const rest = output.push(decoder.flush()) + output.flush();
  if (rest !== '') yield rest;
}

/** Lets text through that cannot become part of a stop string any more. */
class StopStrings {
  readonly #stop: readonly string[];
  #held = '';
  #stopped = false;

  constructor(stop: readonly string[]) {
    if (stop.includes('')) throw new RangeError('generation: a stop string is empty');
    this.#stop = stop;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  push(text: string): string {
    const all = this.#held + text;
    const found = this.#stop.map((s) => all.indexOf(s)).filter((at) => at >= 0);
    this.#stopped = found.length > 0;
    const certain = this.#stopped ? Math.min(...found) : all.length - this.#begun(all);
    this.#held = this.#stopped ? '' : all.slice(certain);
    return all.slice(0, certain);
  }

  /** What was held back. */
  flush(): string {
    return this.#held;
  }

  /** Length of the longest end of `text` that a stop string begins with. */
  #begun(text: string): number {
    const longest = Math.max(0, ...this.#stop.map((s) => s.length - 1));
    for (let n = Math.min(longest, text.length); n > 0; n--) {
      if (this.#stop.some((s) => s.startsWith(text.slice(-n)))) return n;
    }
    return 0;
  }
}
