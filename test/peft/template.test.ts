import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChatMessage } from '../../models/tokenizer/chat.ts';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';
import type { DataRow } from '../../peft/data.ts';
import type { Example } from '../../peft/examples.ts';
import { Classification, completionExamples } from '../../peft/task.ts';
import type { TemplateName } from '../../peft/template.ts';
import { itWithData } from '../support/data.ts';
import { tokenizerFiles } from '../support/vocabulary.ts';

const folder = mkdtempSync(join(tmpdir(), 'lorikeet-template-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A SentencePiece vocabulary: BOS, and a dummy prefix before a text. Its chat template ends a turn with a token that is not EOS. */
let tokenizer: Tokenizer;
const chat_template =
  '{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}~{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';
beforeAll(async () => {
  const write = (name: string, content: Uint8Array | string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  await tokenizerFiles(write);
  write('tokenizer_config.json', JSON.stringify({ chat_template, bos_token: '<s>', eos_token: '</s>' }));
  tokenizer = await openTokenizer(join(folder, 'spm.model'));
});

const task = (prompt: TemplateName, maxLength = 256): Classification =>
  new Classification(['bad', 'not bad'], { prompt, instruction: 'Rate it.', maxLength }, tokenizer);
const parts = ({ shared, prompt, answer }: Example) => ({ ids: [...shared, ...prompt], answer });
const text = 'the film was a waste of time';
const labelled = (prompt: TemplateName, row = text, maxLength?: number): Example =>
  task(prompt, maxLength).examples([{ index: 0, text: row, label: 1 }], true)[0].example;

// stanford_alpaca's prompt and Meta's chat format, word by word.
const alpaca =
  'Below is an instruction that describes a task, paired with an input that provides further context. ' +
  `Write a response that appropriately completes the request.\n\n### Instruction:\nRate it.\n\n### Input:\n${text}\n\n### Response:`;
describe.each<[TemplateName, written: string, answer: string, end: string]>([
  ['alpaca', alpaca, ' not bad', '</s>'],
  ['alpaca-newline', `${alpaca}\n`, 'not bad', '</s>'],
  ['llama2', `[INST] <<SYS>>\nRate it.\n<</SYS>>\n\n${text} [/INST]`, ' not bad', '</s>'],
  ['chat', `[user]Rate it.\n\n${text}~[assistant]`, 'not bad', '~'],
  ['none', text, ' not bad', '</s>'],
])('prompt %s', (name, written, answer, end) => {
  test('is these words, one BOS before them, and the answer with its end', () => {
    const { ids, answer: trained } = parts(labelled(name));
    expect(ids.filter((id) => id === tokenizer.bosId)).toEqual([1]);
    expect(ids[0]).toBe(1);
    expect(tokenizer.decode(ids.slice(1))).toBe(written);
    expect(tokenizer.decode(trained.slice(0, -1), { continuation: true })).toBe(answer);
    expect(tokenizer.tokenOf(trained.at(-1) as number)).toBe(end);
    expect(task(name).tokens.tokens[1]).toEqual(trained.slice(0, -1));
  });

  test('a cut takes the end of the text alone, and every text begins alike', () => {
    const whole = labelled(name);
    const cut = labelled(name, text, 3);
    const after = labelled(name, '').prompt;
    expect(cut).toMatchObject({ cut: true, shared: whole.shared, answer: whole.answer });
    expect(cut.prompt).toEqual([...whole.prompt.slice(0, 3), ...after]);
    expect(labelled(name, 'a film').shared).toEqual(whole.shared);
    expect(whole.cut).toBe(false);
  });

  test('without an answer in evaluation', () => {
    const [{ example, label }] = task(name).examples([{ index: 3, text, label: 1 }], false);
    expect(label).toBe(1);
    expect(example).toEqual({ ...labelled(name), index: 3, answer: [] });
  });
});

describe('completions', () => {
  const completed = (prompt: string, completion: string, maxLength = 256): Example => {
    const row: DataRow = { kind: 'completion', index: 5, prompt, completion };
    return completionExamples([row], tokenizer, maxLength)[0];
  };

  test('go on from their prompt, without a dummy prefix, and end', () => {
    const { prompt, answer, index } = completed('the film', ' was bad');
    expect([index, prompt]).toEqual([5, tokenizer.encode('the film')]);
    expect(prompt[0]).toBe(tokenizer.bosId);
    expect(answer).toEqual([...tokenizer.encode(' was bad', { continuation: true }), 2]);
    expect(tokenizer.decode([...prompt.slice(1), ...answer.slice(0, -1)])).toBe('the film was bad');
    expect(completed('the film', ' was bad', 2)).toMatchObject({ prompt: prompt.slice(0, 2), cut: true, answer });
  });

  const user: ChatMessage = { role: 'user', content: 'the film' };
  const conversation = (messages: ChatMessage[], maxLength = 256): Example =>
    completionExamples([{ kind: 'chat', index: 0, messages }], tokenizer, maxLength)[0];

  test('of a conversation: its last answer and the end of its turn; what opens the turn is never cut off', () => {
    const { prompt, answer } = conversation([user, { role: 'assistant', content: 'bad' }]);
    expect(tokenizer.decode(prompt.slice(1))).toBe('[user]the film~[assistant]');
    expect(prompt.filter((id) => id === tokenizer.bosId)).toEqual([1]);
    expect(tokenizer.decode(answer, { continuation: true })).toBe('bad~');
    const cut = conversation([user, { role: 'assistant', content: 'bad' }], 4);
    expect(tokenizer.decode(cut.prompt.slice(4), { continuation: true })).toBe('[assistant]');
    expect(cut).toMatchObject({ cut: true, answer });
  });

  test('what all prompts begin with is shared, down to their last token', () => {
    const about = (content: string): ChatMessage[] => [
      { role: 'system', content: 'Rate it.' },
      { role: 'user', content },
      { role: 'assistant', content: 'bad' },
    ];
    const contents = ['the film', 'a waste of time', 'the waste of time'];
    const alone = contents.map((content) => conversation(about(content)));
    const together = completionExamples(
      contents.map((content, index) => ({ kind: 'chat', index, messages: about(content) })),
      tokenizer,
      256,
    );
    expect(together.map(parts)).toEqual(alone.map(parts));
    const [{ shared }] = together;
    expect(tokenizer.decode(shared.slice(1))).toBe('[system]Rate it.~[user]');
    for (const example of together) expect(example.shared).toBe(shared);
    const completions = (...prompts: string[]) =>
      completionExamples(
        prompts.map((prompt, index) => ({ kind: 'completion', index, prompt, completion: ' bad' })),
        tokenizer,
        256,
      );
    const [same] = completions('the film', 'the film');
    expect([...same.shared, ...same.prompt]).toEqual(tokenizer.encode('the film'));
    expect(same.prompt).toHaveLength(1);
    expect(completions('', 'the film').map((example) => example.shared)).toEqual([[], []]);
    expect(completions()).toEqual([]);
  });

  test.each<[ChatMessage[]]>([[[]], [[user]], [[{ role: 'assistant', content: 'x' }]]])('%j is refused', (messages) => {
    expect(() => conversation(messages)).toThrow("a conversation has to end with an assistant's answer to something");
  });
});

itWithData(
  'prompt none: a text that opens the sequence is encoded as the whole of it',
  'data/models/stories260K',
  async (path) => {
    const stories = await openTokenizer(join(path, 'tok512.model'));
    const none = new Classification([], { prompt: 'none', instruction: '', maxLength: 256 }, stories);
    const prompt = (text: string): number[] => parts(none.prompt(text)).ids;
    const { greedy_ids: ids } = JSON.parse(readFileSync(join(path, 'expected.json'), 'utf8'));
    expect(prompt('Once upon a time')).toEqual(ids.slice(0, 5));
    expect(prompt('')).toEqual(stories.encode(''));
  },
);
