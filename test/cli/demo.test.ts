// The bundled reviews keep their promises: balanced, varied, no templates, nothing of the test in the training.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { jsonLines } from '../support/cli.ts';

const read = (part: string): { text: string; label: string }[] => {
  const path = new URL(`../../cli/demo/${part}.jsonl`, import.meta.url).pathname;
  expect(readFileSync(path, 'utf8')).not.toContain('\ufffd');
  return jsonLines(path) as { text: string; label: string }[];
};
const parts = { train: read('train'), test: read('test') };
const all = Object.values(parts).flat();
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];

/** Length of the longest common subsequence of words. */
function common(a: string[], b: string[]): number {
  let above = new Uint8Array(b.length + 1);
  let row = new Uint8Array(b.length + 1);
  for (const word of a) {
    for (let j = 0; j < b.length; j++) row[j + 1] = word === b[j] ? above[j] + 1 : Math.max(above[j + 1], row[j]);
    [above, row] = [row, above];
  }
  return above[b.length];
}

describe('the bundled reviews', () => {
  it.each([
    ['train', 200],
    ['test', 100],
  ] as const)('%s: %i texts with labels, half of them positive', (part, n) => {
    for (const row of parts[part]) expect(Object.keys(row)).toEqual(['text', 'label']);
    const count = (label: string): number => parts[part].filter((row) => row.label === label).length;
    expect([count('positive'), count('negative')]).toEqual([n / 2, n / 2]);
  });

  it('are of many lengths, in both classes', () => {
    for (const label of ['positive', 'negative']) {
      const lengths = all.filter((row) => row.label === label).map(({ text }) => wordsOf(text).length);
      for (const [from, to] of [
        [1, 15],
        [16, 30],
        [31, 60],
        [61, 120],
      ]) {
        const share = lengths.filter((n) => n >= from && n <= to).length / lengths.length;
        expect(share, `${label}, ${from} to ${to} words`).toBeGreaterThan(0.05);
      }
      expect(Math.max(...lengths)).toBeLessThanOrEqual(120);
    }
  });

  it('share no frame: no six words in a row, nor most of their words in the same order', () => {
    const seen = new Map<string, string>();
    for (const { text } of all) {
      const words = wordsOf(text);
      const grams = words.slice(5).map((_, i) => words.slice(i, i + 6).join(' '));
      for (const gram of new Set(grams)) {
        expect(seen.get(gram), `'${gram}' stands in two reviews`).toBeUndefined();
        seen.set(gram, text);
      }
    }
    const long = all.map(({ text }) => ({ text, words: wordsOf(text) })).filter(({ words }) => words.length >= 8);
    const alike = long.flatMap((a, i) =>
      long
        .slice(i + 1)
        .filter((b) => common(a.words, b.words) >= 0.45 * Math.max(a.words.length, b.words.length))
        .map((b) => [a.text, b.text]),
    );
    expect(alike).toEqual([]);
  });
});
