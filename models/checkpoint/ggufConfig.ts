import { FormatError } from '../../engine/file.ts';
import type { Shape } from '../../engine/shape.ts';
import { checked, type LlamaConfig, rawFromConfig } from '../config.ts';
import type { GgufValue } from './ggufHeader.ts';

/** `llama.` keys that are read below. */
const known = new Set(
  `vocab_size context_length embedding_length block_count feed_forward_length rope.dimension_count rope.freq_base
  attention.head_count attention.head_count_kv attention.layer_norm_rms_epsilon attention.key_length
  attention.value_length`.split(/\s+/),
);
/** `llama.` keys that would change what is computed, with the values under which they change nothing. */
const neutral: Record<string, GgufValue[]> = {
  'rope.scaling.type': ['none'],
  'rope.scaling.factor': [0, 1],
  'rope.scale_linear': [1],
  'attention.causal': [true],
  'attention.clamp_kqv': [0],
  'attention.max_alibi_bias': [0],
  'attention.scale': [0],
  'attention.sliding_window': [0],
  embedding_scale: [1],
  residual_scale: [1],
  logit_scale: [0, 1],
  expert_count: [0],
  expert_used_count: [0],
  use_parallel_residual: [false],
};
/** `llama.` keys that say nothing about the computation. */
const harmless = new Set(['tensor_data_layout', 'rope.scaling.finetuned', 'rope.scaling.original_context_length']);

/**
 * Reads the `llama.` keys of a GGUF file.
 * @param tensors by Hugging Face name: the vocabulary's size, a tied head and biases show in them
 * @throws FormatError naming the key and its value for everything missing, malformed or not supported
 */
export function configFromGguf(
  source: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: ReadonlyMap<string, { shape: Shape }>,
  ropeFactors: number[] | undefined,
  warn: (message: string) => void = (message) => process.emitWarning(message),
): LlamaConfig {
  const fail = (message: string): never => {
    throw new FormatError(`${source}: ${message}`);
  };
  const refuse = (key: string): never => fail(`${key} = ${show(metadata[key])} is not supported`);
  if (metadata['general.architecture'] !== 'llama') refuse('general.architecture');
  if (![undefined, 0, 1].includes(metadata['split.count'] as number)) refuse('split.count');
  for (const [key, value] of Object.entries(metadata)) {
    if (!key.startsWith('llama.')) continue;
    const name = key.slice('llama.'.length);
    if (known.has(name) || harmless.has(name)) continue;
    if (!Object.hasOwn(neutral, name)) warn(`${source}: key ${key} (${show(value)}) is not known and is ignored`);
    else if (!neutral[name].includes(value)) refuse(key);
  }
  const number = (key: string, fallback?: number): number => {
    const value = metadata[key] ?? fallback;
    if (value === undefined) return fail(`${key} is missing`);
    if (typeof value !== 'number' || !(value > 0 && value < Infinity))
      return fail(`${key} = ${show(value)}: not a positive number`);
    return value;
  };
  const count = (key: string, fallback?: number): number => {
    const value = number(key, fallback);
    return Number.isInteger(value) ? value : fail(`${key} = ${value} is not an integer`);
  };
  const token = (key: string): number[] => {
    const value = metadata[key];
    if (value === undefined) return [];
    return typeof value === 'number' && Number.isInteger(value) && value >= 0
      ? [value]
      : fail(`${key} = ${show(value)} is not a token id`);
  };

  const hiddenSize = count('llama.embedding_length');
  const heads = count('llama.attention.head_count');
  const headDim = count('llama.attention.key_length', hiddenSize / heads);
  for (const key of ['llama.attention.value_length', 'llama.rope.dimension_count']) {
    if (count(key, headDim) !== headDim) fail(`${key} = ${metadata[key]} is not the head size ${headDim}`);
  }
  const embedding = tensors.get('model.embed_tokens.weight')?.shape;
  if (!embedding) return fail('tensors missing: token_embd.weight');
  const layers = count('llama.block_count');
  if (layers > 10_000) refuse('llama.block_count');
  if (ropeFactors && (ropeFactors.length !== headDim / 2 || !ropeFactors.every((f) => f > 0 && f < Infinity))) {
    fail(`rope_freqs.weight: expected ${headDim / 2} positive factors, found ${ropeFactors.slice(0, 8)}…`);
  }
  const biased = (part: string) => tensors.has(`model.layers.0.${part}.bias`);
  const config = {
    vocabSize: count('llama.vocab_size', embedding[0]),
    hiddenSize,
    intermediateSize: count('llama.feed_forward_length'),
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: count('llama.attention.head_count_kv', heads),
    headDim,
    // Stored as f32: 1e-5 comes back as 9.99999974e-6, which is not what the model was trained with.
    rmsNormEps: Number(number('llama.attention.layer_norm_rms_epsilon').toPrecision(7)),
    ropeTheta: number('llama.rope.freq_base', 10_000),
    ropeFactors,
    maxPositionEmbeddings: count('llama.context_length'),
    tieWordEmbeddings: !tensors.has('lm_head.weight'),
    attentionBias: biased('self_attn.q_proj'),
    mlpBias: biased('mlp.gate_proj'),
    bosTokenId: token('tokenizer.ggml.bos_token_id')[0],
    eosTokenIds: [...new Set([...token('tokenizer.ggml.eos_token_id'), ...token('tokenizer.ggml.eot_token_id')])],
  };
  return checked(source, { ...config, raw: rawFromConfig(config) });
}

const show = (value: GgufValue): string => (typeof value === 'object' ? 'a list' : String(value));
