import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenizer, type Tokenizer, tokenizerFromGguf } from '../../models/tokenizer/index.ts';
import { readSentencePiece } from '../../models/tokenizer/sentencepiece.ts';
import { describeWithData } from '../support/data.ts';

interface KnownAnswer {
  text: string;
  ids: number[];
  /** Whether `ids` begins with BOS. */
  bos: boolean;
}

function knownAnswers(folder: string, count: number): KnownAnswer[] {
  const lines = readFileSync(join(folder, 'known_answers.jsonl'), 'utf8').trimEnd().split('\n');
  expect(lines).toHaveLength(count);
  return lines.map((line) => JSON.parse(line) as KnownAnswer);
}

function expectKnownAnswers(tokenizer: Tokenizer, rows: readonly KnownAnswer[]): void {
  for (const { text, ids, bos } of rows) {
    expect(tokenizer.encode(text, { bos }), JSON.stringify(text)).toEqual(ids);
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(text);
  }
}

const folders: string[] = [];
function folderOf(files: Map<string, string | Uint8Array>): string {
  const folder = mkdtempSync(join(tmpdir(), 'lorikeet-tokenizer-'));
  folders.push(folder);
  for (const [name, content] of files) writeFileSync(join(folder, name), content);
  return folder;
}
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

// U+2581 is how SentencePiece writes a space: a text's own comes back as one.
const unicode = fc
  .oneof(
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc
      .array(fc.constantFrom(' ', '  ', '\n', 'the', 'ing', 'é', '你好', '🙂', '½', '\u0085', '\ufeff', "'ll", '12345'))
      .map((parts) => parts.join('')),
  )
  .filter((text) => !text.includes('\u2581'));

/** What holds for every tokenizer that has a token for each byte. */
function losslessProperties(tokenizer: () => Tokenizer): void {
  it('decodes what it encoded, for any Unicode text', () => {
    fc.assert(
      fc.property(unicode, (text) => {
        const ids = tokenizer().encode(text);
        expect(tokenizer().decode(ids, { skipSpecial: true })).toBe(text);
      }),
    );
  });

  it('encodes a continuation without BOS or dummy prefix', () => {
    fc.assert(
      fc.property(unicode, unicode, (first, second) => {
        const ids = [...tokenizer().encode(first), ...tokenizer().encode(second, { continuation: true })];
        // A dummy prefix stands before the first text only; before an empty one there is none to drop.
        fc.pre(first !== '');
        expect(tokenizer().decode(ids, { skipSpecial: true })).toBe(first + second);
      }),
    );
  });

  it('streams the same text as it decodes, for any ids, never half a character', () => {
    const id = fc.oneof(fc.nat(tokenizer().vocabSize - 1), fc.nat(300));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), fc.boolean(), fc.boolean(), (ids, skipSpecial, continuation) => {
        const stream = tokenizer().stream({ skipSpecial, continuation });
        const text = ids.map((id) => stream.push(id)).join('') + stream.flush();
        expect(text).toBe(tokenizer().decode(ids, { skipSpecial, continuation }));
      }),
    );
    const stream = tokenizer().stream({ continuation: true });
    const parts = tokenizer()
      .encode('🦜', { continuation: true })
      .map((id) => stream.push(id));
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.slice(0, -1).join('')).toBe('');
    expect(parts.at(-1)).toBe('🦜');
  });

  it('encodes a text of 50,000 words in well under a second', () => {
    const words = ['the', 'film', 'was', 'unwatchable,', 'yet', 'strangely', 'moving.', 'Éric', '42', '(really!)'];
    const text = Array.from({ length: 50_000 }, (_, i) => words[(i * i) % 10] + (i % 97)).join(' ');
    tokenizer().encode('warm up');
    const start = performance.now();
    const ids = tokenizer().encode(text);
    expect(performance.now() - start).toBeLessThan(3000); // about 400 ms on an idle machine
    expect(tokenizer().decode(ids, { skipSpecial: true })).toBe(text);
  });
}

