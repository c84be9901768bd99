import { Template } from '@huggingface/jinja';
import type { Tokenizer } from './tokenizer.ts';

export interface ChatMessage {
  role: string;
  content: string;
}

/** A model's chat template, parsed once. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: { bos_token: string; eos_token: string };

  /** @throws if the tokenizer has no chat template, or it does not parse. */
  constructor(tokenizer: Tokenizer) {
    if (tokenizer.chatTemplate === undefined) {
      throw new Error(
        'this model has no chat template (none in tokenizer_config.json, chat_template.jinja or tokenizer.chat_template)',
      );
    }
    this.#template = attempt(() => new Template(tokenizer.chatTemplate as string));
    const text = (id: number | undefined) => (id === undefined ? '' : tokenizer.tokenOf(id));
    this.#tokens = { bos_token: text(tokenizer.bosId), eos_token: text(tokenizer.eosIds[0]) };
  }

  /**
   * The conversation as one text, special tokens written out: encode it with `{ bos: false }`, for a template that wants
   * BOS writes it itself. `addGenerationPrompt` opens the assistant's turn at the end.
   *
   * @throws what the template itself refuses (a role out of turn, say).
   */
  render(messages: readonly ChatMessage[], { addGenerationPrompt = false } = {}): string {
    return attempt(() =>
      this.#template.render({
        messages: [...messages],
        add_generation_prompt: addGenerationPrompt,
        tools: null,
        documents: null,
        ...this.#tokens,
      }),
    );
  }
}

function attempt<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw new Error(`chat template: ${(error as Error).message}`, { cause: error });
  }
}
