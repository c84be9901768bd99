/** A component of a tokenizer.json: its type and the settings of that type. */
export type Component = { type: string; [setting: string]: unknown };

/** A token matched verbatim in the text, before anything else; `special` ones can be left out of decoded text. */
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  normalized: boolean;
  lstrip: boolean;
  rstrip: boolean;
  single_word: boolean;
}

/** Hugging Face's tokenizer.json without its model: what is done to a text before and after. */
export interface Frame {
  version: '1.0';
  added_tokens: AddedToken[];
  normalizer: Component | null;
  pre_tokenizer: Component | null;
  post_processor: Component | null;
  decoder: Component | null;
}

/** Does nothing to a text. */
export const emptyFrame: Readonly<Frame> = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
};

/** Token strings → bytes. */
export interface Decoder {
  bytes(token: string): Uint8Array;
  /** Whether a decoded text loses its first character if that is a space: the dummy prefix. */
  readonly dropsSpace: boolean;
}