describeWithData('LLaMA-2', 'data/tokenizers/llama2', (folder) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await openTokenizer(join(folder, 'tokenizer.model'));
  });
  const rows = () => knownAnswers(folder, 90);

  it('gives all known answers from tokenizer.model', () => expectKnownAnswers(tokenizer, rows()));

  it('gives all known answers from llama2.c’s tokenizer.bin', async () => {
    expectKnownAnswers(await openTokenizer(join(folder, 'tokenizer.bin')), rows());
  });

  it('gives all known answers from the files it writes for a Hugging Face folder', async () => {
    const written = await openTokenizer(folderOf(tokenizer.hfFiles()));
    expectKnownAnswers(written, rows());
    expect([written.bosId, written.addsBos, written.eosIds]).toEqual([1, true, [2]]);
  });

  it('gives all known answers from a GGUF vocabulary of the kind `llama`', () => {
    expectKnownAnswers(tokenizerFromGguf(ggufOfPieces(join(folder, 'tokenizer.model'))), rows());
  });

  it('merges as SentencePiece does: the adjacent pair with the highest score, leftmost first', () => {
    const { pieces, scores } = readSentencePiece(readFileSync(join(folder, 'tokenizer.model')), 'tokenizer.model');
    const ids = new Map(pieces.map((piece, id) => [piece, id]));
    const byDefinition = (text: string) => {
      const symbols = [...`▁${text.replaceAll(' ', '▁')}`];
      for (;;) {
        let [best, at] = [Number.NEGATIVE_INFINITY, -1];
        for (let i = 0; i + 1 < symbols.length; i++) {
          const id = ids.get(symbols[i] + symbols[i + 1]);
          if (id !== undefined && scores[id] > best) [best, at] = [scores[id], i];
        }
        if (at < 0) return symbols.flatMap((s) => ids.get(s) ?? [...Buffer.from(s)].map((byte) => byte + 3));
        symbols.splice(at, 2, symbols[at] + symbols[at + 1]);
      }
    };
    const piece = fc.integer({ min: 259, max: pieces.length - 1 }).map((id) => pieces[id].replaceAll('▁', ' '));
    const text = fc.array(fc.oneof(piece, fc.constantFrom('a', 'ab', '=', ' ', '  ', '🙂')), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(text, (parts) => {
        expect(tokenizer.encode(parts.join(''), { bos: false })).toEqual(byDefinition(parts.join('')));
      }),
      { numRuns: 1000 },
    );
  });

  it('parses special tokens written in the text, and leaves them out of decoded text if asked', () => {
    const ids = tokenizer.encode('</s><s>[INST]');
    expect(ids.slice(0, 3)).toEqual([1, 2, 1]);
    expect(tokenizer.decode(ids)).toBe('<s></s><s> [INST]');
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('[INST]');
  });

  it('drops the dummy prefix from a text, not from its continuation', () => {
    const [there] = tokenizer.encode('there', { bos: false });
    expect(tokenizer.decode([there])).toBe('there');
    expect(tokenizer.decode([there], { continuation: true })).toBe(' there');
    expect(tokenizer.encode('there', { continuation: true })).not.toContain(there);
  });

  it('spells tokens for a reader and ids without a token as U+FFFD', () => {
    expect([1, 3 + 0xe4, 13].map((id) => tokenizer.tokenOf(id))).toEqual(['<s>', '<0xE4>', '\n']);
    expect(tokenizer.decode([tokenizer.vocabSize + 5])).toBe('\ufffd');
    expect(() => tokenizer.decode([-1])).toThrow(new RangeError('-1 is not a token id'));
  });

  losslessProperties(() => tokenizer);
});

/** The metadata that a GGUF file made from a SentencePiece model holds. */
function ggufOfPieces(file: string): Record<string, unknown> {
  const { pieces, scores, types } = readSentencePiece(readFileSync(file), file);
  return {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.pre': 'default',
    'tokenizer.ggml.tokens': pieces,
    'tokenizer.ggml.scores': Float32Array.from(scores),
    'tokenizer.ggml.token_type': Int32Array.from(types),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    'tokenizer.ggml.unknown_token_id': 0,
  };
}

