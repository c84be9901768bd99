// Adapters and merged models that we write, opened by peft and transformers. Needs Python with torch, transformers, peft
// (and gguf for SmolLM2); LORIKEET_PYTHON names the interpreter, by default python3.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Backend, createWasmBackend, Forest, noGrad, Rng, scope } from '../../engine/index.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import type { Tokenizer } from '../../models/tokenizer/tokenizer.ts';
import { saveAdapter } from '../../peft/adapter.ts';
import type { Example } from '../../peft/examples.ts';
import { defaultLora } from '../../peft/lora.ts';
import { saveMerged } from '../../peft/merge.ts';
import { PeftModel } from '../../peft/model.ts';
import { train } from '../../peft/train.ts';
import { goldenModels, goldenPath, relativeError } from '../support/golden.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';
import { writeCharacterTokenizer } from '../support/tokenizer.ts';

const python = process.env.LORIKEET_PYTHON ?? 'python3';
const found = spawnSync(python, ['-c', 'import torch, transformers, peft'], { encoding: 'utf8' });
const missing = found.error?.message ?? (found.status === 0 ? undefined : found.stderr.trim().split('\n').at(-1));

interface Job {
  model: string;
  gguf?: string;
  adapter?: string;
  merge?: boolean;
  sequences: number[][];
  texts?: string[];
}

interface Answer {
  /** Of the last token of each sequence. */
  logits: number[][];
  /** Of each text. */
  ids: number[][];
}

let child: ChildProcessByStdio<Writable, Readable, null>;
let answers: AsyncIterator<string>;

/** What Python computes for the jobs. One process answers all: importing torch takes longer than they do. */
async function inPython(jobs: Job[]): Promise<Answer[]> {
  child.stdin.write(`${JSON.stringify(jobs)}\n`);
  const { value, done } = await answers.next();
  if (done) throw new Error('Python has ended');
  const answer: Answer[] | { error: string } = JSON.parse(value);
  if ('error' in answer) throw new Error(answer.error);
  return answer;
}

async function tokenizerOf(path: string): Promise<Tokenizer> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await checkpoint.tokenizer();
  } finally {
    await checkpoint.close();
  }
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

/** Adds an adapter and trains it a few steps on random tokens, so that it changes the logits; gives those tokens. */
async function trainAdapter(peft: PeftModel, add: (p: PeftModel) => unknown): Promise<number[][]> {
  await add(peft);
  const rng = new Rng(7);
  const token = (): number => rng.int(peft.model.config.vocabSize);
  const sequences = [9, 1, 23].map((length) => Array.from({ length }, token));
  const examples = sequences.map(
    (prompt, index): Example => ({ index, shared: [], prompt, answer: [token()], cut: false }),
  );
  const options = { epochs: 3, batchSize: 1, lr: 0.01 };
  const steps = train(peft, examples, options);
  for await (const { loss } of steps) expect(loss).toBeGreaterThanOrEqual(0);
  return sequences;
}

type ModelFiles = Pick<Job, 'model' | 'gguf'>;

/** How far peft's logits with the adapter we write are from ours. */
async function compare(peft: PeftModel, add: (p: PeftModel) => unknown, files: ModelFiles, folder: string) {
  const sequences = await trainAdapter(peft, add);
  await saveAdapter(peft, folder, null);
  const [theirs, base] = await inPython([
    { ...files, adapter: folder, sequences },
    { ...files, sequences },
  ]);
  let error = 0;
  for (const [i, ids] of sequences.entries()) {
    expect(relativeError(base.logits[i], theirs.logits[i]), 'the adapter changes the logits').toBeGreaterThan(1e-2);
    error = Math.max(error, relativeError(await lastLogits(peft, ids), theirs.logits[i]));
  }
  return error;
}

const texts = ['The film begins slowly.', ' two  spaces,\nand a line', "it isn't <s> 1999: naïve 🎬"];

/**
 * How far the logits of the folder we merge into, opened by transformers, are from those of peft's own merge. The folder's
 * tokenizer has to give our ids.
 */
async function compareMerged(peft: PeftModel, tokenizer: Tokenizer, files: ModelFiles, folder: string) {
  const sequences = await trainAdapter(peft, kinds.rsLoRA);
  const [adapter, merged] = [join(folder, 'adapter'), join(folder, 'merged')];
  await saveAdapter(peft, adapter, null);
  await saveMerged(peft.eval(), merged, tokenizer, { dtype: 'float32' });
  const [ours, theirs, base] = await inPython([
    { model: merged, sequences, texts },
    { ...files, adapter, merge: true, sequences },
    { ...files, sequences },
  ]);
  expect(ours.ids).toEqual(texts.map((text) => tokenizer.encode(text)));
  expect(Math.max(...sequences.map((_, i) => relativeError(base.logits[i], theirs.logits[i])))).toBeGreaterThan(1e-2);
  return Math.max(...sequences.map((_, i) => relativeError(ours.logits[i], theirs.logits[i])));
}

describe('what we write, opened by peft and transformers', () => {
  if (missing !== undefined) {
    it.skip(`skipped: ${python} has no torch, transformers and peft (${missing})`);
    return;
  }
  let backend: Backend & { close(): void | Promise<void> };
  let folder: string;
  beforeAll(async () => {
    // No progress bars.
    const env = { ...process.env, TQDM_DISABLE: '1' };
    const script = join(import.meta.dirname, 'logits.py');
    child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'], env });
    answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    backend = await createWasmBackend({ threads: 2 });
    folder = await mkdtemp(join(tmpdir(), 'lorikeet-interop-'));
  });
  afterAll(async () => {
    child.stdin.end();
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

  for (const name of goldenModels) {
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

    it(`${name}: merged`, async () => {
      const own = join(folder, `${name}-own`);
      await cp(goldenPath(name), own, { recursive: true });
      const peft = await load(own);
      writeCharacterTokenizer(own, peft.model.config.vocabSize);
      const tokenizer = await tokenizerOf(own);
      expect(await compareMerged(peft, tokenizer, { model: own }, join(folder, `${name}-merged`))).toBeLessThan(1e-4);
      peft.dispose();
    }, 120_000);
  }

  describeWithSmolLM2('SmolLM2', (path) => {
    const files = { model: dirname(path), gguf: basename(path) };
    it.each(Object.entries(kinds))(
      '%s',
      async (kind, add) => {
        const peft = await load(path);
        expect(await compare(peft, add, files, join(folder, `smollm2-${kind}`))).toBeLessThan(1e-3);
        peft.dispose();
      },
      600_000,
    );

    it('merged', async () => {
      const peft = await load(path);
      const tokenizer = await tokenizerOf(path);
      expect(await compareMerged(peft, tokenizer, files, join(folder, 'smollm2-merged'))).toBeLessThan(1e-3);
      peft.dispose();
    }, 600_000);
  });
});
