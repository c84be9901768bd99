import { ChatTemplate } from '../models/tokenizer/chat.ts';
import type { EncodeOptions, Tokenizer } from '../models/tokenizer/tokenizer.ts';

/**
 * How an instruction and a text become a prompt: `alpaca` (Stanford's, the answer after one space), `alpaca-newline` (the
 * same with the answer on a line of its own), `llama2` (Meta's chat format written out), `chat` (the model's own
 * template), `none` (the text alone).
 */
export type TemplateName = 'alpaca' | 'alpaca-newline' | 'llama2' | 'chat' | 'none';
export const templateNames: readonly TemplateName[] = ['alpaca', 'alpaca-newline', 'llama2', 'chat', 'none'];

/** The instruction when none is given: the one that the reference numbers were made with. */
export const defaultInstruction =
  'Decide whether the sentiment of this movie review is positive or negative. Answer with one word.';

/** A prompt around a text, in tokens: before the text, after it, and how an answer goes on. */
export interface PromptTemplate {
  readonly name: TemplateName;
  /** Tokens before the text, BOS included where the tokenizer's convention begins with one; the same for every text. */
  readonly before: readonly number[];
  /** How the text is encoded: it goes on from `before`, or, where that has no text, it opens the sequence itself. */
  readonly text: EncodeOptions;
  readonly after: readonly number[];
  /** Between prompt and answer; belongs to the answer's first token. */
  readonly joint: '' | ' ';
  /** The token that ends an answer. */
  readonly end: number;
}

const placeholder = '\u{1F99C}text\u{1F99C}';
const alpaca = (instruction: string): string =>
  'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that ' +
  `appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${placeholder}\n\n### Response:`;

const written: Record<Exclude<TemplateName, 'chat'>, (instruction: string) => string> = {
  alpaca,
  'alpaca-newline': (instruction) => `${alpaca(instruction)}\n`,
  llama2: (instruction) => `[INST] <<SYS>>\n${instruction}\n<</SYS>>\n\n${placeholder} [/INST]`,
  none: () => placeholder,
};

function split(rendered: string): [before: string, after: string] {
  const [before, after, ...more] = rendered.split(placeholder);
  if (after === undefined || more.length > 0) throw new Error('chat template: it does not show the text exactly once');
  return [before, after];
}

/** First id of what the chat template writes after an assistant's answer. */
function endOfTurn(chat: ChatTemplate, tokenizer: Tokenizer): number | undefined {
  const messages = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: placeholder },
  ];
  const [, after] = split(chat.render(messages));
  return tokenizer.encode(after, { continuation: true })[0];
}

/**
 * A prompt's tokens, in three pieces: a cut touches the text alone and what comes before is the same for all.
 * @throws when the tokenizer has no chat template (for `chat`) or names no end token
 */
export function promptTemplate(name: TemplateName, instruction: string, tokenizer: Tokenizer): PromptTemplate {
  const chat = name === 'chat' ? new ChatTemplate(tokenizer) : undefined;
  const asked = instruction === '' ? placeholder : `${instruction}\n\n${placeholder}`;
  const rendered = chat
    ? chat.render([{ role: 'user', content: asked }], { addGenerationPrompt: true })
    : written[name as Exclude<TemplateName, 'chat'>](instruction);
  const [before, after] = split(rendered);
  const end = (chat && endOfTurn(chat, tokenizer)) ?? tokenizer.eosIds[0];
  if (end === undefined) throw new Error('the tokenizer names no end-of-sequence token to end an answer with');
  return {
    name,
    // A chat template writes BOS itself if it wants one.
    before: chat ? tokenizer.encode(before, { bos: false }) : encodeFirst(before, tokenizer),
    text: before === '' ? { bos: false } : { continuation: true },
    after: tokenizer.encode(after, { continuation: true }),
    joint: name === 'alpaca' || name === 'llama2' || name === 'none' ? ' ' : '',
    end,
  };
}

/** The first piece of a sequence: with BOS and dummy prefix by the tokenizer's convention; BOS alone when it has no text. */
function encodeFirst(text: string, tokenizer: Tokenizer): number[] {
  if (text !== '') return tokenizer.encode(text);
  return tokenizer.addsBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : [];
}
