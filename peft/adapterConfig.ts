import { z } from 'zod';
import { FormatError } from '../engine/file.ts';
import type { LlamaConfig } from '../models/config.ts';
import type { LoraConfig, LoraInit } from './lora.ts';
import type { Adapter } from './model.ts';
import type { PromptConfig, PromptInit } from './prompt.ts';
import { PyFloat } from './pythonJson.ts';

/** The peft release whose key set a fresh file has. */
const peftVersion = '0.21.0';

/** What the keys that change nothing here may hold; anything else asks for what is not supported. */
const off = z.union([z.null(), z.literal(false), z.literal('none'), z.tuple([]), z.strictObject({})]).optional();
const names = z.union([z.string(), z.array(z.string())]);

/** Keys that say where an adapter comes from or repeat a default: they change no number. */
const neutral = [
  ...['auto_mapping', 'base_model_name_or_path', 'inference_mode', 'megatron_core', 'peft_version', 'revision'],
  ...[
    'qalora_group_size',
    'task_type',
    'tokenizer_name_or_path',
    'tokenizer_kwargs',
    'layers_pattern',
    'runtime_config',
  ],
  ...['num_attention_heads', 'num_layers', 'token_dim', 'ensure_weight_tying'],
];
const ignored = Object.fromEntries(neutral.map((key) => [key, z.unknown().optional()]));

const lora = z
  .object({
    ...ignored,
    peft_type: z.literal('LORA'),
    r: z.int().positive().default(8),
    lora_alpha: z.number().default(8),
    lora_dropout: z.number().min(0).lt(1).default(0),
    use_rslora: z.boolean().nullish(),
    // Only how A and B began: what they became is in the tensors. Initialisations that change W are refused below.
    init_lora_weights: z.union([z.boolean(), z.enum(['gaussian', 'orthogonal', 'eva', 'mica'])]).default(true),
    target_modules: names.nullish(),
    exclude_modules: names.nullish(),
    rank_pattern: z.record(z.string(), z.int().positive()).nullish(),
    alpha_pattern: z.record(z.string(), z.number()).nullish(),
    layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  })
  .catchall(off);

const prompt = z
  .object({
    ...ignored,
    peft_type: z.literal('PROMPT_TUNING'),
    num_virtual_tokens: z.int().positive(),
    num_transformer_submodules: z.literal(1).nullish(),
    prompt_tuning_init: z.enum(['RANDOM', 'TEXT', 'SAMPLE_VOCAB']).default('RANDOM'),
    prompt_tuning_init_text: z.string().nullish(),
  })
  .catchall(off);

/** An adapter's settings, without its tensors. */
export type AdapterSettings = { method: 'lora'; config: LoraConfig } | { method: 'prompt'; config: PromptConfig };

/**
 * The settings in the text of an adapter_config.json, of any peft release since 0.3.
 * @throws FormatError naming the file, the key and its value where it asks for something that is not supported
 */
