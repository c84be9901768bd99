import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { balanced, type LabelledRow, labelledRows, loadData, rangeOf } from '../../peft/data.ts';

const folder = mkdtempSync(join(tmpdir(), 'lorikeet-data-'));
afterAll(() => rmSync(folder, { recursive: true }));

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const two = [
  { kind: 'labelled', index: 0, id: 'x1', text: 'a "fine", film', label: 'good' },
  { kind: 'labelled', index: 1, id: 'x2', text: 'dull', label: 'bad' },
];
const objects = two.map(({ id, text, label }) => ({ id, text, label }));
const lines = objects.map((row) => `${JSON.stringify(row)}\n`).join('');

describe('files', () => {
  test.each<[string, string | Uint8Array]>([
    ['lines.jsonl', lines],
    ['byte-order-mark.jsonl', `\ufeff${lines}`],
    ['carriage-returns-and-empty-lines.jsonl', lines.replaceAll('\n', '\r\n\r\n')],
    ['array.json', JSON.stringify(objects, null, 2)],
    ['lines.json', lines],
    ['table.csv', 'id,text,label\nx1,"a ""fine"", film",good\nx2,dull,bad\n'],
    ['byte-order-mark.csv', '\ufefftext,id,label\r\n"a ""fine"", film",x1,good\r\ndull,x2,bad\r\n'],
    ['table.tsv', 'id\ttext\tlabel\nx1\ta "fine", film\tgood\nx2\tdull\tbad\n'],
    ['lines.jsonl.gz', gzipSync(lines)],
    ['table.csv.gz', gzipSync('id,text,label\nx1,"a ""fine"", film",good\nx2,dull,bad\n')],
  ])('%s', async (name, content) => {
    const { rows, warnings } = await loadData(written(name, content));
    expect(rows).toEqual(two);
    expect(warnings).toEqual({ invalidUtf8: 0, emptyTexts: 0 });
  });

  test('a folder of the original aclImdb', async () => {
    for (const name of ['pos', 'neg', 'unsup']) mkdirSync(join(folder, 'train', name), { recursive: true });
    written('train/pos/7_10.txt', 'Great.<br /><br />Fun.');
    written('train/pos/10_9.txt', 'Nice.');
    written('train/neg/0_2.txt', 'Dull.');
    written('train/unsup/1_0.txt', 'Unknown.');
    written('train/pos/urls.log', 'no review');
    const { rows } = await loadData(join(folder, 'train'));
    expect(rows).toEqual([
      { kind: 'labelled', index: 0, id: 'train/neg/0_2', text: 'Dull.', label: 'negative' },
      { kind: 'labelled', index: 1, id: 'train/pos/10_9', text: 'Nice.', label: 'positive' },
      { kind: 'labelled', index: 2, id: 'train/pos/7_10', text: 'Great.\n\nFun.', label: 'positive' },
    ]);
  });

  test('columns of other names; line breaks of HTML kept', async () => {
    const path = written('named.csv', 'review,stars,key\none<br/>two,5,k\n');
    const columns = { text: 'review', label: 'stars', id: 'key' };
    const row = { kind: 'labelled', index: 0, id: 'k', text: 'one<br/>two', label: '5' };
    expect((await loadData(path, { columns, htmlBreaks: 'keep' })).rows).toEqual([row]);
    expect((await loadData(path, { columns })).rows).toEqual([{ ...row, text: 'one\ntwo' }]);
  });

  test('what goes on is counted', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"text":"a'),
      Buffer.of(0xff),
      Buffer.from('"}\n{"text":""}\n{"text":"b"}'),
    ]);
    const { rows, warnings } = await loadData(written('odd.jsonl', bytes));
    expect(warnings).toEqual({ invalidUtf8: 1, emptyTexts: 1 });
    expect(rows[0]).toMatchObject({ text: 'a\ufffd' });
  });
});

