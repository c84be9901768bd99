import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createWasmBackend, memory, Rng, resetPeak } from '../../engine/index.ts';
import { type Checkpoint, expectedTensors, openCheckpoint } from '../../models/checkpoint/index.ts';
import { generateBatch } from '../../models/generate.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { AdapterSettings } from '../../peft/adapterConfig.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import {
  MemoryError,
  type MemoryParts,
  planEvaluation,
  planGeneration,
  planTraining,
  totalBytes,
} from '../../peft/plan.ts';
import { LabelScorer } from '../../peft/score.ts';
import { Trainer, type TrainOptions } from '../../peft/train.ts';
import { meanLoss } from '../../peft/validate.ts';
import { examplesOf } from '../support/examples.ts';
import { goldenPath } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';
import { wideCheckpoint } from '../support/wide.ts';

const lora: AdapterSettings = {
  method: 'lora',
  config: { r: 8, alpha: 16, dropout: 0.1, rslora: false, targetModules: ['q_proj', 'v_proj'], init: 'true' },
};
const allLinear: AdapterSettings = {
  method: 'lora',
  config: { ...lora.config, targetModules: 'all-linear', dropout: 0 },
};
const prompt: AdapterSettings = { method: 'prompt', config: { virtualTokens: 8, init: 'random' } };

let backend: Awaited<ReturnType<typeof createWasmBackend>>;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 2 });
});
afterAll(() => backend.close());

async function load(checkpoint: Checkpoint, adapter: AdapterSettings): Promise<PeftModel> {
  const peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
  if (adapter.method === 'lora') peft.addLora(adapter.config, new Rng(0));
  else await peft.addPrompt(adapter.config, new Rng(0));
  return peft.eval();
}

/** Most bytes that tensors had while `fn` ran. */
async function peakOf(fn: () => Promise<unknown>): Promise<number> {
  resetPeak();
  await fn();
  return memory().peakBytes;
}

const schedule = { epochs: 2, seed: 0, lr: 1e-4, schedule: 'constant', warmup: 0, weightDecay: 0 } as const;

async function trainFor(peft: PeftModel, examples: Example[], options: Omit<TrainOptions, keyof typeof schedule>) {
  using trainer = new Trainer(peft, examples, { ...options, ...schedule });
  for await (const _ of trainer.run());
}

const inTensors = (parts: MemoryParts): number => totalBytes(parts) - parts.scratch - parts.gaps;

/** Only a checkpoint's configuration is looked at: this one has no weights. */
async function twelveLayers(): Promise<Pick<Checkpoint, 'config' | 'tensors'>> {
  const small = await openCheckpoint(goldenPath('llama2'));
  await small.close();
  const config = { ...small.config, numHiddenLayers: 12 };
  const shapes = [...expectedTensors(config)];
  return { config, tensors: new Map(shapes.map(([name, shape]) => [name, { shape, dtype: 'f32' }])) };
}