export function parseAdapterConfig(text: string, path: string): AdapterSettings {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${path}: not JSON: ${(error as Error).message}`);
  }
  const type = (raw as { peft_type?: unknown } | null)?.peft_type;
  const read = <T>(schema: z.ZodType<T>): T => {
    const parsed = schema.safeParse(raw);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    const value = issue.path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown>)?.[key], raw);
    throw new FormatError(`${path}: ${issue.path.join('.')} = ${JSON.stringify(value)} is not supported`);
  };
  if (type === 'LORA') return { method: 'lora', config: loraSettings(read(lora)) };
  if (type === 'PROMPT_TUNING') return { method: 'prompt', config: promptSettings(read(prompt)) };
  throw new FormatError(`${path}: peft_type ${JSON.stringify(type)} is not supported, only LORA and PROMPT_TUNING are`);
}

function loraSettings(raw: z.infer<typeof lora>): LoraConfig {
  const layers = raw.layers_to_transform;
  return {
    r: raw.r,
    alpha: raw.lora_alpha,
    dropout: raw.lora_dropout,
    rslora: raw.use_rslora ?? false,
    targetModules: raw.target_modules ?? ['q_proj', 'v_proj'],
    excludeModules: raw.exclude_modules ?? undefined,
    init: raw.init_lora_weights === 'gaussian' ? 'gaussian' : 'true',
    rankPattern: raw.rank_pattern ?? undefined,
    alphaPattern: raw.alpha_pattern ?? undefined,
    layersToTransform: typeof layers === 'number' ? [layers] : (layers ?? undefined),
  };
}

const promptInits = { RANDOM: 'random', TEXT: 'text', SAMPLE_VOCAB: 'vocab' } as const;

function promptSettings(raw: z.infer<typeof prompt>): PromptConfig {
  return {
    virtualTokens: raw.num_virtual_tokens,
    init: promptInits[raw.prompt_tuning_init],
    initText: raw.prompt_tuning_init_text ?? undefined,
  };
}

/** peft's nearest word for each initialisation. It has none for N(0, 1) matrices and for class labels. */
const peftInit: Record<LoraInit, unknown> = { true: true, gaussian: 'gaussian', normal: 'gaussian' };
const peftPromptInit: Record<PromptInit, string> = {
  random: 'RANDOM',
  vocab: 'SAMPLE_VOCAB',
  text: 'TEXT',
  labels: 'SAMPLE_VOCAB',
};

/** What a fresh adapter_config.json of an adapter holds: the key set of peft 0.21. */
export function adapterConfig(adapter: Adapter, model: LlamaConfig, baseModel: string | null): Record<string, unknown> {
  const common = {
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    inference_mode: true,
    modules_to_save: null,
    peft_version: peftVersion,
    revision: null,
    task_type: 'CAUSAL_LM',
  };
  return adapter.method === 'lora'
    ? { ...common, ...loraKeys(adapter.config, [...adapter.weights.keys()]) }
    : { ...common, ...promptKeys(adapter.config, model, baseModel) };
}

function promptKeys({ virtualTokens, init, initText }: PromptConfig, model: LlamaConfig, baseModel: string | null) {
  return {
    num_attention_heads: model.numAttentionHeads,
    num_layers: model.numHiddenLayers,
    num_transformer_submodules: 1,
    num_virtual_tokens: virtualTokens,
    peft_type: 'PROMPT_TUNING',
    prompt_tuning_init: peftPromptInit[init],
    prompt_tuning_init_text: initText ?? null,
    tokenizer_kwargs: null,
    tokenizer_name_or_path: init === 'text' ? baseModel : null,
    token_dim: model.hiddenSize,
  };
}

function loraKeys(config: LoraConfig, targeted: readonly string[]) {
  const { targetModules, excludeModules } = config;
  const last = (path: string): string => path.slice(path.lastIndexOf('.') + 1);
  // peft writes out what `all-linear` found.
  const targets = targetModules === 'all-linear' ? [...new Set(targeted.map(last))] : targetModules;
  const sorted = (value: readonly string[] | string | undefined) =>
    Array.isArray(value) ? [...value].sort() : (value ?? null);
  const nulls = [
    ...['alora_invocation_tokens', 'arrow_config', 'corda_config', 'eva_config', 'kasa_config', 'layer_replication'],
    ...['layers_pattern', 'lora_ga_config', 'megatron_config', 'monteclora_config', 'target_parameters'],
    ...['trainable_token_indices', 'use_bdlora', 'velora_config'],
  ];
  return {
    ...Object.fromEntries(nulls.map((key) => [key, null])),
    alpha_pattern: config.alphaPattern ?? {},
    bias: 'none',
    ensure_weight_tying: false,
    exclude_modules: sorted(excludeModules),
    fan_in_fan_out: false,
    init_lora_weights: peftInit[config.init],
    layers_to_transform: config.layersToTransform ?? null,
    loftq_config: {},
    lora_alpha: config.alpha,
    lora_bias: false,
    lora_dropout: new PyFloat(config.dropout),
    megatron_core: 'megatron.core',
    peft_type: 'LORA',
    qalora_group_size: 16,
    r: config.r,
    rank_pattern: config.rankPattern ?? {},
    target_modules: sorted(targets),
    use_dora: false,
    use_qalora: false,
    use_rslora: config.rslora,
  };
}
