import type { ChatMessage } from '../models/tokenizer/chat.ts';
import { ChatTemplate } from '../models/tokenizer/chat.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { DataRow, LabelledRow } from './data.ts';
import { type Example, encodeAnswer, encodeText, labelledExample } from './examples.ts';
import { type LabelTokens, labelTokens } from './score.ts';
import { type PromptTemplate, promptTemplate, type TemplateName } from './template.ts';

/** How a text is put to the model. */
export interface TaskOptions {
  prompt: TemplateName;
  instruction: string;
  /** Tokens of a text that are used. */
  maxLength: number;
}

/** An example with its class. */
export interface Labelled {
  example: Example;
  label: number;
}

/** Classification by prompt: texts become prompts, classes become answers. */
export class Classification {
  readonly labels: readonly string[];
  readonly tokens: LabelTokens;
  readonly template: PromptTemplate;
  readonly #tokenizer: Tokenizer;
  readonly #maxLength: number;

  /** @throws when two labels are the same tokens, or the tokenizer cannot make this prompt */
  constructor(labels: readonly string[], { prompt, instruction, maxLength }: TaskOptions, tokenizer: Tokenizer) {
    this.labels = labels;
    this.template = promptTemplate(prompt, instruction, tokenizer);
    this.#tokenizer = tokenizer;
    this.#maxLength = maxLength;
    const answers = labels.map((label) => encodeAnswer(label, this.template, tokenizer));
    this.tokens = labelTokens(labels, answers, this.template.end);
  }

  /** @param answered with the class's name as the answer to learn */
  examples(rows: readonly LabelledRow[], answered: boolean): Labelled[] {
    return rows.map(({ index, text, label }) => {
      const answer = answered ? this.labels[label] : undefined;
      return {
        label,
        example: labelledExample({ index, text, answer }, this.template, this.#tokenizer, this.#maxLength),
      };
    });
  }

  /** A text in its prompt: an answer goes on from `shared` and `prompt`. */
  prompt(text: string): Example {
    return labelledExample({ index: 0, text }, this.template, this.#tokenizer, this.#maxLength);
  }
}

/**
 * Moves the tokens that all prompts begin with, a system's message for instance, to `shared`. Of each prompt one token stays at
 * least: the one that predicts the answer's first.
 */
function withShared(examples: readonly Example[]): Example[] {
  const shared: number[] = [];
  const shortest = examples.reduce((least, { prompt }) => Math.min(least, prompt.length), Infinity);
  const most = examples.length > 1 ? shortest - 1 : 0;
  for (let i = 0; i < most; i++) {
    const token = examples[0].prompt[i];
    if (!examples.every(({ prompt }) => prompt[i] === token)) break;
    shared.push(token);
  }
  return examples.map((example) => ({ ...example, shared, prompt: example.prompt.slice(shared.length) }));
}

/**
 * Prompts with completions, and conversations, whose last answer is what is trained. The first `maxLength` tokens of the
 * prompt are used; what opens the answer's turn is never cut off.
 * @throws when a conversation does not end with an answer, or the tokenizer has no chat template or no end token
 */
export function completionExamples(rows: readonly DataRow[], tokenizer: Tokenizer, maxLength: number): Example[] {
  const chat = rows.some((row) => row.kind === 'chat') ? new ChatTemplate(tokenizer) : undefined;
  const [eos] = tokenizer.eosIds;
  const examples = rows.map((row): Example => {
    if (row.kind === 'chat') return chatExample(row.index, row.messages, chat as ChatTemplate, tokenizer, maxLength);
    if (row.kind === 'labelled') throw new Error(`example ${row.index}: expected a prompt with a completion`);
    if (eos === undefined) throw new Error('the tokenizer names no end-of-sequence token to end an answer with');
    const ids = tokenizer.encode(row.prompt);
    const answer = [...tokenizer.encode(row.completion, { continuation: true }), eos];
    return { index: row.index, shared: [], prompt: ids.slice(0, maxLength), answer, cut: ids.length > maxLength };
  });
  return withShared(examples);
}

function chatExample(
  index: number,
  messages: readonly ChatMessage[],
  chat: ChatTemplate,
  tokenizer: Tokenizer,
  maxLength: number,
): Example {
  const before = messages.slice(0, -1);
  if (messages.at(-1)?.role !== 'assistant' || before.length === 0) {
    throw new Error(`example ${index}: a conversation has to end with an assistant's answer to something`);
  }
  const asked = chat.render(before);
  const opened = chat.render(before, { addGenerationPrompt: true });
  const whole = chat.render(messages);
  if (!opened.startsWith(asked) || !whole.startsWith(opened)) {
    throw new Error(`example ${index}: the chat template does not write an answer after the prompt it generates from`);
  }
  // A chat template writes BOS itself if it wants one.
  const head = tokenizer.encode(asked, { bos: false });
  const turn = tokenizer.encode(opened.slice(asked.length), { continuation: true });
  const { ids: answer } = encodeText(whole.slice(opened.length).trimEnd(), tokenizer, Number.POSITIVE_INFINITY);
  return { index, shared: [], prompt: [...head.slice(0, maxLength), ...turn], answer, cut: head.length > maxLength };
}
