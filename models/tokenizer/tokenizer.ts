/** How `encode` treats a text. */
export interface EncodeOptions {
  /** Put the BOS token first; default: what the tokenizer does on its own (`addsBos`), never for a continuation. */
  bos?: boolean;
  /** The text goes on in mid-sequence: no BOS, and no dummy prefix (the space SentencePiece puts before a text). */
  continuation?: boolean;
}

/** How ids become text. */
export interface DecodeOptions {
  /** Leave special tokens (BOS, EOS, <|im_end|>, …) out of the text. */
  skipSpecial?: boolean;
  /** The ids go on in mid-sequence: a leading space is text, not the dummy prefix that encoding a whole text put there. */
  continuation?: boolean;
}

/**
 * Text ↔ token ids. Special tokens written out in a text are parsed as such, as Hugging Face's tokenizers do.
 * `decode(encode(text, { bos: false }))` gives `text` back for every byte-level and byte-fallback vocabulary, if the text
 * is well-formed Unicode (a lone surrogate becomes U+FFFD).
 */
export interface Tokenizer {
  /** One more than the largest id; the model's embedding may have more rows. */
  readonly vocabSize: number;
  readonly bosId?: number;
  /** Whether `encode` puts BOS first by default. */
  readonly addsBos: boolean;
  /** Ids that end a generation; the first is the one to train on. Empty if the files name none. */
  readonly eosIds: readonly number[];
  /** Jinja source, see `ChatTemplate`. */
  readonly chatTemplate?: string;
  /**
   * What the vocabulary cannot spell becomes its unk token, or nothing if it has none (Hugging Face's rule; byte-level and
   * byte-fallback vocabularies spell everything).
   *
   * @throws if BOS is asked of a tokenizer that has none.
   */
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids without a token (padding rows of the embedding) and incomplete UTF-8 become U+FFFD. @throws RangeError if an id is no index. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** `decode` one id at a time: the concatenation of what it returns equals `decode` of all ids. */
  stream(options?: DecodeOptions): StreamDecoder;
  /** The text of one token for a reader; bytes that are no UTF-8 on their own are spelt `<0xE4>`. */
  tokenOf(id: number): string;
  /** The tokenizer files of a Hugging Face folder, by name. */
  hfFiles(): Map<string, string | Uint8Array>;
}

/** Decodes ids as they come: text is returned as soon as its UTF-8 is complete. */
export class StreamDecoder {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #dropSpace: boolean;

  /** `dropSpace`: the first character of the text, if a space, is the dummy prefix. */
  constructor(bytesOf: (id: number) => Uint8Array, dropSpace: boolean) {
    this.#bytesOf = bytesOf;
    this.#dropSpace = dropSpace;
  }

  /** The text that `id` completes, often '' inside a multi-byte character. */
  push(id: number): string {
    return this.#emit(this.#utf8.decode(this.#bytesOf(id), { stream: true }));
  }

  /** What is left at the end: U+FFFD for a character that was never completed, else ''. */
  flush(): string {
    return this.#emit(this.#utf8.decode());
  }

  #emit(text: string): string {
    if (!this.#dropSpace || text === '') return text;
    this.#dropSpace = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  }
}
