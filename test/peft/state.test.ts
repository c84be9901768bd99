import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Backend, createWasmBackend, Rng, type WasmOptions } from '../../engine/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { loadCheckpoint, saveCheckpoint } from '../../peft/state.ts';
import { type StepEvent, Trainer, type TrainOptions, type TrainState } from '../../peft/train.ts';
import { loadGolden } from '../support/golden.ts';
import { wideCheckpoint } from '../support/wide.ts';

const fingerprint = { device: 'wasm', build: 'relaxed' };

const options = {
  epochs: 2,
  batchSize: 4,
  seed: 7,
  lr: 5e-3,
  schedule: 'cosine',
  warmup: 2,
  weightDecay: 0.01,
  maxGradNorm: 1,
  microBatch: 2,
  sharePrefix: true,
  recompute: false,
} satisfies TrainOptions;

/** Ten examples of different lengths: five steps for two epochs of batches of 4, the last of them smaller. */
function examples(): Example[] {
  const rng = new Rng(1);
  const draw = (n: number): number[] => Array.from({ length: n }, () => rng.int(60) + 3);
  const shared = draw(5);
  return Array.from({ length: 10 }, (_, index) => ({
    index,
    shared,
    prompt: draw(4 + rng.int(9)),
    answer: draw(1 + rng.int(2)),
    cut: false,
  }));
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lorikeet-state-'));
});
afterEach(() => rm(folder, { recursive: true }));

interface Run {
  losses: number[];
  norms: number[];
  state: TrainState;
}

/** Trains in a process-like setting of its own: a new backend, model and adapter; from a checkpoint when there is one. */
async function run(method: 'lora' | 'prompt', threads: number, from?: string, saveAfter?: number): Promise<Run> {
  const load = (backend: Backend) => loadGolden('llama3-scaled', backend);
  return runOn({ threads }, load, method, from, saveAfter);
}

async function runOn(
  device: WasmOptions,
  load: (backend: Backend) => Promise<LlamaModel>,
  method: 'lora' | 'prompt',
  from?: string,
  saveAfter?: number,
): Promise<Run> {
  const backend = await createWasmBackend(device);
  try {
    const peft = new PeftModel(await load(backend));
    const rng = new Rng(options.seed, 99);
    if (method === 'prompt') await peft.addPrompt({ virtualTokens: 3, init: 'random' }, rng);
    else peft.addLora({ r: 4, alpha: 8, dropout: 0.1, rslora: false, targetModules: 'all-linear', init: 'true' }, rng);
    using trainer = new Trainer(peft, examples(), { ...options, settle: (step) => step === saveAfter });
    if (from) await trainer.restore((await loadCheckpoint(from)).state);
    const events: StepEvent[] = [];
    for await (const event of trainer.run()) {
      events.push(event);
      if (event.step !== saveAfter) continue;
      expect(event.settled).toBe(true);
      await saveCheckpoint(join(folder, `step-${saveAfter}`), await trainer.state(), fingerprint);
      break;
    }
    const state = await trainer.state();
    peft.dispose();
    return { losses: events.map((e) => e.loss), norms: events.map((e) => e.gradNorm), state };
  } finally {
    await backend.close();
  }
}

describe('training checkpoints', () => {
  describe.each(['lora', 'prompt'] as const)('%s', (method) => {
    test('stopped after any step and resumed with another number of threads: the same bits as never stopped', async () => {
      const whole = await run(method, 2);
      expect(whole.losses).toHaveLength(6);
      expect(new Set(whole.losses).size).toBe(6);
      for (let stop = 1; stop < whole.losses.length; stop++) {
        const first = await run(method, 2, undefined, stop);
        const second = await run(method, (stop % 3) + 1, join(folder, `step-${stop}`));
        expect([...first.losses, ...second.losses], `losses, stopped after ${stop}`).toEqual(whole.losses);
        expect([...first.norms, ...second.norms], `gradient norms, stopped after ${stop}`).toEqual(whole.norms);
        expect(second.state, `adapter and moments, stopped after ${stop}`).toEqual(whole.state);
      }
    });
  });

  test('products in 16 bits: the same bits on 1, 2 or 3 threads, in vectors of 128 or 256 bits; others than in f32', async () => {
    const checkpoint = await wideCheckpoint();
    const wide = (device: WasmOptions) => runOn(device, (backend) => LlamaModel.load(checkpoint, backend), 'lora');
    const int16 = await wide({ threads: 2, products: 'int16' });
    for (const device of [{ threads: 1 }, { threads: 3 }, { threads: 2, revectorize: true }]) {
      expect(await wide({ ...device, products: 'int16' }), JSON.stringify(device)).toEqual(int16);
    }
    const f32 = await wide({ threads: 2 });
    expect(await wide({ threads: 1, revectorize: true })).toEqual(f32);
    for (const [step, loss] of f32.losses.entries()) {
      expect(int16.losses[step]).not.toBe(loss);
      expect(Math.abs(int16.losses[step] / loss - 1)).toBeLessThan(1e-3);
    }
  });

  const state: TrainState = {
    step: 12,
    tensors: new Map([
      ['adapter.a', { shape: [2, 2], values: Float32Array.of(1, -0, Number.MIN_VALUE, 1e38) }],
      ['optimizer.a.exp_avg', { shape: [3], values: Float32Array.of(0.1, 0.2, 0.3) }],
    ]),
  };

  test('come back as they were saved', async () => {
    const path = join(folder, 'checkpoints', 'step-000012');
    await saveCheckpoint(path, state, fingerprint);
    expect(await loadCheckpoint(path)).toEqual({ state, fingerprint });
    expect(await readdir(join(folder, 'checkpoints'))).toEqual(['step-000012']);
  });

  test('replace what is in their place, and what a killed process left beside it', async () => {
    const path = join(folder, 'step-000012');
    await saveCheckpoint(path, { step: 1, tensors: new Map() }, fingerprint);
    await saveCheckpoint(join(folder, '.step-000012.tmp'), { step: 2, tensors: new Map() }, fingerprint);
    await saveCheckpoint(path, state, fingerprint);
    expect((await loadCheckpoint(path)).state.step).toBe(12);
    expect(await readdir(folder)).toEqual(['step-000012']);
  });

  test('that cannot be written leave nothing behind', async () => {
    const broken: TrainState = {
      step: 1,
      tensors: new Map([['adapter.a', { shape: [5], values: new Float32Array(4) }]]),
    };
    await expect(saveCheckpoint(join(folder, 'step-000001'), broken, fingerprint)).rejects.toThrow('adapter.a');
    expect(await readdir(folder)).toEqual([]);
  });

  test('that are damaged are refused by name', async () => {
    const path = join(folder, 'step-000012');
    await saveCheckpoint(path, state, fingerprint);
    const tensors = join(path, 'state.safetensors');
    await truncate(tensors, (await readFile(tensors)).length - 1);
    await expect(loadCheckpoint(path)).rejects.toThrow(/state\.safetensors.*truncated/);
    await writeFile(join(path, 'state.json'), '{"step": -1}');
    await expect(loadCheckpoint(path)).rejects.toThrow(/state\.json: step/);
    await rm(join(path, 'state.json'));
    await expect(loadCheckpoint(path)).rejects.toThrow(/step-000012: not a whole checkpoint/);
  });
});
