import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { FormatError } from '../../engine/file.ts';
import { checked, type LlamaConfig } from '../config.ts';

const count = z.int().positive();
const positive = z.number().positive();
const tokenId = z.int().nonnegative();

const ropeType = z.string().optional();
const ropeSchema = z.looseObject({
  rope_type: ropeType,
  type: ropeType, // its name before transformers 4.43
  rope_theta: positive.optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: positive.optional(),
  partial_rotary_factor: z.literal(1).nullish(),
});

/** Defaults are those of transformers' LlamaConfig; the sizes have none here: a file without them is no checkpoint. */
const hfSchema = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count.max(10_000),
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  rms_norm_eps: positive.default(1e-6),
  rope_theta: positive.optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  max_position_embeddings: count.default(2048),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  bos_token_id: tokenId.nullable().default(1),
  eos_token_id: z
    .union([tokenId, z.array(tokenId)])
    .nullable()
    .default(2),
});

/** Keys that would change what is computed, with the values (beside null) under which they change nothing. */
const neutral: Record<string, unknown[]> = {
  architectures: [['LlamaForCausalLM']],
  model_type: ['llama'],
  hidden_act: ['silu', 'swish'],
  hidden_activation: ['silu', 'swish'],
  pretraining_tp: [1],
  attention_dropout: [0],
  hidden_dropout: [0],
  quantization_config: [],
  compression_config: [],
  sliding_window: [],
  use_sliding_window: [false],
  layer_types: [],
  partial_rotary_factor: [1],
  rope_interleaved: [false],
  no_rope_layers: [[]],
  no_rope_layer_interval: [],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
  pruned_heads: [{}],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  logit_scale: [1],
  logits_scaling: [1],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  attention_multiplier: [],
  clip_qkv: [],
  use_qk_norm: [false],
  qk_norm: [false],
  qkv_bias: [false],
  num_local_experts: [0, 1],
  num_experts: [0, 1],
  num_nextn_predict_layers: [0],
};

/** Keys that say nothing about the computation: bookkeeping, generation defaults, initialisation. */
const harmless = new Set(
  `_name_or_path _attn_implementation _commit_hash auto_map bad_words_ids begin_suppress_tokens cache_implementation
  chunk_size_feed_forward diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size
  exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label initializer_range
  is_decoder is_llama_config label2id length_penalty max_length max_sequence_length min_length model_max_length
  no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states
  output_scores pad_token_id prefix problem_type remove_invalid_values repetition_penalty return_dict
  return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
  tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config
  transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache`.split(/\s+/),
);

/**
 * Reads the object of an HF `config.json`, in the spelling of transformers 4 or 5. Keys that mean nothing to the
 * computation are ignored, unknown ones are passed to `warn` (transformers ignores them for this architecture).
 * @param source names the file in messages
 * @throws FormatError naming the key and its value for everything that is missing, malformed or not supported
 */
export function configFromHf(
  source: string,
  raw: unknown,
  warn: (message: string) => void = (message) => process.emitWarning(message),
): LlamaConfig {
  const parsed = hfSchema.safeParse(raw);
  if (!parsed.success) throw new FormatError(`${source}: ${describe(parsed.error, raw)}`);
  const hf = parsed.data;
  for (const [key, value] of Object.entries(hf)) {
    if (value === null || key in hfSchema.shape || harmless.has(key)) continue;
    if (!Object.hasOwn(neutral, key)) {
      warn(`${source}: key ${JSON.stringify(key)} (${JSON.stringify(value)}) is not known and is ignored`);
    } else if (!neutral[key].some((v) => isDeepStrictEqual(v, value))) {
      unsupported(source, key, value);
    }
  }
  const heads = hf.num_attention_heads;
  return checked(source, {
    vocabSize: hf.vocab_size,
    hiddenSize: hf.hidden_size,
    intermediateSize: hf.intermediate_size,
    numHiddenLayers: hf.num_hidden_layers,
    numAttentionHeads: heads,
    numKeyValueHeads: hf.num_key_value_heads ?? heads,
    headDim: hf.head_dim ?? hf.hidden_size / heads,
    rmsNormEps: hf.rms_norm_eps,
    ...rope(source, hf),
    maxPositionEmbeddings: hf.max_position_embeddings,
    tieWordEmbeddings: hf.tie_word_embeddings,
    attentionBias: hf.attention_bias,
    mlpBias: hf.mlp_bias,
    bosTokenId: hf.bos_token_id ?? undefined,
    eosTokenIds: [hf.eos_token_id ?? []].flat(),
    raw: raw as Record<string, unknown>,
  });
}

function rope(source: string, hf: z.infer<typeof hfSchema>): Pick<LlamaConfig, 'ropeTheta' | 'ropeScaling'> {
  const key = hf.rope_parameters ? 'rope_parameters' : 'rope_scaling';
  const parameters: Partial<z.infer<typeof ropeSchema>> = hf[key] ?? {};
  if (hf.rope_theta && parameters.rope_theta && hf.rope_theta !== parameters.rope_theta) {
    throw new FormatError(
      `${source}: rope_theta is ${hf.rope_theta}, but ${key}.rope_theta is ${parameters.rope_theta}`,
    );
  }
  const ropeTheta = parameters.rope_theta ?? hf.rope_theta ?? 10_000;
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  if (type !== 'default' && type !== 'llama3') unsupported(source, `${key}.rope_type`, type);
  if (type === 'default') return { ropeTheta };
  const need = (name: 'factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings') => {
    const value = parameters[name];
    if (value === undefined) throw new FormatError(`${source}: ${key}.${name} is missing, rope type llama3 needs it`);
    return value;
  };
  return {
    ropeTheta,
    ropeScaling: {
      factor: need('factor'),
      lowFreqFactor: need('low_freq_factor'),
      highFreqFactor: need('high_freq_factor'),
      originalMaxPositionEmbeddings: need('original_max_position_embeddings'),
    },
  };
}

function unsupported(source: string, key: string, value: unknown): never {
  throw new FormatError(`${source}: ${key} = ${JSON.stringify(value)} is not supported`);
}

/** zod's first complaint with the key's path and the value found there. */
function describe(error: z.ZodError, raw: unknown): string {
  const { path, message } = error.issues[0];
  let value: unknown = raw;
  for (const key of path) value = (value as Record<PropertyKey, unknown>)?.[key];
  const found = value === undefined ? 'is missing' : `= ${JSON.stringify(value)?.slice(0, 200)}`;
  return path.length === 0 ? `not a JSON object of settings: ${message}` : `${path.join('.')} ${found}: ${message}`;
}
