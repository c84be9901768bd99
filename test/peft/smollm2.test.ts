import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { WasmBackend } from '../../engine/backends/wasm.ts';
import { createWasmBackend, scope, tensor } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { Tokenizer } from '../../models/tokenizer/tokenizer.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { type DataRow, loadData } from '../../peft/data.ts';
import { type Example, encodeAnswer, labelledExample } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { LabelScorer, labelTokens } from '../../peft/score.ts';
import { accumulateGradients } from '../../peft/step.ts';
import { defaultInstruction, type PromptTemplate, promptTemplate } from '../../peft/template.ts';
import { train } from '../../peft/train.ts';
import { itWithData } from '../support/data.ts';
import { goldenPath } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

interface Expected {
  imdb: { id: string; logprob_positive: number; logprob_negative: number }[];
  lora: { review_ids: string[]; tokens: number[]; losses: number[]; grad_norms: number[] };
}

const labels = ['negative', 'positive'];

describeWithSmolLM2('SmolLM2-135M-Instruct with its weights as stored, against transformers and peft', (path) => {
  const backends: WasmBackend[] = [];
  let peft: PeftModel;
  /** Its products in 16 bits. */
  let rounding: PeftModel;
  let tokenizer: Tokenizer;
  let template: PromptTemplate;
  let expected: Expected;
  beforeAll(async () => {
    const checkpoint = await openCheckpoint(path);
    const load = async (products: 'f32' | 'int16') => {
      const backend = await createWasmBackend({ threads: 2, revectorize: true, products });
      backends.push(backend);
      return new PeftModel(await LlamaModel.load(checkpoint, backend));
    };
    tokenizer = await checkpoint.tokenizer();
    peft = await load('f32');
    rounding = await load('int16');
    await checkpoint.close();
    template = promptTemplate('alpaca', defaultInstruction, tokenizer);
    expected = JSON.parse(await readFile(goldenPath('smollm2', 'expected.json'), 'utf8'));
  }, 60_000);
  afterAll(() => Promise.all(backends.map((backend) => backend.close())));

  /** The reviews with these ids, cut to 128 tokens, with their answers. */
  async function examples(file: string, ids: readonly string[]): Promise<Example[]> {
    const rows = new Map((await loadData(file)).rows.map((r): [string | undefined, DataRow] => [r.id, r]));
    return ids.map((id) => {
      const row = rows.get(id);
      if (row?.kind !== 'labelled') throw new Error(`no review ${id}`);
      const answer = labels[Number(row.label)];
      return labelledExample({ index: row.index, text: row.text, answer }, template, tokenizer, 128);
    });
  }

  /** Largest errors of the label log-probabilities of twelve reviews, and of their differences. */
  async function labelErrors(peft: PeftModel, file: string): Promise<{ logProb: number; difference: number }> {
    const reviews = await examples(
      file,
      expected.imdb.map((r) => r.id),
    );
    const tokens = labels.map((l) => encodeAnswer(l, template, tokenizer));
    using scorer = new LabelScorer(peft, labelTokens(labels, tokens, template.end), template.before);
    const scores = await scorer.score(reviews);
    const errors = expected.imdb.map((want, i) => {
      const [negative, positive] = scores[i].logProbs;
      const [ofNegative, ofPositive] = [negative - want.logprob_negative, positive - want.logprob_positive];
      return {
        logProb: Math.max(Math.abs(ofNegative), Math.abs(ofPositive)),
        difference: Math.abs(ofPositive - ofNegative),
      };
    });
    return {
      logProb: Math.max(...errors.map((e) => e.logProb)),
      difference: Math.max(...errors.map((e) => e.difference)),
    };
  }

  /** Largest relative errors of loss and gradient norm over the 8 steps of the LoRA curve. */
  async function curveErrors(peft: PeftModel, file: string): Promise<{ loss: number; gradNorm: number }> {
    const { review_ids, tokens, losses, grad_norms } = expected.lora;
    const reviews = await examples(file, review_ids);
    expect(reviews.map((e) => e.shared.length + e.prompt.length + e.answer.length)).toEqual(tokens);
    await loadAdapter(peft, goldenPath('smollm2', 'lora-start'));
    const options = {
      batchSize: 2,
      microBatch: 2,
      epochs: 1,
      seed: 0,
      shuffle: false,
      lr: 5e-4,
      schedule: 'constant',
    } as const;
    const steps = train(peft, reviews, {
      ...options,
      warmup: 0,
      weightDecay: 0,
      sharePrefix: true,
      recompute: false,
    });
    const errors = { loss: 0, gradNorm: 0 };
    for await (const { step, loss, gradNorm } of steps) {
      errors.loss = Math.max(errors.loss, Math.abs(loss / losses[step - 1] - 1));
      errors.gradNorm = Math.max(errors.gradNorm, Math.abs(gradNorm / grad_norms[step - 1] - 1));
    }
    return errors;
  }

  /** The gradient of two reviews' loss for the trained adapter, all parameters in a row. */
  async function gradient(peft: PeftModel, file: string): Promise<number[]> {
    await loadAdapter(peft, goldenPath('smollm2', 'lora-trained'), 'trained');
    const reviews = await examples(file, expected.lora.review_ids.slice(0, 2));
    const batch = reviews.map((example, place) => ({ example, place }));
    using _ = scope();
    const rng = tensor(Int32Array.of(0, 1), [2], { dtype: 'i32', backend: peft.model.backend });
    await accumulateGradients(
      peft,
      batch,
      rng,
      { virtualTokens: 0, microBatch: 2, sharePrefix: true, recompute: false },
      () => {},
    );
    const gradients: number[] = [];
    for (const [, parameter] of peft.namedParameters()) {
      gradients.push(...((await parameter.grad?.data()) ?? []));
      parameter.grad?.dispose();
      parameter.grad = undefined;
    }
    return gradients;
  }

  const reviewsFile = join('data', 'imdb', 'train.jsonl.gz');
  itWithData(
    'label log-probabilities of twelve reviews',
    reviewsFile,
    async (file) => {
      const { logProb, difference } = await labelErrors(peft, file);
      expect(logProb).toBeLessThan(1e-3);
      expect(difference).toBeLessThan(5e-4);
    },
    300_000,
  );

  itWithData(
    'the 8-step LoRA curve',
    reviewsFile,
    async (file) => {
      const { loss, gradNorm } = await curveErrors(peft, file);
      expect(loss).toBeLessThan(1e-3);
      expect(gradNorm).toBeLessThan(1e-3);
    },
    600_000,
  );

  itWithData(
    'products in 16 bits: log-probabilities, curve, and the direction of the gradient',
    reviewsFile,
    async (file) => {
      const { logProb, difference } = await labelErrors(rounding, file);
      expect(logProb).toBeLessThan(0.02);
      expect(difference).toBeLessThan(0.005);
      const { loss, gradNorm } = await curveErrors(rounding, file);
      expect(loss).toBeLessThan(0.005);
      expect(gradNorm).toBeLessThan(0.005);
      const [exact, rounded] = [await gradient(peft, file), await gradient(rounding, file)];
      const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i], 0);
      expect(rounded).toHaveLength(exact.length);
      // 0.99 would do; 8 bits with a scale for every 32 numbers give 0.998.
      expect(dot(exact, rounded) / Math.sqrt(dot(exact, exact) * dot(rounded, rounded))).toBeGreaterThan(0.9999);
    },
    600_000,
  );
});
