import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createReferenceBackend, noGrad, Rng, scope } from '../../engine/index.ts';
import type { Tokenizer } from '../../models/tokenizer/index.ts';
import { loadAdapter, saveAdapter } from '../../peft/adapter.ts';
import { parseAdapterConfig } from '../../peft/adapterConfig.ts';
import { defaultLora } from '../../peft/lora.ts';
import { PeftModel } from '../../peft/model.ts';
import { PyFloat, pythonJson } from '../../peft/pythonJson.ts';
import { goldenBatch, goldenModels, goldenPath, loadGolden, readNumbers, relativeError } from '../support/golden.ts';

const backend = createReferenceBackend();
const kinds = ['lora', 'lora-all', 'rslora', 'prompt'] as const;
const adapters = goldenModels.flatMap((model) =>
  kinds.filter((kind) => model !== 'llama-odd' || kind !== 'rslora').map((kind) => ({ model, kind })),
);

async function withFolder<T>(fn: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'lorikeet-'));
  try {
    return await fn(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe.each(adapters)('peft’s $kind adapter of $model', ({ model, kind }) => {
  test.each(['start', 'trained'])('%s: load → save gives both files byte for byte', async (state) => {
    const peft = new PeftModel(await loadGolden(model, backend));
    const folder = goldenPath(model, kind, state);
    await loadAdapter(peft, folder);
    await withFolder(async (out) => {
      await saveAdapter(peft, out, null);
      for (const file of ['adapter_model.safetensors', 'adapter_config.json']) {
        expect(await readFile(join(out, file)), file).toEqual(await readFile(join(folder, file)));
      }
    });
    peft.dispose();
  });

  test.each(['start', 'trained'])('%s: logits', async (state) => {
    const peft = new PeftModel(await loadGolden(model, backend));
    await loadAdapter(peft, goldenPath(model, kind, state));
    const numbers = await readNumbers(model, 'reference.safetensors');
    const expected = (await readNumbers(model, kind, 'reference.safetensors')).get(
      state === 'start' ? 'batch0.logits' : 'trained.batch0.logits',
    ) as Float32Array;
    const [V, virtual] = [peft.model.config.vocabSize, peft.virtualTokens];
    const batch = goldenBatch(numbers, 0, 3, virtual);
    const T = (numbers.get('batch0.input_ids')?.length as number) / 3;
    const real = Array.from({ length: batch.ids.length }, (_, i) => virtual + i);
    await noGrad(async () => {
      using _ = scope();
      const logits = await peft.model.logits(peft.forward({ ...batch, outputs: real })).data();
      // peft's logits have the virtual tokens' rows before each sequence.
      const at = (p: number): number => Math.floor(p / T) * (T + virtual) + virtual + (p % T);
      const wanted = batch.padded.flatMap((p) => [...expected.subarray(at(p) * V, (at(p) + 1) * V)]);
      expect(relativeError(logits, wanted)).toBeLessThan(1e-5);
    });
    peft.dispose();
  });
});

describe('adapter_config.json', () => {
  test('a fresh file has peft’s keys and spelling', async () => {
    const peft = new PeftModel(await loadGolden('llama2', backend));
    const config = {
      r: 4,
      alpha: 8,
      dropout: 0,
      rslora: false,
      targetModules: ['v_proj', 'q_proj'],
      init: 'true',
    } as const;
    peft.addLora(config, new Rng(0));
    await withFolder(async (out) => {
      await saveAdapter(peft, out, null);
      expect(await readFile(join(out, 'adapter_config.json'), 'utf8')).toBe(
        await readFile(goldenPath('llama2', 'lora', 'start', 'adapter_config.json'), 'utf8'),
      );
    });
    await peft.addPrompt({ virtualTokens: 8, init: 'random' }, new Rng(0), {}, 'p');
    await withFolder(async (out) => {
      await saveAdapter(peft, out, null);
      expect(await readFile(join(out, 'adapter_config.json'), 'utf8')).toBe(
        await readFile(goldenPath('llama2', 'prompt', 'start', 'adapter_config.json'), 'utf8'),
      );
    });
    peft.dispose();
  });

  test('what peft has no word for gets its nearest: N(0, 1) matrices, class labels, all linear layers', async () => {
    const peft = new PeftModel(await loadGolden('llama2', backend));
    const written = async (): Promise<Record<string, unknown>> =>
      withFolder(async (out) => {
        await saveAdapter(peft, out, 'org/base');
        return JSON.parse(await readFile(join(out, 'adapter_config.json'), 'utf8'));
      });
    peft.addLora({ ...defaultLora, init: 'normal', targetModules: 'all-linear' }, new Rng(0), 'lora');
    expect(await written()).toMatchObject({
      init_lora_weights: 'gaussian',
      base_model_name_or_path: 'org/base',
      target_modules: ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj'],
    });
    const source = { tokenizer: { encode: () => [7] } as unknown as Tokenizer, labels: ['bad', 'good'] };
    await peft.addPrompt({ virtualTokens: 4, init: 'labels' }, new Rng(0), source, 'labels');
    expect(await written()).toMatchObject({ prompt_tuning_init: 'SAMPLE_VOCAB', tokenizer_name_or_path: null });
    await peft.addPrompt({ virtualTokens: 4, init: 'text', initText: 'Is it good?' }, new Rng(0), source, 'text');
    expect(await written()).toMatchObject({
      prompt_tuning_init: 'TEXT',
      prompt_tuning_init_text: 'Is it good?',
      tokenizer_name_or_path: 'org/base',
    });
    peft.dispose();
  });

  test('numbers are spelt as Python spells them', () => {
    const floats = [0, 0.1, 5e-5, 1e16, 16, 1e-7, 123456.75].map((x) => pythonJson(new PyFloat(x)));
    expect(floats).toEqual(['0.0', '0.1', '5e-05', '1e+16', '16.0', '1e-07', '123456.75']);
    expect(pythonJson({ b: [], a: {}, c: ['é', 16] })).toBe(
      '{\n  "a": {},\n  "b": [],\n  "c": [\n    "\\u00e9",\n    16\n  ]\n}',
    );
  });

  test('what is not supported is refused by key and value', () => {
    const parse = (more: object): unknown =>
      parseAdapterConfig(JSON.stringify({ peft_type: 'LORA', ...more }), 'x.json');
    expect(() => parse({ use_dora: true })).toThrow('x.json: use_dora = true is not supported');
    expect(() => parse({ init_lora_weights: 'pissa' })).toThrow('x.json: init_lora_weights = "pissa" is not supported');
    expect(() => parse({ bias: 'all' })).toThrow('x.json: bias = "all" is not supported');
    expect(() => parse({ modules_to_save: ['lm_head'] })).toThrow('modules_to_save = ["lm_head"] is not supported');
    expect(() => parseAdapterConfig('{"peft_type": "IA3"}', 'x.json')).toThrow('peft_type "IA3" is not supported');
    expect(parse({ r: 2 })).toMatchObject({
      method: 'lora',
      config: { r: 2, alpha: 8, targetModules: ['q_proj', 'v_proj'] },
    });
  });

  test('an adapter that does not fit the model is refused, naming the tensors', async () => {
    const peft = new PeftModel(await loadGolden('llama-odd', backend));
    await expect(loadAdapter(peft, goldenPath('llama2', 'lora', 'trained'))).rejects.toThrow(
      /does not fit the model: base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight has shape \[4, 32\], the model needs \[4, 36\]/,
    );
    peft.dispose();
  });
});
