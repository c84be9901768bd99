import type { Shape } from '../../engine/shape.ts';
import type { Checkpoint } from '../../models/checkpoint/index.ts';

/** A metadata value: strings, booleans, integers (u32), `{ f32: number }`, lists of strings, or typed arrays. */
export type Value = string | boolean | number | { f32: number } | string[] | Float32Array | Int32Array;

export interface GgufTensorInput {
  shape: Shape;
  /** A type number of the format. */
  type: number;
  data: Uint8Array;
}

const u32 = (n: number) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n);
  return b;
};
const u64 = (n: number) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(n));
  return b;
};
const text = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const view = (a: ArrayBufferView) => Buffer.from(a.buffer, a.byteOffset, a.byteLength);

function value(v: Value): Buffer {
  if (typeof v === 'string') return Buffer.concat([u32(8), text(v)]);
  if (typeof v === 'boolean') return Buffer.concat([u32(7), Buffer.from([v ? 1 : 0])]);
  if (typeof v === 'number') return Buffer.concat([u32(4), u32(v)]);
  if (Array.isArray(v)) return Buffer.concat([u32(9), u32(8), u64(v.length), ...v.map(text)]);
  if (ArrayBuffer.isView(v)) {
    return Buffer.concat([u32(9), u32(v instanceof Float32Array ? 6 : 5), u64(v.length), view(v)]);
  }
  return Buffer.concat([u32(6), view(Float32Array.of(v.f32))]);
}

/** A GGUF file, by the letter of the specification (shapes go in innermost first, data at multiples of `alignment`). */
export function ggufFile(
  metadata: Iterable<readonly [string, Value]>,
  tensors: Iterable<readonly [string, GgufTensorInput]>,
  { version = 3, alignment = 32 } = {},
): Buffer {
  const keys = [...metadata].map(([key, v]) => Buffer.concat([text(key), value(v)]));
  const pad = (n: number) => Buffer.alloc((alignment - (n % alignment)) % alignment);
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, type, data: bytes }] of tensors) {
    infos.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(type), u64(offset));
    const padded = Buffer.concat([bytes, pad(bytes.length)]);
    data.push(padded);
    offset += padded.length;
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(data.length),
    u64(keys.length),
    ...keys,
    ...infos,
  ]);
  return Buffer.concat([head, pad(head.length), ...data]);
}

const names: [RegExp, string][] = [
  [/^model\.embed_tokens/, 'token_embd'],
  [/^model\.norm/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/^model\.layers\.(\d+)\.input_layernorm/, 'blk.$1.attn_norm'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, 'blk.$1.ffn_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, 'blk.$1.attn_output'],
  [/^model\.layers\.(\d+)\.self_attn\.(.)_proj/, 'blk.$1.attn_$2'],
  [/^model\.layers\.(\d+)\.mlp\.(\w+)_proj/, 'blk.$1.ffn_$2'],
];
const ggufName = (name: string) => {
  const [pattern, replacement] = names.find(([pattern]) => pattern.test(name))!;
  return name.replace(pattern, replacement);
};

/** llama.cpp's converter: reshape(heads, 2, headDim/2, …).swapaxes(1, 2). */
export function permute(rows: Uint8Array[], heads: number): Uint8Array[] {
  const half = rows.length / heads / 2;
  const out: Uint8Array[] = [];
  for (let h = 0; h < heads; h++) {
    for (let j = 0; j < half; j++) for (let i = 0; i < 2; i++) out.push(rows[(h * 2 + i) * half + j]);
  }
  return out;
}

/** What a file is made of, by the file's own names. */
export type GgufContents = { metadata: Map<string, Value>; tensors: Map<string, GgufTensorInput> };

/** What llama.cpp's converter makes of a Hugging Face model. */
export async function convert(model: Checkpoint): Promise<GgufContents> {
  const { config } = model;
  const metadata = new Map<string, Value>([
    ['general.architecture', 'llama'],
    ['general.alignment', 64],
    ['llama.block_count', config.numHiddenLayers],
    ['llama.context_length', config.maxPositionEmbeddings],
    ['llama.embedding_length', config.hiddenSize],
    ['llama.feed_forward_length', config.intermediateSize],
    ['llama.attention.head_count', config.numAttentionHeads],
    ['llama.attention.head_count_kv', config.numKeyValueHeads],
    ['llama.attention.layer_norm_rms_epsilon', { f32: config.rmsNormEps }],
    ['llama.rope.freq_base', { f32: config.ropeTheta }],
    ['llama.rope.dimension_count', config.headDim],
    ['llama.vocab_size', config.vocabSize],
    ['tokenizer.ggml.tokens', ['a', 'ü', '▁the']],
    ['tokenizer.ggml.scores', Float32Array.of(0, -1, -2)],
    ['tokenizer.ggml.bos_token_id', 1],
    ['tokenizer.ggml.eos_token_id', 2],
    ['tokenizer.ggml.add_bos_token', true],
  ]);
  const tensors = new Map<string, GgufTensorInput>();
  for (const [name, { shape }] of model.tensors) {
    let data = await model.read(name);
    const part = /\.([qk])_proj/.exec(name)?.[1];
    if (part) {
      const bytes = data.length / shape[0];
      const rows = Array.from({ length: shape[0] }, (_, i) => data.subarray(i * bytes, (i + 1) * bytes));
      data = Buffer.concat(permute(rows, part === 'q' ? config.numAttentionHeads : config.numKeyValueHeads));
    }
    tensors.set(ggufName(name), { shape, type: 0, data });
  }
  return { metadata, tensors };
}
