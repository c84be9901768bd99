import { embedding, Module, noGrad, parameter, type Rng, scope, type Tensor, tensor } from '../engine/index.ts';
import type { LlamaModel } from '../models/llama.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';

/**
 * Virtual tokens at the start: `random` is peft's N(0, 1); `vocab` takes random rows of the embedding matrix; `text`
 * the rows of a text's tokens, cut or repeated; `labels` those of the class names, then random rows
 * (Lester et al., "The power of scale for parameter-efficient prompt tuning", 2021).
 */
export type PromptInit = 'random' | 'vocab' | 'text' | 'labels';

export interface PromptConfig {
  virtualTokens: number;
  init: PromptInit;
  /** The text of `text`. */
  initText?: string;
}

/** Trainable embeddings [V, C] that stand before every sequence, BOS too. */
export class PromptEmbedding extends Module {
  readonly promptEmbeddings: Tensor;

  constructor(values: Tensor) {
    super();
    this.promptEmbeddings = values;
  }
}

/** Ids whose embeddings begin the virtual tokens; undefined for `random`. */
function initialIds(
  { virtualTokens: V, init, initText }: PromptConfig,
  vocabSize: number,
  rng: Rng,
  source: { tokenizer?: Tokenizer; labels?: readonly string[] },
): number[] | undefined {
  const sampled = (): number => rng.int(vocabSize);
  const need = <T>(value: T | undefined, what: string): T => {
    if (value === undefined) throw new Error(`prompt tuning: initialisation '${init}' needs ${what}`);
    return value;
  };
  if (init === 'random') return undefined;
  if (init === 'vocab') return Array.from({ length: V }, sampled);
  const tokenizer = need(source.tokenizer, 'a tokenizer');
  if (init === 'text') {
    const ids = tokenizer.encode(need(initText, 'a text (initText)'));
    if (ids.length === 0) throw new Error("prompt tuning: the text of initialisation 'text' has no tokens");
    return Array.from({ length: V }, (_, i) => ids[i % ids.length]);
  }
  const ids = need(source.labels, 'the class labels').flatMap((l) => tokenizer.encode(` ${l}`, { continuation: true }));
  return Array.from({ length: V }, (_, i) => ids[i] ?? sampled());
}

/**
 * New virtual tokens for a model.
 * @throws when the initialisation needs a tokenizer, a text or labels that were not given
 */
export async function initialPrompt(
  model: LlamaModel,
  config: PromptConfig,
  rng: Rng,
  source: { tokenizer?: Tokenizer; labels?: readonly string[] } = {},
): Promise<PromptEmbedding> {
  const { virtualTokens: V } = config;
  const { hiddenSize: C, vocabSize } = model.config;
  const { backend } = model;
  const ids = initialIds(config, vocabSize, rng, source);
  if (!ids) {
    const values = Float32Array.from({ length: V * C }, () => rng.normal());
    return new PromptEmbedding(parameter(tensor(values, [V, C], { backend })));
  }
  using _ = scope();
  const index = tensor(Int32Array.from(ids), [V], { dtype: 'i32', backend });
  return new PromptEmbedding(parameter(noGrad(() => embedding(model.model.embedTokens.weight, index))));
}
