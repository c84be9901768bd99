// The planner beside what a GPU's pool is asked for. More of it on the simulator in mode `full` (`npm run test:cuda`).
import { afterEach, describe, expect, test } from 'vitest';
import { byteLength } from '../../engine/dtype.ts';
import { type ComputeDType, type CudaBackend, createCudaBackend, Rng, type WeightDType } from '../../engine/index.ts';
import { type Checkpoint, expectedTensors, openCheckpoint } from '../../models/checkpoint/index.ts';
import type { LlamaConfig } from '../../models/config.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { AdapterSettings } from '../../peft/adapterConfig.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { type MemoryParts, planEvaluation, planTraining, totalBytes } from '../../peft/plan.ts';
import { LabelScorer } from '../../peft/score.ts';
import { Trainer } from '../../peft/train.ts';
import { examplesOf } from '../support/examples.ts';
import { goldenPath } from '../support/golden.ts';
import { emptyGpu, type Gpu, simulatedGpu } from '../support/gpu.ts';

/** How much of the pool's bytes tensors and scratch memory fill at least; the small model's tensors have a few bytes. */
const ROUNDED = 0.9;

let backend: CudaBackend | undefined;
afterEach(async () => {
  await backend?.close();
  backend = undefined;
});

const pair = { r: 8, alpha: 16, dropout: 0.1, rslora: false, init: 'true' } as const;
const adapters: Record<string, AdapterSettings> = {
  LoRA: { method: 'lora', config: { ...pair, targetModules: ['q_proj', 'v_proj'] } },
  'LoRA on all layers': { method: 'lora', config: { ...pair, targetModules: 'all-linear' } },
  'prompt tuning': { method: 'prompt', config: { virtualTokens: 8, init: 'random' } },
};
const labels = { tokens: [[3, 4], [5]], endScored: false };

/** A golden model, or one of this shape whose weights are 0. */
async function model(stored: WeightDType, shape?: Partial<LlamaConfig>): Promise<Checkpoint> {
  const golden = await openCheckpoint(goldenPath('llama2'));
  if (shape === undefined) return golden;
  await golden.close();
  const config = { ...golden.config, ...shape };
  const tensors: Checkpoint['tensors'] = new Map(
    [...expectedTensors(config)].map(([name, shape]) => [name, { shape, dtype: shape.length === 1 ? 'f32' : stored }]),
  );
  const read = async (name: string): Promise<Uint8Array<ArrayBuffer>> => {
    const { dtype, shape } = tensors.get(name) as { dtype: WeightDType; shape: number[] };
    return new Uint8Array(byteLength(dtype, shape));
  };
  return { ...golden, config, tensors, read };
}

async function load(
  checkpoint: Checkpoint,
  adapter: AdapterSettings,
  on: CudaBackend,
  dtype: ComputeDType,
): Promise<PeftModel> {
  const peft = new PeftModel(await LlamaModel.load(checkpoint, on, { dtype }));
  if (adapter.method === 'lora') peft.addLora(adapter.config, new Rng(0));
  else await peft.addPrompt(adapter.config, new Rng(0));
  return peft.eval();
}

/**
 * The parts are what the pool was asked for, but for its rounding up; with the gaps it is never less, nor more than 15% and
 * the planner's own 1 MiB above it: how far a pool's blocks fit what comes is the driver's affair.
 */
function expectEnough({ gaps, ...parts }: MemoryParts, { peakBytes }: Gpu): void {
  expect(totalBytes(parts) + gaps).toBeGreaterThanOrEqual(peakBytes);
  expect(totalBytes(parts) + gaps).toBeLessThanOrEqual(1.15 * peakBytes + 2 ** 20);
  expect(totalBytes(parts)).toBeGreaterThan(ROUNDED * peakBytes);
  expect(totalBytes(parts)).toBeLessThanOrEqual(peakBytes);
}

