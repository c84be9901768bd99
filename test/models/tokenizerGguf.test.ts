import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { readGgufHeader } from '../../models/checkpoint/ggufHeader.ts';
import { ChatTemplate, type Tokenizer, tokenizerFromGguf } from '../../models/tokenizer/index.ts';
import { itWithData } from '../support/data.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

/** A byte-level vocabulary of three tokens and a merge. */
const small = {
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'gpt-2',
  'tokenizer.ggml.tokens': ['<|end|>', 'a', 'b', 'ab', '<tag>'],
  'tokenizer.ggml.token_type': [3, 1, 1, 1, 4],
  'tokenizer.ggml.merges': ['a b'],
  'tokenizer.ggml.eos_token_id': 0,
};

describe('a GGUF vocabulary', () => {
  it('merges by its pairs and finds control and user-defined tokens in the text', () => {
    const tokenizer = tokenizerFromGguf(small);
    expect(tokenizer.encode('aab<tag>b<|end|>')).toEqual([1, 3, 4, 2, 0]);
    expect(tokenizer.decode([1, 3, 4, 2, 0], { skipSpecial: true })).toBe('aab<tag>b');
    expect([tokenizer.bosId, tokenizer.addsBos, tokenizer.eosIds]).toEqual([undefined, false, [0]]);
  });

  it('ends at eos, eot and eom, each once', () => {
    const ends = { 'tokenizer.ggml.eot_token_id': 4, 'tokenizer.ggml.eom_token_id': 0 };
    expect(tokenizerFromGguf({ ...small, ...ends }).eosIds).toEqual([0, 4]);
  });

  it('refuses BOS where there is none', () => {
    expect(() => tokenizerFromGguf(small).encode('a', { bos: true })).toThrow(/no BOS token/);
  });

  it.each([
    [{ 'tokenizer.ggml.pre': 'grok' }, 'm.gguf: tokenizer.ggml.pre "grok" is not supported (default, gpt-2, smollm'],
    [{ 'tokenizer.ggml.pre': 'constructor' }, 'm.gguf: tokenizer.ggml.pre "constructor" is not supported'],
    [{ 'tokenizer.ggml.pre': undefined }, 'm.gguf: tokenizer.ggml.pre is missing, expected a string'],
    [{ 'tokenizer.ggml.model': 't5' }, 'm.gguf: tokenizer.ggml.model "t5" is not supported (llama, gpt2)'],
    [{ 'tokenizer.ggml.tokens': undefined }, 'm.gguf: tokenizer.ggml.tokens is missing, expected an array of strings'],
    [{ 'tokenizer.ggml.token_type': [1] }, 'm.gguf: tokenizer.ggml.token_type is an array of 1, expected 5 numbers'],
    [{ 'tokenizer.ggml.model': 'llama' }, 'm.gguf: tokenizer.ggml.scores is missing, expected 5 numbers'],
    [{ 'tokenizer.ggml.merges': ['a b', 'ab'] }, 'm.gguf: tokenizer.ggml.merges[1] is "ab", expected two tokens'],
    [{ 'tokenizer.ggml.eos_token_id': 9 }, 'm.gguf: tokenizer.ggml.eos_token_id is 9, expected an id below 5'],
    [{ 'tokenizer.ggml.tokens': ['a', 'b', 'ab', 'a', 'c'] }, 'm.gguf: tokens 0 and 3 are both "a"'],
  ])('refuses %j', (change, message) => {
    expect(() => tokenizerFromGguf({ ...small, ...change }, 'm.gguf')).toThrow(message);
  });
});

describe('a chat template', () => {
  const llama2 =
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}" +
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}" +
    "{% else %}{{ raise_exception('no role ' + m.role) }}{% endif %}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '>' }}{% endif %}";
  const tokenizer = tokenizerFromGguf({
    ...small,
    'tokenizer.ggml.bos_token_id': 4,
    'tokenizer.chat_template': llama2,
  });
  const user = { role: 'user', content: 'Hi' };

  it('is rendered with the special tokens written out', () => {
    const template = new ChatTemplate(tokenizer);
    expect(template.render([user, { role: 'assistant', content: 'Yes.' }])).toBe('<tag>[INST] Hi [/INST] Yes. <|end|>');
    expect(template.render([user], { addGenerationPrompt: true })).toBe('<tag>[INST] Hi [/INST]>');
  });

  it('reports what the template refuses, a template that does not parse, and a missing one', () => {
    const template = new ChatTemplate(tokenizer);
    expect(() => template.render([{ role: 'judge', content: '' }])).toThrow('chat template: no role judge');
    const broken = tokenizerFromGguf({ ...small, 'tokenizer.chat_template': '{% if %}' });
    expect(() => new ChatTemplate(broken)).toThrow(/^chat template: /);
    expect(() => new ChatTemplate(tokenizerFromGguf(small))).toThrow(/no chat template/);
  });
});

const golden = JSON.parse(readFileSync(new URL('../golden/smollm2/expected.json', import.meta.url), 'utf8'));

describeWithSmolLM2('SmolLM2', (path) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const file = await open(path);
    tokenizer = tokenizerFromGguf((await readGgufHeader(path, file)).metadata, path);
    await file.close();
  });

  it('encodes and decodes as transformers does', () => {
    for (const { text, ids, decoded } of golden.tokenizer) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
    expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.addsBos, tokenizer.eosIds]).toEqual([49152, 1, false, [2]]);
  });

  itWithData('cuts and joins prompts in three pieces as the reference did', 'data/imdb/train.jsonl.gz', (reviews) => {
    const lines = gunzipSync(readFileSync(reviews)).toString().trimEnd().split('\n');
    const rows = new Map(lines.map((line) => JSON.parse(line)).map((row) => [row.id, row.text as string]));
    const { before, after } = golden.prompt;
    for (const { id, tokens, ids_sum } of golden.imdb) {
      const review = (rows.get(id) as string).replaceAll('<br />', '\n');
      const ids = [
        ...tokenizer.encode(before),
        ...tokenizer.encode(review, { continuation: true }).slice(0, 128),
        ...tokenizer.encode(after, { continuation: true }),
      ];
      expect([ids.length, ids.reduce((a, b) => a + b)]).toEqual([tokens, ids_sum]);
    }
  });

  it('renders its chat template', () => {
    const chat = new ChatTemplate(tokenizer).render([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true });
    expect(chat).toMatch(
      /^<\|im_start\|>system\n.*<\|im_end\|>\n<\|im_start\|>user\nHi<\|im_end\|>\n<\|im_start\|>assistant\n$/,
    );
    expect(tokenizer.encode(chat).slice(0, 3)).toEqual([1, 9690, 198]);
  });
});
