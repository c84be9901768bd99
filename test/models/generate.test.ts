import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createReferenceBackend, createWasmBackend, Forest, memory, noGrad, Rng, scope } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { generate, generateBatch, type LanguageModel } from '../../models/generate.ts';
import { LlamaModel } from '../../models/llama.ts';
import { StreamDecoder, type Tokenizer } from '../../models/tokenizer/tokenizer.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { PeftModel } from '../../peft/model.ts';
import { describeBackends } from '../support/backends.ts';
import { itWithData } from '../support/data.ts';
import { goldenModels, goldenPath, loadGolden, readNumbers, relativeError } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

async function collect(pieces: AsyncIterable<string>): Promise<string[]> {
  const out: string[] = [];
  for await (const piece of pieces) out.push(piece);
  return out;
}

describeBackends('generation', (backendOf, kind) => {
  test.each(goldenModels)('transformers’ greedy continuation by %s', async (name) => {
    const model = await loadGolden(name, backendOf());
    const before = memory().tensors;
    const numbers = await readNumbers(name, 'reference.safetensors');
    const prompt = [...(numbers.get('generate.prompt') as Int32Array)];
    const expected = [...(numbers.get('generate.greedy') as Int32Array)].slice(prompt.length);
    const options = { maxNewTokens: expected.length, eosIds: model.config.eosTokenIds };
    expect(await generateBatch(model, [prompt], options)).toEqual([expected]);
    // The rotary table is the model's, made at its first pass.
    expect(memory().tensors - before, 'tensors left').toBe(1);
    model.dispose();
  });

  const tolerance = kind === 'reference' ? 1e-12 : 1e-5;

  test.each([
    ['no adapter', undefined],
    ['LoRA', 'lora-all'],
    ['virtual tokens', 'prompt'],
  ])('with cache and shared prefix, hidden states equal those of whole sequences: %s', async (_, adapter) => {
    const backend = backendOf();
    const peft = new PeftModel(await loadGolden('llama3-scaled', backend));
    if (adapter) await loadAdapter(peft, goldenPath('llama3-scaled', adapter, 'trained'));
    peft.eval();
    const rng = new Rng(3);
    for (let round = 0; round < 6; round++) {
      const draw = (n: number): number[] => Array.from({ length: n }, () => rng.int(peft.model.config.vocabSize));
      const shared = draw(rng.int(2) * rng.int(40));
      const prompts = Array.from({ length: 1 + rng.int(4) }, () => draw(1 + rng.int(37)));
      // Every final hidden state that generation computed, in its order.
      const found: Promise<ArrayLike<number>>[] = [];
      const recording: LanguageModel = {
        model: peft.model,
        virtualTokens: peft.virtualTokens,
        forward: (rows, options) => {
          const hidden = peft.forward(rows, options);
          found.push(hidden.data());
          return hidden;
        },
      };
      const options = { shared, maxNewTokens: 7, eosIds: [], temperature: 1, seed: round };
      const answers = await generateBatch(recording, prompts, options);
      expect(answers.map((a) => a.length)).toEqual(prompts.map(() => 7));
      const steps = await Promise.all(found);
      const C = peft.model.config.hiddenSize;
      for (const [i, prompt] of prompts.entries()) {
        await noGrad(async () => {
          using _ = scope();
          const ids = [...shared, ...prompt, ...answers[i].slice(0, -1)];
          const forest = new Forest();
          forest.add(-1, peft.virtualTokens + ids.length);
          const outputs = Array.from({ length: 7 }, (_, k) => forest.rows - 7 + k);
          const whole = await peft.forward({ forest, ids, outputs }).data();
          const cached = steps.flatMap((step) => Array.from(step).slice(i * C, (i + 1) * C));
          expect(relativeError(cached, whole), `sequence ${i}`).toBeLessThan(tolerance);
        });
      }
    }
    peft.dispose();
  });

  test('sequences end on their own, without their end token', async () => {
    const model = await loadGolden('llama-odd', backendOf());
    const prompts = [[52, 6, 26, 27, 36, 34], [5, 9], [7]];
    const options = { maxNewTokens: 12, eosIds: [] as number[] };
    const whole = await generateBatch(model, prompts, options);
    expect(whole.map((a) => a.length)).toEqual([12, 12, 12]);
    const eos = whole[0][4];
    const cut = whole.map((a) => (a.includes(eos) ? a.slice(0, a.indexOf(eos)) : a));
    expect(await generateBatch(model, prompts, { ...options, eosIds: [eos] })).toEqual(cut);
    expect(cut[0].length).toBeLessThanOrEqual(4);
    model.dispose();
  });

  for (const file of ['data/models/stories260K/stories260K.bin', 'data/models/TinyStories-656K/model.safetensors']) {
    itWithData(`greedy text of ${file}`, file, async (path) => {
      const expected = JSON.parse(readFileSync(join(dirname(path), 'expected.json'), 'utf8'));
      const { greedy_ids: ids, greedy_text: text, prompt_ids: prompt = [1] } = expected;
      const checkpoint = await openCheckpoint(path.endsWith('.bin') ? path : dirname(path));
      const model = await LlamaModel.load(checkpoint, backendOf());
      const tokenizer = await checkpoint.tokenizer();
      await checkpoint.close();
      const maxNewTokens = ids.length - prompt.length;
      expect(await generateBatch(model, [prompt], { maxNewTokens, eosIds: [] })).toEqual([ids.slice(prompt.length)]);
      const answer = (await collect(generate(model, prompt, tokenizer, { maxNewTokens }))).join('');
      expect((tokenizer.decode(prompt, { skipSpecial: true }) + answer).trim()).toContain(text.trim());
      model.dispose();
    });
  }
});

