import { open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FormatError, readExactly } from '../../engine/file.ts';
import { type Shape, size } from '../../engine/shape.ts';
import { checked, type LlamaConfig, rawFromConfig } from '../config.ts';
import { openTokenizer } from '../tokenizer/index.ts';
import {
  type Checkpoint,
  checkTensors,
  expectedTensors,
  halfSplitRows,
  rotaryHeads,
  type TensorInfo,
} from './checkpoint.ts';

const headerBytes = 7 * 4;
const versionedMagic = 0x616b3432; // "ak42": version 1 and later

/**
 * A llama2.c checkpoint, version 0: seven int32 and float32 tensors, each kind for all layers together
 * (https://github.com/karpathy/llama2.c, export.py `legacy_export`). A negative vocabulary size means an untied head.
 * @throws FormatError when the file is of another kind or does not have the size its header asks for
 */
export async function openLlama2c(path: string): Promise<Checkpoint> {
  const file = await open(path, 'r');
  try {
    const header = new Int32Array((await readExactly(file, 0, headerBytes, `${path}: llama2.c header`)).buffer);
    if (header[0] === versionedMagic) {
      throw new FormatError(`${path}: llama2.c version ${header[1]} is not supported, only version 0 is`);
    }
    const config = configFromHeader(path, header);
    const offsets = layout(config);
    const fileSize = (await file.stat()).size;
    const end = offsets.get('')!;
    for (const [name, offset] of offsets) {
      if (offset > fileSize)
        throw new FormatError(`${path}: truncated before ${name || 'its end'}: ${fileSize} of ${end} bytes`);
    }
    if (fileSize !== end)
      throw new FormatError(`${path}: not a llama2.c checkpoint: its header gives ${end} bytes, it has ${fileSize}`);

    const tensors = new Map<string, TensorInfo>();
    for (const [name, shape] of expectedTensors(config)) tensors.set(name, { dtype: 'f32', shape });
    checkTensors(path, config, tensors);
    return {
      format: 'llama2c',
      path,
      config,
      tensors,
      async read(name) {
        const tensor = tensors.get(name);
        if (!tensor) throw new FormatError(`${path}: there is no tensor ${name}`);
        const bytes = await readExactly(file, offsets.get(name)!, 4 * size(tensor.shape), `${path}: ${name}`);
        const heads = rotaryHeads(name, config);
        return heads === undefined ? bytes : halfSplitRows(bytes, heads, config.headDim);
      },
      tokenizer: async () => openTokenizer(await tokenizerPath(path, config.vocabSize)),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function configFromHeader(path: string, header: Int32Array): LlamaConfig {
  const [dim, hiddenDim, layers, heads, kvHeads, vocab, sequence] = header;
  const sizes = { dim, hiddenDim, layers, heads, kvHeads, vocab: Math.abs(vocab), sequence };
  for (const [name, value] of Object.entries(sizes)) {
    const limit = name === 'layers' ? 10_000 : 2 ** 30;
    if (value < 1 || value > limit)
      throw new FormatError(`${path}: neither a GGUF file nor a llama2.c checkpoint (its ${name} would be ${value})`);
  }
  const config = {
    vocabSize: Math.abs(vocab),
    hiddenSize: dim,
    intermediateSize: hiddenDim,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim: dim / heads,
    rmsNormEps: 1e-5, // not stored: llama2.c's constants
    ropeTheta: 10_000,
    maxPositionEmbeddings: sequence,
    tieWordEmbeddings: vocab > 0,
    attentionBias: false,
    mlpBias: false,
    bosTokenId: 1,
    eosTokenIds: [2],
  };
  return checked(path, { ...config, raw: rawFromConfig(config) });
}

/** Where each tensor begins in the file, in the file's order; the empty name is the file's end. */
function layout(config: LlamaConfig): Map<string, number> {
  const shapes = expectedTensors(config);
  const offsets = new Map<string, number>();
  let offset = headerBytes;
  const place = (name: string, shape: Shape | undefined = shapes.get(name)) => {
    offsets.set(name, offset);
    offset += 4 * size(shape!);
  };
  place('model.embed_tokens.weight');
  for (const part of [
    'input_layernorm',
    'self_attn.q_proj',
    'self_attn.k_proj',
    'self_attn.v_proj',
    'self_attn.o_proj',
    'post_attention_layernorm',
    'mlp.gate_proj',
    'mlp.down_proj',
    'mlp.up_proj',
  ]) {
    for (let n = 0; n < config.numHiddenLayers; n++) place(`model.layers.${n}.${part}.weight`);
  }
  place('model.norm.weight');
  place('the rotary tables', [2, config.maxPositionEmbeddings, config.headDim / 2]);
  if (!config.tieWordEmbeddings) place('lm_head.weight');
  offsets.set('', offset);
  return offsets;
}

/** llama2.c's own names: tokenizer.bin, or tok512.bin for a vocabulary of 512. */
async function tokenizerPath(path: string, vocabSize: number): Promise<string> {
  const present = await readdir(dirname(path));
  const names = ['tokenizer.bin', `tok${vocabSize}.bin`, 'tokenizer.model', `tok${vocabSize}.model`];
  const found = names.find((name) => present.includes(name));
  if (!found) throw new FormatError(`${path}: no tokenizer beside it (looked for ${names.join(', ')})`);
  return join(dirname(path), found);
}