describe('the memory planner', () => {
  describe.each(['llama2', 'llama2-gqa-tied', 'llama3-scaled', 'llama-odd'])('on %s', (name) => {
    test.each([
      ['LoRA', lora, { microBatch: 4, recompute: false, sharePrefix: true }],
      ['LoRA on all layers', allLinear, { microBatch: 8, recompute: false, sharePrefix: false }],
      ['LoRA, recomputed', lora, { microBatch: 2, recompute: true, sharePrefix: true }],
      ['prompt tuning', prompt, { microBatch: 4, recompute: false, sharePrefix: true }],
      ['prompt tuning, recomputed', prompt, { microBatch: 8, recompute: true, sharePrefix: true }],
    ])('%s: the bytes that training takes', async (_, adapter, options) => {
      const checkpoint = await openCheckpoint(goldenPath(name));
      const device = backend.memoryModel;
      const examples = examplesOf(8, 60);
      const before = memory();
      const plan = await planTraining({ checkpoint, adapter, device }, examples, { batchSize: 8, ...options });
      expect(memory().tensors, 'tensors left').toBe(before.tensors);
      expect(plan).toMatchObject({ microBatch: options.microBatch, recompute: options.recompute });
      const peft = await load(checkpoint, adapter);
      const peak = await peakOf(() => trainFor(peft, examples, { batchSize: 8, ...options }));
      expect(inTensors(plan.parts) / (peak - before.bytes)).toBeCloseTo(1, 3);
      peft.dispose();
      await checkpoint.close();
    });

    test('the bytes that evaluation and generation take', async () => {
      const checkpoint = await openCheckpoint(goldenPath(name));
      const planned = { checkpoint, adapter: lora, device: backend.memoryModel };
      const examples = examplesOf(9, 40);
      const labels = { tokens: [[3, 4], [5]], endScored: false };
      const prompts = examples.map((e) => e.prompt);
      const options = { shared: examples[0].shared, maxNewTokens: 12, eosIds: [] };
      const evaluation = await planEvaluation(planned, examples, labels);
      const generation = await planGeneration(planned, prompts, options);
      const { bytes } = memory();
      const peft = await load(checkpoint, lora);
      const scored = await peakOf(async () => {
        using scorer = new LabelScorer(peft, labels, examples[0].shared);
        for (const batch of scorer.batches(examples)) await scorer.score(batch);
      });
      expect(inTensors(evaluation) / (scored - bytes)).toBeCloseTo(1, 3);
      expect(evaluation.cache).toBeGreaterThan(0);
      const generated = await peakOf(() => generateBatch(peft, prompts, options));
      expect(inTensors(generation) / (generated - bytes)).toBeCloseTo(1, 2);
      peft.dispose();
      await checkpoint.close();
    });
  });

  test('lowers the micro-batch, then recomputes, then refuses with the numbers', async () => {
    const checkpoint = await twelveLayers();
    const examples = examplesOf(8, 400);
    const options = { batchSize: 8, microBatch: 'auto' as const, recompute: false, sharePrefix: true };
    const planWith = (capacity: number, o: Parameters<typeof planTraining>[2] = options) => {
      const device = { ...backend.memoryModel, capacity };
      return planTraining({ checkpoint, adapter: lora, device }, examples, o);
    };
    const seen: string[] = [];
    let { parts } = await planWith(Number.POSITIVE_INFINITY);
    let refused: unknown;
    while (!refused) {
      try {
        const plan = await planWith(totalBytes(parts) - 1);
        seen.push(`${plan.microBatch}${plan.recompute ? ' recomputed' : ''}`);
        expect(totalBytes(plan.parts)).toBeLessThan(totalBytes(parts));
        parts = plan.parts;
      } catch (error) {
        refused = error;
      }
    }
    expect(seen.join(', ')).toMatch(/^4, 2, 1, (\d recomputed, )*1 recomputed$/);
    expect(refused).toBeInstanceOf(MemoryError);
    const [first, ...table] = (refused as Error).message.split('\n');
    expect(first).toMatch(
      /^not enough memory: training with micro-batch 1 and recomputation needs \d+ MiB, the device has \d+ MiB$/,
    );
    expect(table.map((line) => line.replace(/ +\d+ MiB$/, ''))).toEqual(
      ['weights', 'adapter', 'activations', 'working', 'scratch', 'gaps', 'total'].map((part) => `  ${part}`),
    );
    await expect(planWith(1000, { ...options, microBatch: 3, recompute: true })).rejects.toThrow('micro-batch 3');
    expect(await planWith(1e9, { ...options, microBatch: 50 })).toMatchObject({ microBatch: 8, recompute: false });
  });

  test.each(['labels', 'completions'])('counts the validation between steps: %s', async (kind) => {
    const checkpoint = await openCheckpoint(goldenPath('llama2'));
    const planned = { checkpoint, adapter: lora, device: backend.memoryModel };
    const [training, held] = [examplesOf(2, 5), examplesOf(12, 150)];
    const labels = { tokens: [[3, 4], [5]], endScored: false };
    const options = { batchSize: 2, microBatch: 2, recompute: false, sharePrefix: true };
    const validation = kind === 'labels' ? { examples: held, labels } : { examples: held, batchSize: 8 };
    const without = await planTraining(planned, training, options);
    const { parts } = await planTraining(planned, training, { ...options, validation });
    expect(totalBytes(parts)).toBeGreaterThan(2 * totalBytes(without.parts));
    expect(parts.cache > 0).toBe(kind === 'labels');

    const { bytes } = memory();
    const peft = await load(checkpoint, lora);
    const peak = await peakOf(async () => {
      using trainer = new Trainer(peft, training, { ...options, ...schedule });
      for await (const _ of trainer.run()) {
        peft.eval();
        if (kind === 'labels') {
          using scorer = new LabelScorer(peft, labels, held[0].shared);
          for (const batch of scorer.batches(held)) await scorer.score(batch);
        } else await meanLoss(peft, held, 8);
        peft.train();
      }
    });
    expect(inTensors(parts) / (peak - bytes)).toBeCloseTo(1, 2);
    peft.dispose();
    const device = { ...planned.device, capacity: totalBytes(parts) - 1 };
    await expect(planTraining({ ...planned, device }, training, { ...options, validation })).rejects.toThrow(
      MemoryError,
    );
    await checkpoint.close();
  });

  test('counts the scratch memory that products take, in 16 bits less than in f32', async () => {
    // The MLP's products need more of it than the labels' probabilities.
    const checkpoint = await wideCheckpoint(1024);
    const examples = examplesOf(4, 60);
    const labels = { tokens: [[3, 4], [5]], endScored: false };
    const planned: number[] = [];
    for (const products of ['f32', 'int16'] as const) {
      const own = await createWasmBackend({ threads: 2, products });
      const { scratch } = await planEvaluation({ checkpoint, device: own.memoryModel }, examples, labels);
      planned.push(scratch);
      const launch = vi.spyOn(own, 'launch');
      const peft = new PeftModel(await LlamaModel.load(checkpoint, own));
      using scorer = new LabelScorer(peft.eval(), labels, examples[0].shared);
      await scorer.score(examples);
      const ofLaunches = launch.mock.calls.map(([kernel, , ints, , work]) =>
        own.memoryModel.scratchBytes(kernel, ints, work),
      );
      expect(scratch).toBe(Math.max(...ofLaunches));
      peft.dispose();
      await own.close();
    }
    expect(planned[1]).toBeLessThan(planned[0]);
  });

  test('stays within what the machine has free', async () => {
    const checkpoint = await twelveLayers();
    const examples = examplesOf(8, 400);
    const options = { batchSize: 8, microBatch: 'auto' as const, recompute: false, sharePrefix: true };
    const available = vi.spyOn(process, 'availableMemory');
    const plan = (bytes: number) => {
      available.mockReturnValue(bytes);
      return planTraining({ checkpoint, adapter: lora, device: backend.memoryModel }, examples, options);
    };
    try {
      const whole = await plan(2 ** 40);
      expect(backend.memoryModel.capacity).toBeLessThan(2 ** 32);
      expect(whole).toMatchObject({ microBatch: 8, recompute: false });
      const half = await plan(totalBytes(whole.parts) - 1);
      expect(half).toMatchObject({ microBatch: 4, recompute: false });
      expect((await plan(totalBytes(half.parts) / 6)).recompute).toBe(true);
      await expect(plan(2 ** 20)).rejects.toThrow(
        /^not enough memory: training with micro-batch 1 and recomputation needs \d+ MiB, this machine has 1 MiB\n {2}weights/,
      );
    } finally {
      available.mockRestore();
    }
  });

  test('counts the longest examples', async () => {
    const checkpoint = await openCheckpoint(goldenPath('llama2'));
    const planned = { checkpoint, adapter: lora, device: backend.memoryModel };
    const options = { batchSize: 2, microBatch: 2, recompute: false, sharePrefix: true };
    const [long, short] = [examplesOf(2, 90), examplesOf(6, 10)];
    const mixed = await planTraining(planned, [...short, ...long], options);
    expect(mixed).toEqual(await planTraining(planned, long, options));
    await checkpoint.close();
  });
});

describeWithSmolLM2('the memory planner on SmolLM2', (path) => {
  test('the linear memory that training takes, within 5%', async () => {
    const own = await createWasmBackend({ threads: 2 });
    const checkpoint = await openCheckpoint(path);
    const examples = examplesOf(4, 120);
    const options = { batchSize: 4, microBatch: 4, recompute: false, sharePrefix: true };
    const { parts } = await planTraining({ checkpoint, adapter: lora, device: own.memoryModel }, examples, options);
    const { capacity } = own.memoryModel;
    const peft = new PeftModel(await LlamaModel.load(checkpoint, own));
    await checkpoint.close();
    peft.addLora(lora.config, new Rng(0));
    await trainFor(peft, examples, options);
    const taken = capacity - own.memoryModel.capacity;
    expect(totalBytes(parts) / taken).toBeGreaterThan(0.95);
    expect(totalBytes(parts) / taken).toBeLessThan(1.05);
    peft.dispose();
    await own.close();
  });
});
