import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FormatError } from '../../engine/file.ts';
import { openTokenizer } from '../../models/tokenizer/index.ts';
import { field } from '../support/vocabulary.ts';

const folder = mkdtempSync(join(tmpdir(), 'lorikeet-tokenizer-'));
afterAll(() => rmSync(folder, { recursive: true }));

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const piece = (text: string) => field(1, field(1, Buffer.from(text)));

describe('a file that is no tokenizer', () => {
  it.each([
    [
      'empty',
      '',
      'is no tokenizer of a known kind (tokenizer.json, SentencePiece, LLaMA-3 ranks, llama2.c): it is empty',
    ],
    ['weights', 'GGUF\u0003', 'it starts with "GGUF\\u0003"'],
    ['json', '{"model": {"type": "BPE"', 'not JSON'],
    ['list', ' {"model": 1}', 'no usable tokenizer.json: model.vocab is missing'],
    ['wide', '{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}', 'token "a" has id 4000000000'],
    [
      'wordpiece',
      '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "decoder": {"type": "WordPiece"}}',
      'decoder {"type":"WordPiece"} is not supported',
    ],
    ['ranks', 'IQ== 0\nIg== 1\nIw== 7\n', 'line 3 is "Iw== 7", expected a new token in base64 and its rank 2'],
    ['twice', 'IQ== 0\nIQ== 1\n', 'line 2 is "IQ== 1"'],
    ['llama2c', Buffer.from([5, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0]), 'piece 0 has 200 bytes (longest 5, left 0)'],
    ['long', field(1, Buffer.from([0x0a, 0x7f])), 'not a SentencePiece model: a field of 127 bytes where 0 are left'],
    ['unigram', piece('a'), 'SentencePiece model type unigram is not supported, only bpe'],
    [
      'nfkc',
      Buffer.concat([piece('a'), field(2, field(3, 2)), field(3, field(2, Buffer.from('map')))]),
      'a normalization rule other than identity is not supported',
    ],
    ['same', Buffer.concat([piece('a'), piece('a'), field(2, field(3, 2))]), 'tokens 0 and 1 are both "a"'],
  ])('%s: is refused, naming the file and what is wrong', async (name, content, message) => {
    const path = written(name, content);
    const error = await openTokenizer(path).catch((error) => error);
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toContain(path);
    expect(error.message).toContain(message);
  });

  it('refuses a folder without one', async () => {
    await expect(openTokenizer(join(import.meta.dirname, '../support'))).rejects.toThrow(/has no tokenizer/);
  });
});
