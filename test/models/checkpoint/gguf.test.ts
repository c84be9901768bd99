import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../../engine/file.ts';
import { configFromGguf } from '../../../models/checkpoint/ggufConfig.ts';
import { openCheckpoint } from '../../../models/checkpoint/index.ts';
import { convert, type GgufContents, ggufFile, permute } from '../../support/gguf.ts';

const golden = join(import.meta.dirname, '../../golden');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-gguf-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function convertGolden(model: string): Promise<GgufContents> {
  const checkpoint = await openCheckpoint(join(golden, model));
  try {
    return await convert(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function write({ metadata, tensors }: GgufContents, version = 3): Promise<string> {
  const path = join(folder, 'model.gguf');
  await writeFile(path, ggufFile(metadata, tensors, { version, alignment: 64 }));
  return path;
}

async function refusal(path: string): Promise<string> {
  const error = await openCheckpoint(path).then(
    (checkpoint) => checkpoint.close().then(() => expect.unreachable('opened')),
    (e) => e,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error.message;
}

describe.each(['llama2', 'llama2-gqa-tied', 'llama-odd'])('%s, converted', (model) => {
  it.each([2, 3])('reads back as the model it was made from (version %i)', async (version) => {
    const original = await openCheckpoint(join(golden, model));
    const copy = await openCheckpoint(await write(await convert(original), version));
    try {
      expect(copy.format).toBe('gguf');
      expect({ ...copy.config, raw: null }).toEqual({ ...original.config, raw: null });
      expect(new Set(copy.tensors.keys())).toEqual(new Set(original.tensors.keys()));
      for (const [name, info] of original.tensors) {
        expect(copy.tensors.get(name)).toEqual(info);
        expect(Buffer.compare(await copy.read(name), await original.read(name)), name).toBe(0);
      }
    } finally {
      await original.close();
      await copy.close();
    }
  });
});

it('takes rope_freqs into the config', async () => {
  const contents = await convertGolden('llama2');
  const factors = Float32Array.of(1, 1.5, 7, 8);
  contents.tensors.set('rope_freqs.weight', { shape: [4], type: 0, data: new Uint8Array(factors.buffer) });
  const checkpoint = await openCheckpoint(await write(contents));
  expect(checkpoint.config.ropeFactors).toEqual([1, 1.5, 7, 8]);
  expect(checkpoint.tensors.has('rope_freqs.weight')).toBe(false);
  await checkpoint.close();
});

it('reads quantised q rows whole, in Hugging Face order', async () => {
  const contents = await convertGolden('llama2'); // hidden size 32: one Q8_0 block of 34 bytes a row
  const rows = Array.from({ length: 32 }, (_, i) => new Uint8Array(34).fill(i));
  const data = Buffer.concat(permute(rows, 4));
  contents.tensors.set('blk.0.attn_q.weight', { shape: [32, 32], type: 8, data });
  const checkpoint = await openCheckpoint(await write(contents));
  expect(checkpoint.tensors.get('model.layers.0.self_attn.q_proj.weight')).toEqual({ dtype: 'q8_0', shape: [32, 32] });
  expect(Buffer.compare(await checkpoint.read('model.layers.0.self_attn.q_proj.weight'), Buffer.concat(rows))).toBe(0);
  await checkpoint.close();
});

describe('refuses', () => {
  const zeros = (shape: number[], type = 0) => ({
    shape,
    type,
    data: new Uint8Array(4 * shape.reduce((a, b) => a * b)),
  });
  const changes: [string, (contents: GgufContents) => void, RegExp][] = [
    ['another architecture', (c) => c.metadata.set('general.architecture', 'qwen2'), /general.architecture = qwen2/],
    ['no architecture', (c) => c.metadata.delete('general.architecture'), /general.architecture = undefined/],
    ['a missing size', (c) => c.metadata.delete('llama.block_count'), /llama.block_count is missing/],
    ['a size that is text', (c) => c.metadata.set('llama.block_count', 'two'), /llama.block_count = two/],
    ['a size of 2^32−1', (c) => c.metadata.set('llama.block_count', 2 ** 32 - 1), /llama.block_count = 4294967295/],
    ['rope scaling', (c) => c.metadata.set('llama.rope.scaling.type', 'yarn'), /llama.rope.scaling.type = yarn/],
    ['experts', (c) => c.metadata.set('llama.expert_count', 8), /llama.expert_count = 8/],
    ['partial rotation', (c) => c.metadata.set('llama.rope.dimension_count', 4), /dimension_count = 4 is not the head/],
    ['a part of a model', (c) => c.metadata.set('split.count', 3), /split.count = 3/],
    ['an odd alignment', (c) => c.metadata.set('general.alignment', 0), /general.alignment = 0/],
    ['a missing tensor', (c) => c.tensors.delete('blk.1.ffn_up.weight'), /missing: model.layers.1.mlp.up_proj.weight/],
    ['no embedding', (c) => c.tensors.delete('token_embd.weight'), /token_embd.weight/],
    ['a surplus tensor', (c) => c.tensors.set('blk.0.extra.weight', zeros([1])), /unexpected: blk.0.extra.weight/],
    [
      'another shape',
      (c) => c.tensors.set('output_norm.weight', zeros([16])),
      /model.norm.weight \[16\], expected \[32\]/,
    ],
    [
      'a type with no decoder',
      (c) => c.tensors.set('output_norm.weight', zeros([32], 20)),
      /"output_norm.weight": type IQ4_NL/,
    ],
    [
      'a type nobody knows',
      (c) => c.tensors.set('output_norm.weight', zeros([32], 99)),
      /"output_norm.weight": type 99/,
    ],
    [
      'rows of broken blocks',
      (c) => c.tensors.set('output_norm.weight', zeros([33], 8)),
      /rows of \[33\] are not whole q8_0/,
    ],
    ['too many dimensions', (c) => c.tensors.set('output_norm.weight', zeros([1, 1, 1, 1, 32])), /5 dimensions/],
    [
      'bad frequency factors',
      (c) => c.tensors.set('rope_freqs.weight', zeros([4])),
      /rope_freqs.weight: expected 4 positive/,
    ],
  ];
  it.each(changes)('%s', async (_, change, message) => {
    const contents = await convertGolden('llama2');
    change(contents);
    expect(await refusal(await write(contents))).toMatch(message);
  });

  it('a key and a tensor given twice', async () => {
    const { metadata, tensors } = await convertGolden('llama2');
    const path = join(folder, 'twice.gguf');
    await writeFile(path, ggufFile([...metadata, ['llama.block_count', 3]], tensors));
    expect(await refusal(path)).toMatch(/key "llama.block_count" is there twice/);
    const [first] = tensors;
    await writeFile(path, ggufFile(metadata, [...tensors, first]));
    expect(await refusal(path)).toMatch(/tensor ".*" is there twice/);
  });

  it('data that overlap', async () => {
    const { metadata, tensors } = await convertGolden('llama2');
    const bytes = ggufFile(metadata, tensors, { alignment: 64 });
    const last = bytes.indexOf('model.norm.weight'.replace('model.norm', 'output_norm'));
    bytes.writeBigUInt64LE(0n, last + 'output_norm.weight'.length + 4 + 8 + 4); // rank, one size, type, then the offset
    const path = join(folder, 'overlap.gguf');
    await writeFile(path, bytes);
    expect(await refusal(path)).toMatch(/overlap/);
  });

  it('other versions and byte orders', async () => {
    const contents = await convertGolden('llama2');
    expect(await refusal(await write(contents, 1))).toMatch(/GGUF version 1 is not supported/);
    expect(await refusal(await write(contents, 0x03000000))).toMatch(/big-endian/);
  });

  it('a truncated file wherever it was cut', async () => {
    const { metadata, tensors } = await convertGolden('llama2');
    const bytes = ggufFile(metadata, tensors, { alignment: 64 });
    const path = join(folder, 'cut.gguf');
    for (let length = 4; length < bytes.length; length += 997) {
      await writeFile(path, bytes.subarray(0, length));
      expect(await refusal(path)).toMatch(/truncated|is not a multiple of/);
    }
  });
});

it('warns of llama keys that it does not know', () => {
  const warnings: string[] = [];
  const metadata = {
    'general.architecture': 'llama',
    'llama.block_count': 1,
    'llama.context_length': 8,
    'llama.embedding_length': 8,
    'llama.feed_forward_length': 8,
    'llama.attention.head_count': 2,
    'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
    'llama.novelty': 3,
  };
  const tensors = new Map([['model.embed_tokens.weight', { shape: [10, 8] }]]);
  const config = configFromGguf('x.gguf', metadata, tensors, undefined, (message) => warnings.push(message));
  expect(warnings).toEqual(['x.gguf: key llama.novelty (3) is not known and is ignored']);
  expect(config).toMatchObject({ rmsNormEps: 1e-5, ropeTheta: 10_000, vocabSize: 10, numKeyValueHeads: 2, headDim: 4 });
});
