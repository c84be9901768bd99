import { inspect } from 'node:util';
import { FormatError } from '../../engine/file.ts';
import { addedToken, uniqueIds } from './build.ts';
import { byteLevelTokenizer } from './bytelevel.ts';
import { ListedMerges } from './merges.ts';
import { PRE_TOKENIZERS } from './pretokenizers.ts';
import { PIECE, pieceTokenizer } from './sentencepiece.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * The tokenizer inside a GGUF file.
 *
 * @param metadata the file's keys and values, arrays as arrays (or typed arrays)
 * @throws naming `source` and the key: missing, of the wrong type or length, or a vocabulary that is not supported.
 */
export function tokenizerFromGguf(metadata: Readonly<Record<string, unknown>>, source = 'GGUF'): Tokenizer {
  const read = new Metadata(metadata, source);
  const model = read.string('model');
  if (model !== 'llama' && model !== 'gpt2') {
    throw new FormatError(`${source}: tokenizer.ggml.model ${JSON.stringify(model)} is not supported (llama, gpt2)`);
  }
  const tokens = read.strings('tokens');
  const ids = uniqueIds(tokens, source);
  const types = read.numbers('token_type', ids.size);
  const bosId = read.id('bos_token_id', ids.size);
  const ends = ['eos_token_id', 'eot_token_id', 'eom_token_id'].map((key) => read.id(key, ids.size));
  const eosIds = [...new Set(ends.filter((id) => id !== undefined))];
  const template = metadata['tokenizer.chat_template'];
  const chatTemplate = typeof template === 'string' ? template : undefined;

  if (model === 'llama') {
    const pieces = {
      pieces: tokens,
      scores: read.numbers('scores', ids.size),
      types,
      bosId,
      unkId: read.id('unknown_token_id', ids.size),
      byteFallback: true,
      addDummyPrefix: read.flag('add_space_prefix') ?? true,
      removeExtraWhitespaces: read.flag('remove_extra_whitespaces') ?? false,
      escapeWhitespaces: true,
    };
    return pieceTokenizer(pieces, source, { addsBos: read.flag('add_bos_token') ?? true, eosIds, chatTemplate });
  }
  const name = read.string('pre');
  const pre = Object.hasOwn(PRE_TOKENIZERS, name) ? PRE_TOKENIZERS[name] : undefined;
  if (!pre) {
    const known = Object.keys(PRE_TOKENIZERS).join(', ');
    throw new FormatError(`${source}: tokenizer.ggml.pre ${JSON.stringify(name)} is not supported (${known})`);
  }
  const isEnd = (id: number) => id === bosId || eosIds.includes(id);
  return byteLevelTokenizer({
    tokens,
    ids,
    added: tokens.flatMap((token, id) => {
      const special = isEnd(id) || types[id] === PIECE.control || types[id] === PIECE.unknown;
      return special || types[id] === PIECE.userDefined ? [addedToken(id, token, special)] : [];
    }),
    pre,
    merges: new ListedMerges(tokens, ids, read.strings('merges'), `${source}: tokenizer.ggml.`),
    bosId,
    addsBos: read.flag('add_bos_token') ?? pre.addsBos ?? false,
    eosIds,
    chatTemplate,
  });
}

/** Typed access to the `tokenizer.ggml.*` keys. */
class Metadata {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #source: string;

  constructor(values: Readonly<Record<string, unknown>>, source: string) {
    this.#values = values;
    this.#source = source;
  }

  string(key: string): string {
    const value = this.#get(key);
    return typeof value === 'string' ? value : this.#refuse(key, 'a string');
  }

  flag(key: string): boolean | undefined {
    const value = this.#get(key);
    return value === undefined || typeof value === 'boolean' ? value : this.#refuse(key, 'true or false');
  }

  id(key: string, vocabSize: number): number | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const id = Number(value);
    return Number.isInteger(id) && id >= 0 && id < vocabSize ? id : this.#refuse(key, `an id below ${vocabSize}`);
  }

  strings(key: string): string[] {
    const value = this.#get(key);
    const isStrings = Array.isArray(value) && value.every((entry) => typeof entry === 'string');
    return isStrings ? value : this.#refuse(key, 'an array of strings');
  }

  /** A number for each token. */
  numbers(key: string, vocabSize: number): number[] {
    const value = this.#get(key);
    const isList = Array.isArray(value) || ArrayBuffer.isView(value);
    const numbers = isList ? Array.from(value as unknown as ArrayLike<unknown>, Number) : [];
    return numbers.length === vocabSize && !numbers.some(Number.isNaN)
      ? numbers
      : this.#refuse(key, `${vocabSize} numbers, one a token`);
  }

  #get(key: string): unknown {
    return this.#values[`tokenizer.ggml.${key}`];
  }

  #refuse(key: string, expected: string): never {
    const value = this.#get(key);
    const length = typeof value === 'object' ? (value as { length?: number } | null)?.length : undefined;
    const found = length !== undefined ? `an array of ${length}` : value === undefined ? 'missing' : inspect(value);
    throw new FormatError(`${this.#source}: tokenizer.ggml.${key} is ${found}, expected ${expected}`);
  }
}