describeWithData('LLaMA-3', 'data/tokenizers/llama3', (folder) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await openTokenizer(join(folder, 'tokenizer.model'));
  });
  const rows = () => knownAnswers(folder, 49);

  it('gives all known answers from the rank file', () => {
    expectKnownAnswers(tokenizer, rows());
    expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosIds]).toEqual([128_256, 128_000, [128_001, 128_009]]);
  });

  it('has its special tokens where LLaMA-3 has them', () => {
    expect(tokenizer.encode('<|start_header_id|>user<|end_header_id|><|eot_id|>', { bos: false })).toEqual([
      128_006,
      ...tokenizer.encode('user', { bos: false }),
      128_007,
      128_009,
    ]);
    expect(tokenizer.tokenOf(128_255)).toBe('<|reserved_special_token_250|>');
  });

  it('gives all known answers from the files it writes, and from a GGUF vocabulary of the kind `gpt2`', async () => {
    const files = tokenizer.hfFiles();
    const written = await openTokenizer(folderOf(files));
    expectKnownAnswers(written, rows());
    expect([written.bosId, written.addsBos, written.eosIds]).toEqual([128_000, true, [128_001]]);

    const { model, added_tokens } = JSON.parse(files.get('tokenizer.json') as string);
    const tokens: string[] = [];
    for (const [token, id] of Object.entries<number>(model.vocab)) tokens[id] = token;
    const special = new Set(added_tokens.map((token: { id: number }) => token.id));
    const metadata = {
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'llama-bpe',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': tokens.map((_, id) => (special.has(id) ? 3 : 1)),
      'tokenizer.ggml.merges': model.merges.map((merge: [string, string]) => merge.join(' ')),
      'tokenizer.ggml.bos_token_id': 128_000,
      'tokenizer.ggml.eos_token_id': 128_009,
    };
    const fromGguf = tokenizerFromGguf(metadata);
    expectKnownAnswers(fromGguf, rows());
    expect([fromGguf.addsBos, fromGguf.eosIds]).toEqual([true, [128_009]]);
  });

  losslessProperties(() => tokenizer);
});

describeWithData('stories260K', 'data/models/stories260K', (folder) => {
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'));
  it.each(['tok512.bin', 'tok512.model'])('%s encodes and decodes the reference story', async (file) => {
    const tokenizer = await openTokenizer(join(folder, file));
    expect(tokenizer.vocabSize).toBe(512);
    expect(tokenizer.encode(expected.greedy_text)).toEqual(expected.greedy_ids);
    expect(tokenizer.decode(expected.greedy_ids, { skipSpecial: true })).toBe(expected.greedy_text);
  });

  it('is found in its folder, and removes extra whitespace only where the SentencePiece model says so', async () => {
    const [bin, model] = await Promise.all([openTokenizer(folder), openTokenizer(join(folder, 'tok512.model'))]);
    const text = '  once   upon ';
    expect(bin.decode(bin.encode(text), { skipSpecial: true })).toBe(text);
    expect(model.encode(text)).toEqual(model.encode('once upon'));
    expect(model.encode('   ')).toEqual([1]);
  });
});

describeWithData('TinyStories-656K', 'data/models/TinyStories-656K', (folder) => {
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'));

  it('gives the reference ids from tokenizer.json, BOS and EOS from the files beside it', async () => {
    const tokenizer = await openTokenizer(folder);
    expect([tokenizer.bosId, tokenizer.addsBos, tokenizer.eosIds]).toEqual([1, true, [2]]);
    expect(tokenizer.encode(expected.prompt)).toEqual(expected.prompt_ids);
    const options = { skipSpecial: true, continuation: true };
    expect(tokenizer.decode(expected.greedy_ids, options)).toBe(expected.greedy_text);
  });

  it('writes the files as they were read', async () => {
    const files = (await openTokenizer(folder)).hfFiles();
    expect([...files.keys()]).toEqual(['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json']);
    for (const [name, content] of files) expect(content).toEqual(readFileSync(join(folder, name)));
  });
});

describe('a byte-level tokenizer.json', () => {
  it('sees digits and white space as the Rust library does', async () => {
    // ²³ may merge, but individual_digits cuts every \p{N}; U+0085 is white space to Rust's \s, not to JavaScript's.
    const tokens = ['Â', '²', '³', 'Â²', 'Â³', 'Â²Â³', 'Ġ', 'Â\u0127', '\u0127', 'ĠÂ\u0127', 'a'];
    const json = {
      added_tokens: [],
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [{ type: 'Digits', individual_digits: true }, { type: 'ByteLevel' }],
      },
      decoder: { type: 'ByteLevel' },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: ['Â ²', 'Â ³', 'Â² Â³', 'Â \u0127', 'Ġ Â\u0127'],
      },
    };
    const tokenizer = await openTokenizer(folderOf(new Map([['tokenizer.json', JSON.stringify(json)]])));
    expect(tokenizer.encode('²³')).toEqual([3, 4]);
    expect(tokenizer.encode(' \u0085a')).toEqual([6, 7, 10]);
  });
});
