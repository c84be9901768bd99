import type { DType } from '../../engine/dtype.ts';
import { FormatError } from '../../engine/file.ts';
import { formatShape, type Shape, sameShape } from '../../engine/shape.ts';
import type { LlamaConfig } from '../config.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

export interface TensorInfo {
  dtype: DType;
  shape: Shape;
}

/** A model on disk, whatever its format: tensors carry Hugging Face's names and (half-split) order of q and k rows. */
export interface Checkpoint {
  readonly format: 'hf' | 'gguf' | 'llama2c';
  readonly path: string;
  readonly config: LlamaConfig;
  /** Exactly the tensors of `expectedTensors(config)`. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** One tensor's bytes as stored (see `byteLength`), read now: nothing is cached, the caller may free them. */
  read(name: string): Promise<Uint8Array>;
  /** The tokenizer beside or inside the checkpoint. */
  tokenizer(): Promise<Tokenizer>;
  close(): Promise<void>;
}

/** Names and shapes of the tensors that a model of this config consists of. A tied head is `model.embed_tokens.weight`. */
export function expectedTensors(config: LlamaConfig): Map<string, Shape> {
  const { hiddenSize: C, intermediateSize: I, headDim: D, vocabSize: V } = config;
  const queries = config.numAttentionHeads * D;
  const keys = config.numKeyValueHeads * D;
  const tensors = new Map<string, Shape>([['model.embed_tokens.weight', [V, C]]]);
  const linear = (name: string, out: number, inputs: number, bias: boolean) => {
    tensors.set(`${name}.weight`, [out, inputs]);
    if (bias) tensors.set(`${name}.bias`, [out]);
  };
  for (let n = 0; n < config.numHiddenLayers; n++) {
    const layer = `model.layers.${n}`;
    tensors.set(`${layer}.input_layernorm.weight`, [C]);
    linear(`${layer}.self_attn.q_proj`, queries, C, config.attentionBias);
    linear(`${layer}.self_attn.k_proj`, keys, C, config.attentionBias);
    linear(`${layer}.self_attn.v_proj`, keys, C, config.attentionBias);
    linear(`${layer}.self_attn.o_proj`, C, queries, config.attentionBias);
    tensors.set(`${layer}.post_attention_layernorm.weight`, [C]);
    linear(`${layer}.mlp.gate_proj`, I, C, config.mlpBias);
    linear(`${layer}.mlp.up_proj`, I, C, config.mlpBias);
    linear(`${layer}.mlp.down_proj`, C, I, config.mlpBias);
  }
  tensors.set('model.norm.weight', [C]);
  if (!config.tieWordEmbeddings) tensors.set('lm_head.weight', [V, C]);
  return tensors;
}

/**
 * @param found the file's tensors under their Hugging Face names
 * @throws FormatError naming the tensors that are missing, that nothing expects, or that have another shape
 */
export function checkTensors(source: string, config: LlamaConfig, found: ReadonlyMap<string, { shape: Shape }>): void {
  const expected = expectedTensors(config);
  const problems = [
    list(
      'missing',
      [...expected.keys()].filter((name) => !found.has(name)),
    ),
    list(
      'unexpected',
      [...found.keys()].filter((name) => !expected.has(name)),
    ),
    list(
      'of another shape',
      [...expected]
        .filter(([name, shape]) => found.has(name) && !sameShape(shape, found.get(name)!.shape))
        .map(([name, shape]) => `${name} ${formatShape(found.get(name)!.shape)}, expected ${formatShape(shape)}`),
    ),
  ].filter((problem) => problem !== '');
  if (problems.length > 0) throw new FormatError(`${source}: ${problems.join('; ')}`);
}

function list(what: string, names: string[]): string {
  if (names.length === 0) return '';
  const rest = names.length > 4 ? ` and ${names.length - 4} more` : '';
  return `tensors ${what}: ${names.slice(0, 4).join(', ')}${rest}`;
}

/**
 * Reorders the rows of a q or k projection (or its bias) from rotary pairs that are neighbours, as Meta, llama2.c and
 * GGUF store them, to pairs `headDim / 2` apart, as Hugging Face stores them. Rows move whole, so any dtype will do.
 * @param bytes [heads · headDim, …] row-major
 */
export function halfSplitRows(bytes: Uint8Array, heads: number, headDim: number): Uint8Array {
  const row = bytes.byteLength / (heads * headDim);
  const out = new Uint8Array(bytes.byteLength);
  for (let to = 0; to < heads * headDim; to++) {
    const inHead = to % headDim;
    const half = inHead < headDim / 2 ? 0 : 1;
    const from = to - inHead + 2 * (inHead - (half * headDim) / 2) + half;
    out.set(bytes.subarray(from * row, (from + 1) * row), to * row);
  }
  return out;
}

/** Heads whose rows `halfSplitRows` must reorder for this tensor; undefined for every tensor but q and k. */
export function rotaryHeads(name: string, config: LlamaConfig): number | undefined {
  if (name.includes('.q_proj.')) return config.numAttentionHeads;
  if (name.includes('.k_proj.')) return config.numKeyValueHeads;
  return undefined;
}
