import { bosTemplate, writeHfFiles } from './build.ts';
import { bytePairModel } from './engine.ts';
import { JsonTokenizer, type Vocabulary } from './json.ts';
import type { Merges } from './merges.ts';
import { BYTE_LEVEL, isolate, type PreTokenizer } from './pretokenizers.ts';
import type { AddedToken, Decoder, Frame } from './schema.ts';

/**
 * GPT-2's byte alphabet: every byte as one printable character, so that a byte sequence can be written as a string.
 * Printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up in byte order.
 */
const CHARACTERS: readonly number[] = (() => {
  let next = 0x100;
  const printable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => (printable(byte) ? byte : next++));
})();
const BYTES = new Map(CHARACTERS.map((code, byte) => [String.fromCharCode(code), byte]));

/** Bytes as a string of the byte alphabet. */
export const byteLevelToken = (bytes: Uint8Array): string =>
  String.fromCharCode(...Array.from(bytes, (byte) => CHARACTERS[byte]));

/** Reads tokens of the byte alphabet. */
export const byteLevelDecoder: Decoder = {
  dropsSpace: false,
  bytes: (token) =>
    Uint8Array.from(
      [...token].flatMap((character) => BYTES.get(character) ?? [...new TextEncoder().encode(character)]),
    ),
};

/** What a byte-level BPE tokenizer is made of. */
export interface ByteLevelParts extends Pick<Vocabulary, 'bosId' | 'addsBos' | 'eosIds' | 'chatTemplate'> {
  /** Strings of the byte alphabet by id; added tokens as they are. */
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  readonly added: AddedToken[];
  readonly pre: PreTokenizer;
  readonly merges: Merges;
}

/** The tokenizer of a byte-level BPE vocabulary. */
export function byteLevelTokenizer({ tokens, ids, added, pre, merges, ...parts }: ByteLevelParts): JsonTokenizer {
  const { addsBos, bosId } = parts;
  const frame: Frame = {
    version: '1.0',
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [...pre.patterns.map(isolate), BYTE_LEVEL] },
    post_processor: addsBos && bosId !== undefined ? bosTemplate(bosId, tokens[bosId]) : null,
    decoder: { ...BYTE_LEVEL },
  };
  const pairs = { settings: { ignore_merges: pre.ignoreMerges ?? false }, tokens, ids, merges };
  const files = () => writeHfFiles(frame, pairs, parts);
  return new JsonTokenizer({ ...parts, frame, model: bytePairModel(pairs), decoder: byteLevelDecoder, files });
}