describe('rows to be completed', () => {
  const content = async (row: object) => {
    const [{ index: _, ...rest }] = (await loadData(written('row.jsonl', JSON.stringify(row)))).rows;
    return rest;
  };

  test('prompt and completion, as they are', async () => {
    const row = { prompt: 'one<br />', completion: ' two' };
    expect(await content(row)).toEqual({ kind: 'completion', ...row });
  });

  // stanford_alpaca's two prompts, word by word.
  test('Alpaca’s instruction and output, with and without an input', async () => {
    const without =
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
      '### Instruction:\nCount.\n\n### Response:';
    const withInput =
      'Below is an instruction that describes a task, paired with an input that provides further context. ' +
      'Write a response that appropriately completes the request.\n\n' +
      '### Instruction:\nCount.\n\n### Input:\none\n\n### Response:';
    const row = { instruction: 'Count.', output: '1' };
    for (const input of [{}, { input: '' }]) {
      expect(await content({ ...row, ...input })).toEqual({ kind: 'completion', prompt: without, completion: ' 1' });
    }
    expect(await content({ ...row, input: 'one' })).toEqual({
      kind: 'completion',
      prompt: withInput,
      completion: ' 1',
    });
  });

  test('messages', async () => {
    const messages = [
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'two' },
    ];
    expect(await content({ messages })).toEqual({ kind: 'chat', messages });
    await expect(content({ messages: [{ role: 'user' }] })).rejects.toThrow(
      "row 1: 'messages' need a role and a content",
    );
  });

  test('rows of two kinds in one file are refused', async () => {
    const path = written('mixed.jsonl', '{"text":"a","label":"b"}\n{"prompt":"a","completion":"b"}\n');
    await expect(loadData(path)).rejects.toThrow('rows of different kinds: labelled, completion');
  });
});

describe('classes', () => {
  const rowsOf = (...labels: (string | number)[]) =>
    labels.map((label, index) => ({ kind: 'labelled' as const, index, text: `t${index}`, label }));
  const classes = (labels: (string | number)[], names?: string[]) => {
    const found = labelledRows(rowsOf(...labels), 'data', names);
    return { labels: found.labels, of: found.rows.map(({ label }) => label) };
  };

  test('are the names found, sorted, or those given, in their order', () => {
    expect(classes(['b', 'a', 'b'])).toEqual({ labels: ['a', 'b'], of: [1, 0, 1] });
    expect(classes(['b', 'a', 'b'], ['b', 'a', 'c'])).toEqual({ labels: ['b', 'a', 'c'], of: [0, 1, 0] });
  });

  test('are named for integers, also for those of a table', () => {
    expect(classes([1, 0, 1], ['no', 'yes']).of).toEqual([1, 0, 1]);
    expect(classes(['1', '0'], ['no', 'yes']).of).toEqual([1, 0]);
    for (const labels of [
      [0, 1],
      ['0', '1'],
    ])
      expect(() => classes(labels)).toThrow('labels are integers: name them in order');
    expect(() => classes([2], ['no', 'yes'])).toThrow("data, row 1: unknown label '2'; the labels are no, yes");
    // Names that are digits are names.
    expect(classes(['5', '1'], ['1', '5']).of).toEqual([1, 0]);
  });
});

describe('selection', () => {
  const rows = Array.from({ length: 40 }, (_, index): LabelledRow => ({ index, text: '', label: index < 30 ? 0 : 1 }));
  const counts = (some: LabelledRow[]) => [0, 1].map((label) => some.filter((row) => row.label === label).length);

  test('rows a:b are half open and in file order', () => {
    expect(rangeOf(rows, { from: 3, to: 6 }, 'data').map(({ index }) => index)).toEqual([3, 4, 5]);
    expect(rangeOf(rows, { from: 38, to: Number.POSITIVE_INFINITY }, 'data')).toHaveLength(2);
    expect(rangeOf(rows, undefined, 'data')).toEqual(rows);
    expect(() => rangeOf(rows, { from: 40, to: 50 }, 'data')).toThrow('rows 40:50 select none of its 40 rows');
  });

  test('a limit takes as many of each class as can be, by the seed, in file order', () => {
    const some = balanced(rows, 10, 0);
    expect(counts(some)).toEqual([5, 5]);
    expect(some.map(({ index }) => index)).toEqual(some.map(({ index }) => index).sort((a, b) => a - b));
    expect(balanced(rows, 10, 0)).toEqual(some);
    expect(balanced(rows, 10, 1)).not.toEqual(some);
    expect(counts(balanced(rows, 30, 0))).toEqual([20, 10]);
    expect(balanced(rows, 99, 0)).toEqual(rows);
  });
});