interface Step {
  adapter: AdapterSettings;
  dtype: ComputeDType;
  examples: Example[];
  microBatch: number;
  recompute: boolean;
}

/** Plans and takes two steps with a validation after each. */
async function trainOn(
  gpu: Gpu,
  checkpoint: Checkpoint,
  { adapter, dtype, examples, microBatch, recompute }: Step,
): Promise<void> {
  backend = await createCudaBackend({ device: gpu.device });
  const options = { batchSize: examples.length, microBatch, recompute, sharePrefix: true };
  const validation = { examples: examples.slice(0, 2), labels };
  const planned = { checkpoint, adapter, dtype, device: backend.memoryModel };
  const { parts, ...plan } = await planTraining(planned, examples, { ...options, validation });
  expect(plan).toEqual({ microBatch, recompute });
  expect(gpu.peakBytes, 'planning takes nothing').toBe(0);
  const peft = await load(checkpoint, adapter, backend, dtype);
  {
    using trainer = new Trainer(peft, examples, { ...options, epochs: 2, lr: 1e-3 });
    for await (const { loss } of trainer.run()) {
      expect(loss).toBeGreaterThanOrEqual(0);
      peft.eval();
      using scorer = new LabelScorer(peft, labels, examples[0].shared);
      await scorer.score(validation.examples);
      peft.train();
    }
  }
  expectEnough(parts, gpu);
  peft.dispose();
}

const wide = { vocabSize: 4096, hiddenSize: 256, intermediateSize: 768, numHiddenLayers: 4, headDim: 64 };
const small = { intermediateSize: 64 };

describe('the memory planner for CUDA', () => {
  test.each([
    ['LoRA', 'f32', 'f32', false],
    ['LoRA on all layers', 'f32', 'q8_0', true],
    ['prompt tuning', 'f32', 'bf16', false],
    ['LoRA', 'bf16', 'bf16', false],
    ['LoRA on all layers', 'bf16', 'q8_0', false],
    ['LoRA on all layers', 'bf16', 'q4_k', true],
    ['prompt tuning', 'bf16', 'f32', true],
  ] as const)('%s in %s on weights in %s, recomputed: %s', async (adapter, dtype, stored, recompute) => {
    const step = { adapter: adapters[adapter], dtype, examples: examplesOf(8, 200), microBatch: 4, recompute };
    await trainOn(emptyGpu(), await model(stored, wide), step);
  });

  const simulated = [
    ['LoRA', 'f32', 'f32', undefined],
    ['prompt tuning', 'bf16', 'f32', undefined],
    ['LoRA on all layers', 'bf16', 'q8_0', small],
  ] as const;
  test.each(simulated.slice(0, process.env.MODE === 'full' ? 3 : 1))(
    '%s in %s on weights in %s, computed by the simulator',
    async (adapter, dtype, stored, shape) => {
      const step = { adapter: adapters[adapter], dtype, examples: examplesOf(2, 6), microBatch: 2, recompute: false };
      const checkpoint = await model(stored, shape);
      await trainOn(simulatedGpu(), checkpoint, step);
      if (shape === undefined) await checkpoint.close();
    },
    600_000,
  );

  test.each(['f32', 'bf16'] as const)('evaluation in %s', async (dtype) => {
    const gpu = emptyGpu();
    backend = await createCudaBackend({ device: gpu.device });
    const checkpoint = await model('q8_0', wide);
    const examples = examplesOf(20, 200);
    const planned = { checkpoint, adapter: adapters.LoRA, dtype, device: backend.memoryModel };
    const parts = await planEvaluation(planned, examples, labels);
    const peft = await load(checkpoint, adapters.LoRA, backend, dtype);
    {
      using scorer = new LabelScorer(peft, labels, examples[0].shared);
      for (const batch of scorer.batches(examples)) await scorer.score(batch);
    }
    expectEnough(parts, gpu);
    peft.dispose();
  });
});
