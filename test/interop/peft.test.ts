// Adapters and merged models that we write, opened by peft and transformers. Needs Python with torch, transformers, peft
// (and gguf for SmolLM2); LORIKEET_PYTHON names the interpreter, by default python3.
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Backend, createWasmBackend, Forest, noGrad, Rng, scope } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import { saveAdapter } from '../../peft/adapter.ts';
import type { Example } from '../../peft/examples.ts';
import { defaultLora } from '../../peft/lora.ts';
import { PeftModel } from '../../peft/model.ts';
import { train } from '../../peft/train.ts';
import { goldenPath, relativeError } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

const python = process.env.LORIKEET_PYTHON ?? 'python3';
const found = spawnSync(python, ['-c', 'import torch, transformers, peft'], { encoding: 'utf8' });
const missing = found.error?.message ?? (found.status === 0 ? undefined : found.stderr.trim().split('\n').at(-1));

interface Job {
  model: string;
  gguf?: string;
  adapter?: string;
  sequences: number[][];
}

/** What Python computes for the jobs. */
function logitsInPython(jobs: Job[]): number[][][] {
  const script = join(import.meta.dirname, 'logits.py');
  const run = spawnSync(python, [script], { input: JSON.stringify(jobs), encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout);
}

/** Logits of the last row of a sequence. */
async function lastLogits(peft: PeftModel, ids: number[]): Promise<ArrayLike<number>> {
  return noGrad(async () => {
    using _ = scope();
    const forest = new Forest();
    forest.add(-1, peft.virtualTokens + ids.length);
    return peft.model.logits(peft.forward({ forest, ids, outputs: [forest.rows - 1] })).data();
  });
}

const kinds = {
  LoRA: (peft: PeftModel) => peft.addLora({ ...defaultLora, r: 4 }, new Rng(1)),
  rsLoRA: (peft: PeftModel) => peft.addLora({ ...defaultLora, rslora: true, targetModules: 'all-linear' }, new Rng(2)),
  'prompt tuning': (peft: PeftModel) => peft.addPrompt({ virtualTokens: 5, init: 'random' }, new Rng(3)),
};

/** Trains a few steps on random tokens, so that the adapter changes the logits, and compares them with Python's. */
async function compare(peft: PeftModel, add: (p: PeftModel) => unknown, job: Omit<Job, 'sequences'>, folder: string) {
  await add(peft);
  const rng = new Rng(7);
  const token = (): number => rng.int(peft.model.config.vocabSize);
  const sequences = [9, 1, 23].map((length) => Array.from({ length }, token));
  const examples = sequences.map(
    (prompt, index): Example => ({ index, shared: [], prompt, answer: [token()], cut: false }),
  );
  const options = { epochs: 3, batchSize: 1, microBatch: 1, seed: 0, lr: 0.01, schedule: 'constant' } as const;
  const steps = train(peft, examples, { ...options, warmup: 0, weightDecay: 0, sharePrefix: true, recompute: false });
  for await (const { loss } of steps) expect(loss).toBeGreaterThanOrEqual(0);
  await saveAdapter(peft, folder, null);
  const [theirs, base] = logitsInPython([
    { ...job, adapter: folder, sequences },
    { ...job, sequences },
  ]);
  let error = 0;
  for (const [i, ids] of sequences.entries()) {
    expect(relativeError(base[i], theirs[i]), 'the adapter changes the logits').toBeGreaterThan(1e-2);
    error = Math.max(error, relativeError(await lastLogits(peft, ids), theirs[i]));
  }
  return error;
}

describe('peft opens our adapters', () => {
  if (missing !== undefined) {
    it.skip(`skipped: ${python} has no torch, transformers and peft (${missing})`);
    return;
  }
  let backend: Backend & { close(): void | Promise<void> };
  let folder: string;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 2 });
    folder = await mkdtemp(join(tmpdir(), 'lorikeet-interop-'));
  });
  afterAll(async () => {
    await backend.close();
    await rm(folder, { recursive: true });
  });
  const load = async (path: string): Promise<PeftModel> => {
    const checkpoint = await openCheckpoint(path);
    try {
      return new PeftModel(await LlamaModel.load(checkpoint, backend));
    } finally {
      await checkpoint.close();
    }
  };

  for (const name of ['llama2-gqa-tied', 'llama3-scaled', 'llama-odd']) {
    it.each(Object.entries(kinds))(
      `${name}: %s`,
      async (kind, add) => {
        const peft = await load(goldenPath(name));
        const error = await compare(peft, add, { model: goldenPath(name) }, join(folder, `${name}-${kind}`));
        expect(error).toBeLessThan(1e-4);
        peft.dispose();
      },
      120_000,
    );
  }

  describeWithSmolLM2('SmolLM2', (path) => {
    it.each(Object.entries(kinds))(
      '%s',
      async (kind, add) => {
        const peft = await load(path);
        const job = { model: dirname(path), gguf: basename(path) };
        expect(await compare(peft, add, job, join(folder, `smollm2-${kind}`))).toBeLessThan(1e-3);
        peft.dispose();
      },
      600_000,
    );
  });
});
