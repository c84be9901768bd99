import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../../engine/file.ts';
import { SafetensorsFile, type SafetensorsTensor, writeSafetensors } from '../../../engine/safetensors.ts';
import { expectedTensors, openCheckpoint } from '../../../models/checkpoint/index.ts';
import { itWithData } from '../../support/data.ts';

const golden = join(import.meta.dirname, '../../golden');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-hf-'));
});
afterAll(() => rm(folder, { recursive: true }));

type Tensors = Map<string, SafetensorsTensor>;

async function load(path: string): Promise<Tensors> {
  await using file = await SafetensorsFile.open(path);
  const tensors: Tensors = new Map();
  for (const [name, { dtype, shape }] of file.tensors) tensors.set(name, { dtype, shape, data: await file.read(name) });
  return tensors;
}

/** A copy of a golden model whose tensors `change` has changed. */
async function variant(model: string, change: (tensors: Tensors) => void): Promise<string> {
  const path = await mkdtemp(join(folder, 'model-'));
  await cp(join(golden, model, 'config.json'), join(path, 'config.json'));
  const tensors = await load(join(golden, model, 'model.safetensors'));
  change(tensors);
  await writeSafetensors(join(path, 'model.safetensors'), tensors);
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

describe.each(['llama2', 'llama2-gqa-tied', 'llama3-scaled', 'llama-odd'])('%s', (model) => {
  it('has the expected tensors, each with the bytes of the file', async () => {
    const checkpoint = await openCheckpoint(join(golden, model));
    try {
      const stored = await load(join(golden, model, 'model.safetensors'));
      expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(stored.keys()));
      expect(new Map([...checkpoint.tensors].map(([name, { shape }]) => [name, shape]))).toEqual(
        expectedTensors(checkpoint.config),
      );
      for (const [name, { data }] of stored) expect(await checkpoint.read(name)).toEqual(data);
      await expect(checkpoint.read('model.layers.9.q')).rejects.toThrow(/no tensor model.layers.9.q/);
    } finally {
      await checkpoint.close();
    }
  });
});

itWithData('lm_head.weight alone stands for the tied embedding', 'data/models/TinyStories-656K', async (path) => {
  const checkpoint = await openCheckpoint(path);
  try {
    expect(checkpoint.tensors.has('lm_head.weight')).toBe(false);
    const embedding = new Float32Array((await checkpoint.read('model.embed_tokens.weight')).buffer);
    expect(embedding.length).toBe(2048 * 128);
    expect((await checkpoint.tokenizer()).vocabSize).toBe(2048);
  } finally {
    await checkpoint.close();
  }
});

it('reads shards as one model', async () => {
  const tensors = await load(join(golden, 'llama2/model.safetensors'));
  const path = await mkdtemp(join(folder, 'shards-'));
  await cp(join(golden, 'llama2/config.json'), join(path, 'config.json'));
  const shards = [new Map([...tensors].slice(0, 8)), new Map([...tensors].slice(8))];
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    await writeSafetensors(join(path, file), shard);
    for (const name of shard.keys()) weightMap[name] = file;
  }
  const index = join(path, 'model.safetensors.index.json');
  await writeFile(index, JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }));
  const checkpoint = await openCheckpoint(path);
  for (const [name, { data }] of tensors) expect(await checkpoint.read(name)).toEqual(data);
  await checkpoint.close();

  const [first, second] = Object.keys(weightMap);
  await writeFile(index, JSON.stringify({ weight_map: { ...weightMap, [first]: '../else.safetensors' } }));
  expect(await refusal(path)).toMatch(/not the name of a file beside it/);
  await writeFile(index, JSON.stringify({ weight_map: { ...weightMap, [first]: 'model-00003.safetensors' } }));
  expect(await refusal(path)).toContain(`${first} is in model-00003.safetensors, which is missing`);
  await writeFile(index, JSON.stringify({ weight_map: { ...weightMap, [second]: weightMap['model.norm.weight'] } }));
  expect(await refusal(path)).toContain(second);
});

describe('refuses', () => {
  it('missing, surplus and mis-shaped tensors, by name', async () => {
    const path = await variant('llama2', (tensors) => {
      tensors.delete('model.layers.1.mlp.up_proj.weight');
      tensors.set('model.layers.1.mlp.extra.weight', { dtype: 'F32', shape: [1], data: new Uint8Array(4) });
      tensors.set('model.norm.weight', { dtype: 'F32', shape: [31], data: new Uint8Array(124) });
    });
    expect(await refusal(path)).toBe(
      `${path}: tensors missing: model.layers.1.mlp.up_proj.weight; ` +
        'tensors unexpected: model.layers.1.mlp.extra.weight; ' +
        'tensors of another shape: model.norm.weight [31], expected [32]',
    );
  });

  it('a truncated file, naming the tensor', async () => {
    const path = await variant('llama2', () => {});
    const file = join(path, 'model.safetensors');
    await writeFile(file, (await readFile(file)).subarray(0, -10));
    expect(await refusal(path)).toMatch(/model.safetensors: "model.norm.weight": truncated/);
  });

  it('an element type that no kernel reads', async () => {
    const path = await variant('llama2', (tensors) => {
      tensors.set('model.norm.weight', { dtype: 'F64', shape: [32], data: new Uint8Array(256) });
    });
    expect(await refusal(path)).toMatch(/model.norm.weight: dtype F64 is not supported/);
  });

  it('pickled weights, a file of weights alone, a folder without any', async () => {
    const path = await variant('llama2', () => {});
    expect(await refusal(join(path, 'model.safetensors'))).toMatch(/weights alone are no model/);
    await rm(join(path, 'model.safetensors'));
    expect(await refusal(path)).toMatch(/no model.safetensors and no model.safetensors.index.json/);
    await writeFile(join(path, 'pytorch_model.bin'), '');
    expect(await refusal(path)).toMatch(/pytorch_model.bin is there, but pickled weights are not read/);
    await rm(join(path, 'config.json'));
    expect(await refusal(path)).toMatch(/no config.json: not a Hugging Face model folder$/);
    await writeFile(join(path, 'model-q8_0.gguf'), '');
    expect(await refusal(path)).toMatch(/not a Hugging Face model folder; did you mean .*model-q8_0\.gguf\?$/);
  });
});

it('ignores stored rotary frequencies', async () => {
  const path = await variant('llama2', (tensors) => {
    tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', { dtype: 'F32', shape: [4], data: new Uint8Array(16) });
  });
  await (await openCheckpoint(path)).close();
});