describe('text', () => {
  /** Every token is one byte. */
  const bytes = {
    eosIds: [0],
    stream: () => new StreamDecoder((id) => Uint8Array.of(id), false),
  } as unknown as Tokenizer;

  /** What a model answers that likes the bytes of `text` one after another, then the end token. */
  async function answering(text: string, stop?: string[]): Promise<string[]> {
    const answer = [...Buffer.from(text), 0];
    const { config, backend } = await loadGolden('llama2', createReferenceBackend());
    const logits = () => {
      const liked = answer.shift();
      return { data: async () => Float32Array.from({ length: 256 }, (_, id) => Number(id === liked)) };
    };
    const model = { config: { ...config, vocabSize: 256 }, backend, logits };
    const fixed = { model, virtualTokens: 0, forward: () => undefined } as unknown as LanguageModel;
    return collect(generate(fixed, [1], bytes, { maxNewTokens: 50, stop }));
  }

  test('comes in pieces that are whole characters', async () => {
    expect(await answering('aé🙂b')).toEqual(['a', 'é', '🙂', 'b']);
  });

  test.each([
    ['a stop string is left out', 'one two\nthree', ['\n'], 'one two'],
    ['across tokens', 'one ENDING', ['END'], 'one '],
    ['the first of several', 'abcdef', ['ef', 'cd'], 'ab'],
    ['one that begins and does not come about', 'EN END', ['END'], 'EN '],
    ['one that begins where the answer ends', 'one EN', ['END'], 'one EN'],
    ['one that overlaps itself', 'aaab', ['aab'], 'a'],
    ['one at the very beginning', 'END', ['END'], ''],
    ['of more than ASCII', 'ä🙂ö', ['🙂'], 'ä'],
    ['none', 'one two', [], 'one two'],
  ])('%s', async (_, text, stop, expected) => {
    expect((await answering(text, stop)).join('')).toBe(expected);
  });

  test('bad options are refused', async () => {
    await expect(answering('a', [''])).rejects.toThrow('a stop string is empty');
    const model = await loadGolden('llama2', createReferenceBackend());
    const options = { maxNewTokens: 4, eosIds: [] };
    await expect(generateBatch(model, [[1], []], options)).rejects.toThrow('prompt 1 is empty');
    await expect(generateBatch(model, [[1]], { ...options, maxNewTokens: 0 })).rejects.toThrow('maxNewTokens 0');
    await expect(generateBatch(model, [[1]], { ...options, topP: 2 })).rejects.toThrow('topP 2');
    model.dispose();
  });
});

describeWithSmolLM2('SmolLM2 from its GGUF file', (path) => {
  test('transformers’ greedy texts of three prompts', async () => {
    const { next } = JSON.parse(readFileSync(goldenPath('smollm2', 'expected.json'), 'utf8')) as {
      next: { text: string; ids: number[]; greedy: number[]; greedy_text: string }[];
    };
    const backend = await createWasmBackend({ threads: 2 });
    const checkpoint = await openCheckpoint(path);
    const tokenizer = await checkpoint.tokenizer();
    const model = await LlamaModel.load(checkpoint, backend);
    await checkpoint.close();
    for (const { ids, greedy, greedy_text } of next) {
      const pieces = await collect(generate(model, ids, tokenizer, { maxNewTokens: greedy.length }));
      expect(pieces.join('')).toBe(greedy_text);
    }
    const prompts = next.map(({ ids }) => ids);
    const answers = await generateBatch(model, prompts, { maxNewTokens: 24, eosIds: tokenizer.eosIds });
    expect(answers).toEqual(next.map(({ greedy }) => greedy));
    model.dispose();
    await backend.close();
  });
});
