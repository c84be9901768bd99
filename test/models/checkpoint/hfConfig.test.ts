import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../../engine/file.ts';
import { configFromHf } from '../../../models/checkpoint/hfConfig.ts';
import { llama3Factors, toHfConfig } from '../../../models/config.ts';

const golden = (model: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../golden', model, 'config.json'), 'utf8'));
const read = (raw: unknown) =>
  configFromHf('config.json', raw, (message) => {
    throw new Error(`warned: ${message}`);
  });

describe('configFromHf', () => {
  it('reads the spelling of transformers 5', () => {
    const { raw, ...config } = read(golden('llama3-scaled'));
    expect(config).toEqual({
      vocabSize: 130,
      hiddenSize: 32,
      intermediateSize: 88,
      numHiddenLayers: 2,
      numAttentionHeads: 4,
      numKeyValueHeads: 1,
      headDim: 8,
      rmsNormEps: 1e-5,
      ropeTheta: 500_000,
      ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 32 },
      maxPositionEmbeddings: 256,
      tieWordEmbeddings: false,
      attentionBias: false,
      mlpBias: false,
      bosTokenId: 1,
      eosTokenIds: [2],
    });
    expect(raw).toEqual(golden('llama3-scaled'));
  });

  it('reads the spelling of transformers 4 to the same config', () => {
    const { rope_parameters: rope, dtype, ...five } = golden('llama3-scaled');
    const { rope_theta, ...scaling } = rope as Record<string, unknown>;
    const four = { ...five, torch_dtype: dtype, rope_theta, rope_scaling: scaling };
    expect({ ...read(four), raw: null }).toEqual({ ...read(golden('llama3-scaled')), raw: null });
  });

  it('fills in what LLaMA-1 files leave out, as transformers does', () => {
    const config = read({
      model_type: 'llama',
      vocab_size: 32000,
      hidden_size: 64,
      intermediate_size: 172,
      num_hidden_layers: 1,
      num_attention_heads: 8,
    });
    expect(config).toMatchObject({ numKeyValueHeads: 8, headDim: 8, rmsNormEps: 1e-6, ropeTheta: 10_000 });
    expect(config).toMatchObject({ maxPositionEmbeddings: 2048, tieWordEmbeddings: false, eosTokenIds: [2] });
  });

  it('takes one EOS id, several or none', () => {
    expect(read({ ...golden('llama2'), eos_token_id: [128001, 128009] }).eosTokenIds).toEqual([128001, 128009]);
    expect(read({ ...golden('llama2'), eos_token_id: null, bos_token_id: null })).toMatchObject({ eosTokenIds: [] });
  });

  it('ignores what says nothing about the computation, and warns of what it does not know', () => {
    read({
      ...golden('llama2'),
      _name_or_path: 'x',
      rope_interleaved: false,
      sliding_window: null,
      is_llama_config: true,
    });
    const warnings: string[] = [];
    configFromHf('config.json', { ...golden('llama2'), novelty: 3 }, (message) => warnings.push(message));
    expect(warnings).toEqual(['config.json: key "novelty" (3) is not known and is ignored']);
  });

  const unsupported: [Record<string, unknown>, RegExp][] = [
    [{ hidden_act: 'gelu' }, /hidden_act = "gelu" is not supported/],
    [{ architectures: ['MistralForCausalLM'] }, /architectures = \["MistralForCausalLM"\] is not supported/],
    [{ model_type: 'mistral' }, /model_type = "mistral"/],
    [{ sliding_window: 4096 }, /sliding_window = 4096/],
    [{ quantization_config: { bits: 4 } }, /quantization_config = \{"bits":4\}/],
    [{ pretraining_tp: 2 }, /pretraining_tp = 2/],
    [{ attention_dropout: 0.1 }, /attention_dropout = 0.1/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor = 0.5/],
    [{ rope_parameters: { rope_type: 'yarn', factor: 2 } }, /rope_parameters.rope_type = "yarn"/],
    [{ rope_parameters: null, rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling.rope_type = "linear"/],
    [{ rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } }, /partial_rotary_factor = 0.5/],
    [{ rope_parameters: { rope_type: 'llama3', factor: 8 } }, /rope_parameters.low_freq_factor is missing/],
    [{ rope_theta: 5e5 }, /rope_theta is 500000, but rope_parameters.rope_theta is 10000/],
    [{ hidden_size: undefined }, /hidden_size is missing/],
    [{ hidden_size: '32' }, /hidden_size = "32"/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers = 1000000000/],
    [{ num_attention_heads: 4, num_key_value_heads: 3 }, /3 key\/value heads do not divide 4/],
    [
      { head_dim: null, num_attention_heads: 5, num_key_value_heads: 5 },
      /5 attention heads do not divide hidden size 32/,
    ],
    [{ head_dim: 7 }, /head size 7 is odd/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps = 0/],
    [{ eos_token_id: -1 }, /eos_token_id = -1/],
  ];
  it.each(unsupported)('refuses %j by name', (change, message) => {
    expect(() => read({ ...golden('llama2'), ...change })).toThrow(FormatError);
    expect(() => read({ ...golden('llama2'), ...change })).toThrow(message);
  });

  it.each([null, [], 'llama', 7])('refuses %j, which is no config at all', (raw) => {
    expect(() => read(raw)).toThrow(FormatError);
  });
});

describe('toHfConfig', () => {
  it('gives back the config it was read from, with the new dtype', () => {
    expect(toHfConfig(read(golden('llama2')), 'bfloat16')).toEqual({ ...golden('llama2'), dtype: 'bfloat16' });
  });

  it('turns GGUF frequency factors into the llama3 scaling they came from, or says that none fits', () => {
    const scaling = { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 };
    const { ropeScaling: _, ...config } = { ...read(golden('llama2')), headDim: 64, ropeTheta: 500_000 };
    const factors = llama3Factors(scaling, 500_000, 64).map(Math.fround);
    expect(toHfConfig({ ...config, ropeFactors: factors }, 'float32').rope_scaling).toEqual({
      rope_type: 'llama3',
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    const strange = factors.map((f, i) => (i === 20 ? f * 1.1 : f));
    expect(() => toHfConfig({ ...config, ropeFactors: strange }, 'float32')).toThrow(/rope_freqs/);
  });
});
