import { FormatError } from '../../engine/file.ts';
import { addedToken, bosTemplate, uniqueIds, writeHfFiles } from './build.ts';
import { pieceDecoder } from './decoder.ts';
import { bytePairModel } from './engine.ts';
import { type Companions, endIds, JsonTokenizer } from './json.ts';
import { CutMerges } from './merges.ts';
import { Fields } from './protobuf.ts';
import type { Component, Frame } from './schema.ts';

/** SentencePiece's piece types, also those of `tokenizer.ggml.token_type`. */
export const PIECE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A SentencePiece BPE vocabulary, whatever file it came from. */
export interface Pieces {
  readonly pieces: readonly string[];
  readonly scores: ArrayLike<number>;
  readonly types: ArrayLike<number>;
  readonly unkId?: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly byteFallback: boolean;
  readonly addDummyPrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
  readonly escapeWhitespaces: boolean;
}

/**
 * SentencePiece merges the adjacent pair whose piece has the highest score; as BPE merges these are all cuts of all pieces by
 * score (Hugging Face's conversion of LLaMA, exact on all known answers).
 *
 * @throws if a piece is there twice.
 */
export function pieceTokenizer(vocabulary: Pieces, source: string, companions: Companions = {}): JsonTokenizer {
  const { pieces, types, bosId, eosId, unkId, addDummyPrefix } = vocabulary;
  const ids = uniqueIds(pieces, source);
  const special = (id: number) =>
    [bosId, eosId, unkId].includes(id) || types[id] === PIECE.control || types[id] === PIECE.unknown;
  const added = pieces.flatMap((piece, id) =>
    special(id) || types[id] === PIECE.userDefined ? [addedToken(id, piece, special(id))] : [],
  );
  const addsBos = companions.addsBos ?? true;
  const frame: Frame = {
    version: '1.0',
    added_tokens: added,
    normalizer: { type: 'Sequence', normalizers: normalizers(vocabulary) },
    pre_tokenizer: null,
    post_processor: addsBos && bosId !== undefined ? bosTemplate(bosId, pieces[bosId]) : null,
    decoder: {
      type: 'Sequence',
      decoders: [
        replace({ String: '\u2581' }, ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addDummyPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
  };
  const settings = {
    unk_token: unkId === undefined ? null : pieces[unkId],
    fuse_unk: true,
    byte_fallback: vocabulary.byteFallback,
  };
  const pairs = { settings, tokens: pieces, ids, merges: new CutMerges(ids, orderOf(vocabulary)) };
  const rest = {
    bosId,
    addsBos,
    eosIds: endIds(companions, (token) => ids.get(token), eosId === undefined ? [] : [eosId]),
    chatTemplate: companions.chatTemplate,
  };
  const files = () => writeHfFiles(frame, pairs, rest);
  const decoder = pieceDecoder(vocabulary.byteFallback, addDummyPrefix);
  return new JsonTokenizer({ ...rest, frame, model: bytePairModel(pairs), decoder, files });
}

/** Place of each normal piece when they are sorted by score, the highest first; -1 for the others. */
function orderOf({ pieces, scores, types }: Pieces): Int32Array {
  const normal = Int32Array.from(pieces.keys()).filter((id) => types[id] === PIECE.normal);
  const order = new Int32Array(pieces.length).fill(-1);
  for (const [place, id] of normal.sort((a, b) => scores[b] - scores[a] || a - b).entries()) order[id] = place;
  return order;
}

function normalizers({ addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces }: Pieces): Component[] {
  const space = escapeWhitespaces ? '\u2581' : ' ';
  return [
    ...(removeExtraWhitespaces ? [replace({ Regex: '\\A +| +\\z|(?<= ) +' }, '')] : []),
    ...(addDummyPrefix ? [{ type: 'Prepend', prepend: space }] : []),
    ...(escapeWhitespaces ? [replace({ String: ' ' }, space)] : []),
  ];
}

function replace(pattern: { String: string } | { Regex: string }, content: string): Component {
  return { type: 'Replace', pattern, content };
}

/** The settings read of a SentencePiece model, with the defaults of the message; of a byte string, its length. */
const DEFAULTS = {
  ...{ modelType: 1, suffix: 0, byteFallback: 0, unkId: 0, bosId: 1, eosId: 2 },
  ...{ charsmap: 0, addDummyPrefix: 1, removeExtraWhitespaces: 1, escapeWhitespaces: 1 },
};
/** Their field numbers in ModelProto's trainer_spec (2) and normalizer_spec (3). */
const SETTINGS: Record<number, Record<number, keyof typeof DEFAULTS>> = {
  2: { 3: 'modelType', 24: 'suffix', 35: 'byteFallback', 40: 'unkId', 41: 'bosId', 42: 'eosId' },
  3: { 2: 'charsmap', 3: 'addDummyPrefix', 4: 'removeExtraWhitespaces', 5: 'escapeWhitespaces' },
};

/**
 * Reads a SentencePiece `tokenizer.model`: the protobuf message ModelProto of sentencepiece_model.proto.
 *
 * @throws naming `source` if the message is cut short or inconsistent, is no BPE model, or rewrites characters.
 */
export function readSentencePiece(bytes: Uint8Array, source: string): Pieces {
  const pieces: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  const settings = { ...DEFAULTS };
  const bad = (message: string) => new FormatError(`${source}: not a SentencePiece model: ${message}`);

  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const readPiece = (message: Uint8Array) => {
    const id = pieces.length;
    let [piece, score, type]: [string, number, number] = ['', 0, PIECE.normal];
    for (const fields = new Fields(message, bad); fields.next(); ) {
      if (fields.field === 2) score = fields.number;
      else if (fields.field === 3) type = fields.number;
      else if (fields.field === 1) {
        try {
          piece = utf8.decode(fields.bytes);
        } catch {
          throw bad(`piece ${id} is not UTF-8`);
        }
      }
    }
    if (piece === '') throw bad(`piece ${id} is empty`);
    pieces.push(piece);
    scores.push(score);
    types.push(type);
  };
  for (const fields = new Fields(bytes, bad); fields.next(); ) {
    const message = fields.bytes;
    if (message && fields.field === 1) readPiece(message);
    const names = message && SETTINGS[fields.field];
    if (!names) continue;
    for (const inner = new Fields(message, bad); inner.next(); ) {
      const name = names[inner.field];
      if (name) settings[name] = inner.bytes?.length ?? inner.number;
    }
  }
  if (pieces.length === 0) throw bad('it has no pieces');
  if (settings.modelType !== 2) {
    const name = ['', 'unigram', '', 'word', 'char'][settings.modelType] || settings.modelType;
    throw new FormatError(`${source}: SentencePiece model type ${name} is not supported, only bpe`);
  }
  if (settings.charsmap || settings.suffix) {
    const setting = settings.charsmap ? 'a normalization rule other than identity' : 'treat_whitespace_as_suffix';
    throw new FormatError(`${source}: SentencePiece with ${setting} is not supported`);
  }
  const idOf = (id: number) => (id >= 0 && id < pieces.length ? id : undefined);
  return {
    pieces,
    scores,
    types,
    unkId: idOf(settings.unkId),
    bosId: idOf(settings.bosId),
    eosId: idOf(settings.eosId),
    byteFallback: settings.byteFallback !== 0,
    addDummyPrefix: settings.addDummyPrefix !== 0,
    removeExtraWhitespaces: settings.removeExtraWhitespaces !== 0,
    escapeWhitespaces: settings.escapeWhitespaces !== 0,
  };
}
