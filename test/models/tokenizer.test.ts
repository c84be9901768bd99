import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';
import { describeWithData } from '../support/data.ts';

interface KnownAnswer {
  source: string;
  text: string;
  ids: number[];
  /** Whether `ids` begins with BOS. */
  bos: boolean;
}

function knownAnswers(folder: string): KnownAnswer[] {
  const lines = readFileSync(join(folder, 'known_answers.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as KnownAnswer);
}

function expectKnownAnswers(tokenizer: Tokenizer, rows: readonly KnownAnswer[]): void {
  for (const { text, ids, bos } of rows) {
    expect(tokenizer.encode(text, { bos }), JSON.stringify(text)).toEqual(ids);
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(text);
  }
}

describeWithData('LLaMA-2 tokenizers', 'data/tokenizers/llama2', (folder) => {
  for (const file of ['tokenizer.model', 'tokenizer.bin']) {
    it(`${file} gives all 90 known answers`, async () => {
      const rows = knownAnswers(folder);
      expect(rows).toHaveLength(90);
      expectKnownAnswers(await openTokenizer(join(folder, file)), rows);
    });
  }
});

describeWithData('LLaMA-3 ranks', 'data/tokenizers/llama3', (folder) => {
  it('give all 49 known answers', async () => {
    const rows = knownAnswers(folder);
    expect(rows).toHaveLength(49);
    expectKnownAnswers(await openTokenizer(join(folder, 'tokenizer.model')), rows);
  });
});
