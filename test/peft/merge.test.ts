import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createWasmBackend, memory, noGrad, Rng, scope } from '../../engine/index.ts';
import { SafetensorsFile } from '../../engine/safetensors.ts';
import { prepareBatch } from '../../models/batch.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { Tokenizer } from '../../models/tokenizer/tokenizer.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { saveMerged } from '../../peft/merge.ts';
import { PeftModel } from '../../peft/model.ts';
import { describeBackends } from '../support/backends.ts';
import { goldenBatch, goldenPath, loadGolden, readNumbers, relativeError } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

/** The golden models have no tokenizer; this one knows their first 50 ids. */
const tokenizer = {
  encode: (text: string) => [...Buffer.from(text)].map((byte) => byte % 50),
  hfFiles: () => new Map([['tokenizer.json', '{}\n']]),
} as unknown as Tokenizer;

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'lorikeet-merge-'));
  folder = join(parent, 'merged');
});
afterEach(() => rm(parent, { recursive: true }));

const json = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));

describeBackends('a merged model', (backendOf) => {
  test('has the weights and logits of peft’s merge_and_unload', async () => {
    const backend = backendOf();
    const peft = new PeftModel(await loadGolden('llama2', backend));
    await loadAdapter(peft, goldenPath('llama2', 'lora', 'trained'));
    const before = memory().tensors;
    const report = await saveMerged(peft.eval(), folder, tokenizer, { dtype: 'float32' });
    // The model's rotary table.
    expect(memory().tensors - before, 'tensors left').toBe(1);
    expect(report.largestDifference).toBeLessThan(1e-5 * report.largestLogit);
    expect((await readdir(folder)).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
    await using ours = await SafetensorsFile.open(join(folder, 'model.safetensors'));
    await using theirs = await SafetensorsFile.open(goldenPath('llama2', 'lora', 'merged', 'model.safetensors'));
    expect([...ours.tensors]).toEqual([...theirs.tensors]);
    expect(ours.metadata).toEqual(theirs.metadata);
    const floats = async (file: SafetensorsFile, name: string) =>
      new Float32Array((await file.read(name)).slice().buffer);
    for (const name of theirs.tensors.keys()) {
      const [a, b] = [await floats(ours, name), await floats(theirs, name)];
      for (const [i, x] of b.entries()) expect(Math.abs(a[i] - x), `${name}[${i}]`).toBeLessThan(1e-6);
    }
    expect(await json(join(folder, 'config.json'))).toEqual(await json(goldenPath('llama2', 'config.json')));
    expect(await json(join(folder, 'generation_config.json'))).toEqual({ bos_token_id: 1, eos_token_id: 2 });

    const checkpoint = await openCheckpoint(folder);
    const merged = await LlamaModel.load(checkpoint, backend);
    await checkpoint.close();
    const numbers = await readNumbers('llama2', 'reference.safetensors');
    const trained = (await readNumbers('llama2', 'lora', 'reference.safetensors')).get(
      'trained.batch0.logits',
    ) as Float32Array;
    const batch = goldenBatch(numbers, 0, 3);
    await noGrad(async () => {
      using _ = scope();
      const V = merged.config.vocabSize;
      const expected = batch.padded.flatMap((p) => [...trained.subarray(p * V, (p + 1) * V)]);
      const found = await merged.logits(merged.forward(prepareBatch(batch, backend))).data();
      expect(relativeError(found, expected)).toBeLessThan(1e-5);
    });
    merged.dispose();
    peft.dispose();
  });
});

describe('merging', () => {
  test('to bfloat16 with biases and all layers adapted', async () => {
    const backend = await createWasmBackend({ threads: 1 });
    const peft = new PeftModel(await loadGolden('llama-odd', backend));
    await loadAdapter(peft, goldenPath('llama-odd', 'lora-all', 'trained'));
    const report = await saveMerged(peft.eval(), folder, tokenizer, { dtype: 'bfloat16' });
    expect(report.largestDifference).toBeLessThan(0.03 * report.largestLogit);
    expect(report.largestDifference).toBeGreaterThan(0);
    const checkpoint = await openCheckpoint(folder);
    expect(new Set([...checkpoint.tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(['bf16']));
    expect(checkpoint.config.raw.dtype).toBe('bfloat16');
    await checkpoint.close();
    await backend.close();
  });

  test('is refused where it makes no sense, and nothing is written', async () => {
    const backend = await createWasmBackend({ threads: 1 });
    const peft = new PeftModel(await loadGolden('llama2', backend));
    const merge = (t = tokenizer) => saveMerged(peft.eval(), folder, t, { dtype: 'float32' });
    await expect(merge()).rejects.toThrow('no adapter is active');
    await peft.addPrompt({ virtualTokens: 2, init: 'random' }, new Rng(0), {}, 'prompt');
    await expect(merge()).rejects.toThrow('a prompt tuning adapter cannot be merged');
    await loadAdapter(peft, goldenPath('llama2', 'lora', 'trained'));
    const unwritable = {
      ...tokenizer,
      hfFiles: () => {
        throw new Error('a llama2.c vocabulary');
      },
    } as unknown as Tokenizer;
    await expect(merge(unwritable)).rejects.toThrow('llama2.c');
    expect(await readdir(parent)).toEqual([]);
    await writeFile(join(parent, 'file'), '');
    await expect(saveMerged(peft, parent, tokenizer, { dtype: 'float32' })).rejects.toThrow('is not empty');
    await backend.close();
  });
});

describeWithSmolLM2('SmolLM2 from its GGUF file', (path) => {
  test('merged with its golden adapter', async () => {
    const backend = await createWasmBackend({ threads: 2 });
    const checkpoint = await openCheckpoint(path);
    const tokenizer = await checkpoint.tokenizer();
    const peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
    await checkpoint.close();
    await loadAdapter(peft, goldenPath('smollm2', 'lora-trained'));
    const { largestDifference, largestLogit } = await saveMerged(peft.eval(), folder, tokenizer, { dtype: 'float32' });
    expect(largestDifference).toBeLessThan(1e-4 * largestLogit);
    const written = await openCheckpoint(folder);
    expect((await written.tokenizer()).encode('Hello world')).toEqual(tokenizer.encode('Hello world'));
    await written.close();
    await backend.close();
  });
});
