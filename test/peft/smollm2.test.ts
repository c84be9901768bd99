import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { createWasmBackend } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { Tokenizer } from '../../models/tokenizer/tokenizer.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { type DataRow, loadData } from '../../peft/data.ts';
import { type Example, encodeAnswer, labelledExample } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { LabelScorer, labelTokens } from '../../peft/score.ts';
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
  let backend: Awaited<ReturnType<typeof createWasmBackend>>;
  let peft: PeftModel;
  let tokenizer: Tokenizer;
  let template: PromptTemplate;
  let expected: Expected;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 2, revectorize: true });
    const checkpoint = await openCheckpoint(path);
    tokenizer = await checkpoint.tokenizer();
    peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
    await checkpoint.close();
    template = promptTemplate('alpaca', defaultInstruction, tokenizer);
    expected = JSON.parse(await readFile(goldenPath('smollm2', 'expected.json'), 'utf8'));
  }, 60_000);
  afterAll(() => backend.close());

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

  itWithData(
    'label log-probabilities of twelve reviews',
    join('data', 'imdb', 'train.jsonl.gz'),
    async (file) => {
      const reviews = await examples(
        file,
        expected.imdb.map((r) => r.id),
      );
      const tokens = labels.map((l) => encodeAnswer(l, template, tokenizer));
      using scorer = new LabelScorer(peft, labelTokens(labels, tokens, template.end), template.before);
      const scores = await scorer.score(reviews);
      for (const [i, want] of expected.imdb.entries()) {
        const [negative, positive] = scores[i].logProbs;
        expect(Math.abs(negative - want.logprob_negative), want.id).toBeLessThan(1e-3);
        expect(Math.abs(positive - want.logprob_positive), want.id).toBeLessThan(1e-3);
        const difference = want.logprob_positive - want.logprob_negative;
        expect(Math.abs(positive - negative - difference), want.id).toBeLessThan(5e-4);
      }
    },
    300_000,
  );

  itWithData(
    'the 8-step LoRA curve',
    join('data', 'imdb', 'train.jsonl.gz'),
    async (file) => {
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
      for await (const { step, loss, gradNorm } of steps) {
        expect(Math.abs(loss / losses[step - 1] - 1), `loss of step ${step}`).toBeLessThan(1e-3);
        expect(Math.abs(gradNorm / grad_norms[step - 1] - 1), `gradient norm of step ${step}`).toBeLessThan(1e-3);
      }
    },
    600_000,
  );
});
