import { open } from 'node:fs/promises';
import { FormatError, readExactly } from '../../engine/file.ts';
import { tokenizerFromGguf } from '../tokenizer/index.ts';
import { type Checkpoint, checkTensors, halfSplitRows, rotaryHeads, type TensorInfo } from './checkpoint.ts';
import { configFromGguf } from './ggufConfig.ts';
import { type GgufTensor, readGgufHeader } from './ggufHeader.ts';

const layerParts: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const otherParts: Record<string, string> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

/** The Hugging Face name of a tensor of a GGUF file, or the name itself when it has none. */
function hfName(name: string): string {
  const [, layer, part, kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const hf = layer === undefined ? otherParts[part] : layerParts[part] && `model.layers.${layer}.${layerParts[part]}`;
  return hf ? `${hf}.${kind}` : name;
}

/**
 * A GGUF file, version 2 or 3, of architecture llama.
 * @throws FormatError naming the key or tensors that do not fit
 */
export async function openGguf(path: string): Promise<Checkpoint> {
  const file = await open(path, 'r');
  try {
    const header = await readGgufHeader(path, file);
    const stored = new Map<string, GgufTensor>();
    for (const [name, tensor] of header.tensors) {
      if (stored.has(hfName(name))) throw new FormatError(`${path}: two tensors stand for ${hfName(name)}`);
      stored.set(hfName(name), tensor);
    }
    const bytesOf = (name: string, { offset, byteLength }: GgufTensor) =>
      readExactly(file, offset, byteLength, `${path}: ${name}`);

    const factors = stored.get('rope_freqs.weight');
    stored.delete('rope_freqs.weight');
    let ropeFactors: number[] | undefined;
    if (factors) {
      if (factors.dtype !== 'f32') throw new FormatError(`${path}: rope_freqs.weight is ${factors.dtype}, not f32`);
      ropeFactors = [...new Float32Array((await bytesOf('rope_freqs.weight', factors)).buffer)];
    }
    const config = configFromGguf(path, header.metadata, stored, ropeFactors);
    checkTensors(path, config, stored);
    const tensors = new Map<string, TensorInfo>();
    for (const [name, { dtype, shape }] of stored) tensors.set(name, { dtype, shape });
    return {
      format: 'gguf',
      path,
      config,
      tensors,
      async read(name) {
        const tensor = stored.get(name);
        if (!tensor) throw new FormatError(`${path}: there is no tensor ${name}`);
        const bytes = await bytesOf(name, tensor);
        const heads = rotaryHeads(name, config);
        return heads === undefined ? bytes : halfSplitRows(bytes, heads, config.headDim);
      },
      tokenizer: async () => tokenizerFromGguf(header.metadata, path),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}
