import type { Tokenizer as Engine } from '@huggingface/tokenizers';
import { compile, type Model } from './engine.ts';
import type { AddedToken, Decoder, Frame } from './schema.ts';
import { type DecodeOptions, type EncodeOptions, StreamDecoder, type Tokenizer } from './tokenizer.ts';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a `JsonTokenizer` is made of; every format is read into this. */
export interface Vocabulary {
  readonly frame: Frame;
  /** Its `vocab` are the token strings by id, added ones too. */
  readonly model: Model;
  readonly decoder: Decoder;
  readonly bosId?: number;
  readonly addsBos: boolean;
  readonly eosIds: readonly number[];
  readonly chatTemplate?: string;
  /** The tokenizer files of a Hugging Face folder, by name. */
  files(): Map<string, string | Uint8Array>;
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
  #whole?: Engine;
  #continued?: Engine;

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#added = new Map(vocabulary.frame.added_tokens.map((token) => [token.id, token]));
    this.vocabSize = vocabulary.model.vocab.length;
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
    return this.#vocabulary.files();
  }

  /** Compiled when it is first needed. */
  #engine(continuation: boolean): Engine {
    const { frame, model } = this.#vocabulary;
    if (continuation) this.#continued ??= compile(frame, model, { continuation });
    else this.#whole ??= compile(frame, model, { continuation });
    return (continuation ? this.#continued : this.#whole) as Engine;
  }

  #bytesOf(id: number, skipSpecial: boolean): Uint8Array {
    if (!Number.isInteger(id) || id < 0) throw new RangeError(`${id} is not a token id`);
    const added = this.#added.get(id);
    if (added) return skipSpecial && added.special ? new Uint8Array() : new TextEncoder().encode(added.content);
    const token = this.#vocabulary.model.vocab[id] as string | undefined;
    return token === undefined ? new TextEncoder().encode('\ufffd') : this.#vocabulary.decoder.bytes(token);
  }
}
