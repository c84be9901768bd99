import { expect, test } from 'vitest';
import { createReferenceBackend, memory, OutOfMemoryError } from '../../engine/index.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { LabelScorer } from '../../peft/score.ts';
import { loadGolden } from '../support/golden.ts';

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
