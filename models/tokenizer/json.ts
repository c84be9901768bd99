import type { Tokenizer as Engine } from '@huggingface/tokenizers';
import { compile } from './engine.ts';
import type { AddedToken, Decoder, TokenizerJson } from './schema.ts';
import { type DecodeOptions, type EncodeOptions, StreamDecoder, type Tokenizer } from './tokenizer.ts';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a `JsonTokenizer` is made of; every format is read into this. */
export interface Vocabulary {
  /** Token strings by id, spelt as in tokenizer.json. */
  readonly tokens: readonly (string | undefined)[];
  readonly added: readonly AddedToken[];
  readonly decoder: Decoder;
  readonly bosId?: number;
  readonly addsBos: boolean;
  readonly eosIds: readonly number[];
  readonly chatTemplate?: string;
  /** Called when it is first needed: finding a vocabulary's merges costs more than reading it. */
  json(): TokenizerJson;
  /** The folder's own files, if the tokenizer was read from a tokenizer.json. */
  files?(): Map<string, string | Uint8Array>;
}

/** What the files beside a vocabulary may say about it. */
export interface Companions {
  readonly bosToken?: string;
  readonly bosId?: number;
  readonly addsBos?: boolean;
  readonly eosToken?: string;
  readonly eosIds?: readonly number[];
  readonly chatTemplate?: string;
}

/** The ids that end a text: the EOS token by name, then the EOS ids by number; `own` if the companions name none. */
export function endIds(
  { eosToken, eosIds = [] }: Companions,
  idOf: (token: string) => number | undefined,
  own: readonly number[],
): number[] {
  const named = eosToken === undefined ? undefined : idOf(eosToken);
  const ids = named === undefined ? eosIds : [named, ...eosIds];
  return [...new Set(ids.length > 0 ? ids : own)];
}

/**
 * A tokenizer.json run by Hugging Face's own engine. Every other format is turned into one, so that a text is encoded in one
 * way only and every tokenizer can be written into a Hugging Face folder.
 */
export class JsonTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly addsBos: boolean;
  readonly eosIds: readonly number[];
  readonly chatTemplate?: string;
  readonly #vocabulary: Vocabulary;
  readonly #added: ReadonlyMap<number, AddedToken>;
  #built?: TokenizerJson;
  #whole?: Engine;
  #continued?: Engine;

  constructor(vocabulary: Vocabulary, engine?: Engine) {
    this.#vocabulary = vocabulary;
    this.#whole = engine;
    this.#added = new Map(vocabulary.added.map((token) => [token.id, token]));
    this.vocabSize = vocabulary.tokens.length;
    this.bosId = vocabulary.bosId;
    this.addsBos = vocabulary.addsBos && vocabulary.bosId !== undefined;
    this.eosIds = vocabulary.eosIds;
    this.chatTemplate = vocabulary.chatTemplate;
  }

  encode(text: string, { continuation = false, bos = this.addsBos && !continuation }: EncodeOptions = {}): number[] {
    const ids = this.#engine(continuation).encode(text, { add_special_tokens: false }).ids;
    if ((ids as (number | undefined)[]).includes(undefined)) {
      throw new Error(
        `no token for a part of ${JSON.stringify(text.slice(0, 40))}: the unk token is not in the vocabulary`,
      );
    }
    if (!bos) return ids;
    if (this.bosId === undefined) throw new Error('BOS was asked for, but this tokenizer has no BOS token');
    return [this.bosId, ...ids];
  }

  decode(ids: Iterable<number>, options?: DecodeOptions): string {
    const stream = this.stream(options);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  stream({ skipSpecial = false, continuation = false }: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder(
      (id) => this.#bytesOf(id, skipSpecial),
      this.#vocabulary.decoder.dropsSpace && !continuation,
    );
  }

  tokenOf(id: number): string {
    const bytes = this.#bytesOf(id, false);
    try {
      return strictUtf8.decode(bytes);
    } catch {
      return [...bytes].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`).join('');
    }
  }

  hfFiles(): Map<string, string | Uint8Array> {
    const { files } = this.#vocabulary;
    if (files) return files();
    const text = (id: number | undefined) => (id === undefined ? undefined : this.#vocabulary.tokens[id]);
    const config = {
      // The class that takes tokenizer.json as it stands; LlamaTokenizer builds a normalizer of its own.
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: text(this.bosId),
      eos_token: text(this.eosIds[0]),
      clean_up_tokenization_spaces: false,
      chat_template: this.chatTemplate,
    };
    return new Map([
      ['tokenizer.json', JSON.stringify(this.#json())],
      ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
    ]);
  }

  #engine(continuation: boolean): Engine {
    this.#whole ??= compile(this.#json());
    if (!continuation) return this.#whole;
    this.#continued ??= compile(this.#json(), this.#whole);
    return this.#continued;
  }

  #json(): TokenizerJson {
    this.#built ??= this.#vocabulary.json();
    return this.#built;
  }

  #bytesOf(id: number, skipSpecial: boolean): Uint8Array {
    if (!Number.isInteger(id) || id < 0) throw new RangeError(`${id} is not a token id`);
    const added = this.#added.get(id);
    if (added) return skipSpecial && added.special ? new Uint8Array() : new TextEncoder().encode(added.content);
    const token = this.#vocabulary.tokens[id];
    return token === undefined ? new TextEncoder().encode('\ufffd') : this.#vocabulary.decoder.bytes(token);
  }
}
