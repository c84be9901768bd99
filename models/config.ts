import { FormatError } from '../engine/file.ts';

/** LLaMA-3.1's frequency scaling: wavelengths beyond the original context are stretched by `factor`. */
export interface RopeScaling {
  factor: number;
  lowFreqFactor: number;
  highFreqFactor: number;
  originalMaxPositionEmbeddings: number;
}

/** A LLaMA-shaped model: what `LlamaForCausalLM` of transformers computes. */
export interface LlamaConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Key/value heads; divides `numAttentionHeads`. */
  numKeyValueHeads: number;
  headDim: number;
  rmsNormEps: number;
  ropeTheta: number;
  ropeScaling?: RopeScaling;
  /** Divisors of the `headDim / 2` rotary frequencies, as a GGUF file stores them; they stand for `ropeScaling`. */
  ropeFactors?: number[];
  maxPositionEmbeddings: number;
  tieWordEmbeddings: boolean;
  /** q, k, v and o projections have biases. */
  attentionBias: boolean;
  /** gate, up and down projections have biases. */
  mlpBias: boolean;
  bosTokenId?: number;
  eosTokenIds: number[];
  /** What a Hugging Face `config.json` of this model holds. */
  raw: Record<string, unknown>;
}

/**
 * The conditions that hold between a config's numbers, whatever file it came from.
 * @throws FormatError naming the numbers
 */
export function checked(source: string, config: LlamaConfig): LlamaConfig {
  const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, ropeScaling } = config;
  const require = (condition: boolean, message: string) => {
    if (!condition) throw new FormatError(`${source}: ${message}`);
  };
  require(Number.isInteger(headDim), `${heads} attention heads do not divide hidden size ${hiddenSize}`);
  require(headDim % 2 === 0, `head size ${headDim} is odd: rotary positions need pairs`);
  require(heads % kvHeads === 0, `${kvHeads} key/value heads do not divide ${heads} attention heads`);
  if (ropeScaling) {
    const { lowFreqFactor: low, highFreqFactor: high } = ropeScaling;
    require(low < high, `rope scaling: low_freq_factor ${low} is not below high_freq_factor ${high}`);
  }
  return config;
}

/**
 * The `config.json` of a checkpoint that holds this model's weights as `dtype`, for transformers 4 and 5.
 * @throws FormatError when GGUF frequency factors are not those of a llama3 scaling, which is all a config can say
 */
export function toHfConfig(config: LlamaConfig, dtype: 'float32' | 'bfloat16' | 'float16'): Record<string, unknown> {
  const raw: Record<string, unknown> = { ...config.raw };
  // transformers 5 calls it `dtype`; either name is read by both, and two of them could disagree.
  raw['dtype' in raw ? 'dtype' : 'torch_dtype'] = dtype;
  if (config.ropeFactors && !config.ropeScaling) raw.rope_scaling = hfRopeScaling(llama3Scaling(config));
  return raw;
}

const hfRopeScaling = (scaling: RopeScaling) => ({
  rope_type: 'llama3',
  factor: scaling.factor,
  low_freq_factor: scaling.lowFreqFactor,
  high_freq_factor: scaling.highFreqFactor,
  original_max_position_embeddings: scaling.originalMaxPositionEmbeddings,
});

/**
 * What llama3 scaling divides each of the `headDim / 2` rotary frequencies by
 * (transformers `_compute_llama3_parameters`; llama.cpp stores these numbers as `rope_freqs`).
 */
export function llama3Factors(scaling: RopeScaling, theta: number, headDim: number): number[] {
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositionEmbeddings: original } = scaling;
  return Array.from({ length: headDim / 2 }, (_, j) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * j) / headDim);
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** The llama3 scaling whose factors these are: every released LLaMA 3 has the constants below and its own `factor`. */
function llama3Scaling({ ropeFactors = [], ropeTheta, headDim }: LlamaConfig): RopeScaling {
  const scaling = {
    factor: ropeFactors[ropeFactors.length - 1],
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositionEmbeddings: 8192,
  };
  const expected = llama3Factors(scaling, ropeTheta, headDim);
  if (!expected.every((f, i) => Math.abs(ropeFactors[i] / f - 1) < 1e-5)) {
    throw new FormatError('rope_freqs of the GGUF file are not those of a llama3 scaling: config.json cannot say them');
  }
  return scaling;
}

/** The `raw` of a config that came from a file with no `config.json`, in the spelling both transformers read. */
export function rawFromConfig(config: Omit<LlamaConfig, 'raw'>): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    attention_bias: config.attentionBias,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length > 1 ? config.eosTokenIds : (config.eosTokenIds[0] ?? null),
    head_dim: config.headDim,
    hidden_act: 'silu',
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    mlp_bias: config.mlpBias,
    model_type: 'llama',
    num_attention_heads: config.numAttentionHeads,
    num_hidden_layers: config.numHiddenLayers,
    num_key_value_heads: config.numKeyValueHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: config.ropeScaling ? hfRopeScaling(config.ropeScaling) : null,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    vocab_size: config.vocabSize,
  };
}
