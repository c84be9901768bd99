import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createReferenceBackend, memory, OutOfMemoryError } from '../../engine/index.ts';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { evaluate } from '../../peft/evaluate.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { LabelScorer } from '../../peft/score.ts';
import { Classification } from '../../peft/task.ts';
import { describeBackends } from '../support/backends.ts';
import { goldenPath, loadGolden } from '../support/golden.ts';
import { writeCharacterTokenizer } from '../support/tokenizer.ts';

const shared = [1, 7, 11];
const examples = [[5, 6], [9, 3, 4], [8]].map(
  (prompt, index): Example => ({ index, shared, prompt, answer: [], cut: false }),
);
const labels = { tokens: [[20], [21, 22]], endScored: false };

test('a pass that runs out of memory leaves no half-filled cache behind, and nothing else', async () => {
  const backend = createReferenceBackend();
  const peft = new PeftModel(await loadGolden('llama2', backend)).eval();
  const score = async (scorer: LabelScorer) => (await scorer.score(examples)).map(({ logProbs }) => logProbs);
  using whole = new LabelScorer(peft, labels, shared, 16);
  const expected = await score(whole);

  const { alloc } = backend;
  const before = memory().tensors;
  let failed = 0;
  for (let fatal = 0; failed === fatal; fatal++) {
    using scorer = new LabelScorer(peft, labels, shared, 16);
    let allocations = 0;
    backend.alloc = (bytes) => {
      if (allocations++ === fatal) throw new OutOfMemoryError(`no room for ${bytes} bytes`);
      return alloc(bytes);
    };
    await score(scorer).catch((error) => {
      if (!(error instanceof OutOfMemoryError)) throw error;
      failed++;
    });
    backend.alloc = alloc;
    expect(await score(scorer), `after allocation ${fatal} failed`).toEqual(expected);
    scorer[Symbol.dispose]();
    expect(memory().tensors, `tensors left after allocation ${fatal} failed`).toBe(before);
  }
  expect(failed).toBeGreaterThan(20);
});

test('a cache that could not be replaced by a larger one is not used again', async () => {
  const backend = createReferenceBackend();
  const peft = new PeftModel(await loadGolden('llama2', backend)).eval();
  using scorer = new LabelScorer(peft, labels, shared, 1);
  const [small] = await scorer.score([examples[2]]);
  const { alloc } = backend;
  backend.alloc = () => {
    throw new OutOfMemoryError('full');
  };
  await expect(scorer.score(examples)).rejects.toThrow('full');
  backend.alloc = alloc;
  expect(await scorer.score([examples[2]])).toEqual([small]);
});

// By torch and peft in float64: every prompt with every label as a sequence of its own, the virtual tokens before BOS, the
// log-probabilities of the label's tokens summed.
describe('scores of labels of several tokens, with a tokenizer that has a BOS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lorikeet-score-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    writeCharacterTokenizer(folder, 96, { bos: true });
    tokenizer = await openTokenizer(folder);
  });
  const rows = ['film 1 was good!!', 'a dull, long film', ''].map((text, index) => ({ index, text, label: 0 }));
  /** The first is the second's beginning, so that the end token counts. */
  const nested = ['good', 'goodness', 'bad'];

  describeBackends('are peft’s', (backendOf, kind) => {
    test.each<[adapter: string | undefined, labels: string[], scores: number[][]]>([
      [
        undefined,
        ['bad', 'good'],
        [
          [-14.7100297, -20.1923243],
          [-14.7050441, -20.1947813],
          [-14.7107311, -20.1942412],
        ],
      ],
      [
        'lora',
        ['bad', 'good'],
        [
          [-14.7754978, -20.5036007],
          [-14.7736956, -20.4932461],
          [-14.7648882, -20.4875245],
        ],
      ],
      [
        'prompt',
        ['bad', 'good'],
        [
          [-14.7124757, -20.1952431],
          [-14.7076115, -20.1975959],
          [-14.711782, -20.198058],
        ],
      ],
      [
        'prompt',
        nested,
        [
          [-25.0885777, -44.3540152, -19.6064419],
          [-25.0979834, -44.361166, -19.6089053],
          [-25.0885711, -44.3556799, -19.6018522],
        ],
      ],
    ])('adapter %s, labels %j', async (adapter, labels, scores) => {
      const peft = new PeftModel(await loadGolden('llama2', backendOf())).eval();
      if (adapter) await loadAdapter(peft, goldenPath('llama2', adapter, 'trained'));
      const task = new Classification(
        labels,
        { prompt: 'alpaca-newline', instruction: 'rate it', maxLength: 12 },
        tokenizer,
      );
      expect(task.tokens.endScored).toBe(labels === nested);
      const examples = task.examples(rows, false);
      expect(examples[0].example.shared[0]).toBe(tokenizer.bosId);
      let row = 0;
      for await (const { logProbs, predicted, tie } of evaluate(peft, examples, task.tokens)) {
        for (const [i, x] of logProbs.entries()) {
          expect(Math.abs(x - scores[row][i])).toBeLessThan(kind === 'reference' ? 1e-6 : 1e-4);
        }
        expect([predicted, tie]).toEqual([labels === nested ? 2 : 0, false]);
        row++;
      }
      expect(row).toBe(3);
      peft.dispose();
    });
  });
});

test('of equal scores the first label is taken, and the tie is told', async () => {
  const peft = new PeftModel(await loadGolden('llama2', createReferenceBackend())).eval();
  using scorer = new LabelScorer(peft, { tokens: [[20], [20]], endScored: false }, shared);
  expect(await scorer.score(examples.slice(0, 1))).toMatchObject([{ predicted: 0, tie: true }]);
});
