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

/**
 * Room for the longest of these batches with what they all begin with and their answers.
 * @throws RangeError for an empty prompt or number of tokens
 */
function makeCache(
  { model, virtualTokens }: LanguageModel,
  shared: readonly number[],
  batches: readonly (readonly (readonly number[])[])[],
  { maxNewTokens }: GenerateOptions,
): KeyValueCache {
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new RangeError(`generation: maxNewTokens ${maxNewTokens} is not a whole number ≥ 1`);
  }
  const rows = batches.map((prompts) => {
    const empty = prompts.findIndex(({ length }) => length === 0);
    if (empty >= 0) throw new RangeError(`generation: prompt ${empty} is empty: there is nothing to go on from`);
    return prompts.reduce((n, prompt) => n + prompt.length + maxNewTokens - 1, 0);
  });
  return new KeyValueCache(model, virtualTokens + shared.length + Math.max(0, ...rows));
}

/** Sequences that grow token by token over one cache. */
class Continuation {
  readonly #model: LanguageModel;
  readonly #forest = new Forest();
  readonly #cache: KeyValueCache;
  /** Each sequence's last segment. */
  readonly #last: number[] = [];

  constructor(model: LanguageModel, cache: KeyValueCache) {
    this.#model = model;
    this.#cache = cache;
  }

  /**
   * Computes what the sequences begin with, unless an earlier batch has left it in the cache, and the prompts, in one pass;
   * logits [V] after each prompt.
   */
  async begin(shared: readonly number[], prompts: readonly (readonly number[])[]): Promise<ArrayLike<number>[]> {
    const root = this.#model.virtualTokens + shared.length;
    const parent = root > 0 ? this.#forest.add(-1, root) : -1;
    const outputs = prompts.map((prompt) => {
      this.#last.push(this.#forest.add(parent, prompt.length));
      return this.#forest.rows - 1;
    });
    const before = this.#cache.length < root ? shared : [];
    return this.#pass([...before, ...prompts.flat()], outputs);
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
}

/**
 * Continues several prompts at once, each as if it were alone. What they have in common, `shared`, is computed once.
 * Yields tokens as they come: the sequence's index and the new id.
 * @throws RangeError for an option out of range
 */
async function* tokens(
  model: LanguageModel,
  cache: KeyValueCache,
  shared: readonly number[],
  prompts: readonly (readonly number[])[],
  { maxNewTokens, eosIds, ...sampling }: GenerateOptions,
): AsyncGenerator<{ sequence: number; id: number }> {
  const samplers = prompts.map((prompt, i) => new Sampler(sampling, [...shared, ...prompt], i));
  const continuation = new Continuation(model, cache);
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

/** Options of batches; `shared`: tokens that all their prompts begin with, computed once. */
export type BatchOptions = GenerateOptions & { shared?: readonly number[] };

/**
 * Continuations of several prompts, each as if it were alone: the new ids of each, without the one that ended it.
 * @throws RangeError for an empty prompt or an option out of range
 */
export async function generateBatch(
  model: LlamaModel | LanguageModel,
  prompts: readonly (readonly number[])[],
  options: BatchOptions,
): Promise<number[][]> {
  for await (const answers of generateBatches(model, [prompts], options)) return answers;
  return [];
}

/**
 * The same for one batch after the other. The keys and values of what all begin with are kept from the first one on, so that the
 * model must not change before the last.
 */
export async function* generateBatches(
  model: LlamaModel | LanguageModel,
  batches: readonly (readonly (readonly number[])[])[],
  { shared = [], ...options }: BatchOptions,
): AsyncGenerator<number[][]> {
  const source = languageModel(model);
  using cache = makeCache(source, shared, batches, options);
  for (const prompts of batches) {
    cache.length = Math.min(cache.length, source.virtualTokens + shared.length);
    const answers = prompts.map((): number[] => []);
    for await (const { sequence, id } of tokens(source, cache, shared, prompts, options)) answers[sequence].push(id);
    yield answers;
  }
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
  const source = languageModel(model);
  const rest = { ...options, eosIds: tokenizer.eosIds };
  using cache = makeCache(source, [], [[prompt]], rest);
  for await (const { id } of tokens(source, cache, [], [prompt], rest)) {
    const piece = output.push(decoder.push(id));
    if (piece !== '') yield piece;
    if (output.stopped) return;
  }
  const last = output.push(decoder.flush()) + output.flush();
  if (last !== '') yield last;
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
