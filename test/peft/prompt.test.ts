import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createReferenceBackend, Rng } from '../../engine/index.ts';
import type { LlamaModel } from '../../models/llama.ts';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';
import { initialPrompt, type PromptConfig } from '../../peft/prompt.ts';
import { loadGolden } from '../support/golden.ts';
import { writeCharacterTokenizer } from '../support/tokenizer.ts';

const folder = mkdtempSync(join(tmpdir(), 'lorikeet-prompt-'));
afterAll(() => rmSync(folder, { recursive: true }));

let model: LlamaModel;
let tokenizer: Tokenizer;
/** The rows of the embedding matrix, as text. */
let vocabulary: string[];
beforeAll(async () => {
  writeCharacterTokenizer(folder, 96, { bos: true });
  tokenizer = await openTokenizer(folder);
  model = await loadGolden('llama2', createReferenceBackend());
  vocabulary = rows(await model.model.embedTokens.weight.data());
});

const C = 32;
const rows = (values: ArrayLike<number>): string[] =>
  Array.from({ length: values.length / C }, (_, i) => String(Array.from(values).slice(i * C, (i + 1) * C)));
const values = async (config: PromptConfig, seed = 0, labels?: string[]): Promise<ArrayLike<number>> =>
  (await initialPrompt(model, config, new Rng(seed), { tokenizer, labels })).promptEmbeddings.data();
/** The ids whose embeddings the virtual tokens are. */
const ids = async (config: PromptConfig, seed = 0, labels?: string[]): Promise<number[]> =>
  rows(await values(config, seed, labels)).map((row) => vocabulary.indexOf(row));

describe('virtual tokens begin', () => {
  test('random: as N(0, 1), by the seed', async () => {
    const config = { virtualTokens: 100, init: 'random' } as const;
    const drawn = Array.from(await values(config));
    // 3,200 numbers: mean and variance within 5 standard errors.
    expect(Math.abs(drawn.reduce((a, b) => a + b) / 3200)).toBeLessThan(5 / Math.sqrt(3200));
    expect(Math.abs(drawn.reduce((a, b) => a + b * b, 0) / 3200 - 1)).toBeLessThan(5 * Math.sqrt(2 / 3200));
    expect(Array.from(await values(config))).toEqual(drawn);
    expect(Array.from(await values(config, 1))).not.toEqual(drawn);
  });

  test('vocab: as embeddings of tokens drawn by the seed', async () => {
    const config = { virtualTokens: 100, init: 'vocab' } as const;
    const drawn = await ids(config);
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
    // 100 draws of 96 leave about a third out.
    expect(new Set(drawn).size).toBeGreaterThan(50);
    expect(await ids(config)).toEqual(drawn);
    expect(await ids(config, 1)).not.toEqual(drawn);
  });

  test('text: as the embeddings of its tokens, BOS too, cut or repeated', async () => {
    const [b, a, d] = tokenizer.encode('bad', { bos: false });
    const text = (virtualTokens: number) => ids({ virtualTokens, init: 'text', initText: 'bad' });
    expect(await text(3)).toEqual([1, b, a]);
    expect(await text(9)).toEqual([1, b, a, d, 1, b, a, d, 1]);
  });

  test('labels: as the embeddings of the classes’ names as they are answered, then of tokens drawn', async () => {
    const named = tokenizer.encode(' bad good', { continuation: true });
    const found = await ids({ virtualTokens: 20, init: 'labels' }, 0, ['bad', 'good']);
    expect(found.slice(0, named.length)).toEqual(named);
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0);
    expect(await ids({ virtualTokens: 3, init: 'labels' }, 0, ['bad', 'good'])).toEqual(named.slice(0, 3));
  });
});

test('an initialisation without what it needs is an error', async () => {
  const config = { virtualTokens: 2, init: 'labels' } as const;
  await expect(values(config)).rejects.toThrow("initialisation 'labels' needs the class labels");
  await expect(values({ virtualTokens: 2, init: 'text' })).rejects.toThrow("'text' needs a text");
  await expect(initialPrompt(model, config, new Rng(0))).rejects.toThrow("'labels' needs a tokenizer");
});
