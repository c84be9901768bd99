import { FormatError } from '../../engine/file.ts';
import { PIECE, type Pieces } from './sentencepiece.ts';

/**
 * Reads llama2.c's `tokenizer.bin`: int32 longest piece, then until the end float32 score, int32 length, bytes of each
 * piece. It holds a SentencePiece vocabulary with ▁ written as a space and no piece types; unk, BOS and EOS are 0, 1, 2
 * (llama2.c, tokenizer.py `export`).
 *
 * @throws naming `source` if a record is cut short, over-long or not UTF-8.
 */
export function readLlama2c(bytes: Uint8Array, source: string): Pieces {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bad = (message: string) => new FormatError(`${source}: not a llama2.c tokenizer: ${message}`);
  if (bytes.length < 4) throw bad(`${bytes.length} bytes`);
  const longest = view.getInt32(0, true);
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const pieces: string[] = [];
  const scores: number[] = [];
  for (let at = 4; at < bytes.length; ) {
    if (at + 8 > bytes.length) throw bad(`piece ${pieces.length} is cut short`);
    const length = view.getInt32(at + 4, true);
    if (length < 1 || length > longest || length > bytes.length - at - 8) {
      throw bad(`piece ${pieces.length} has ${length} bytes (longest ${longest}, left ${bytes.length - at - 8})`);
    }
    scores.push(view.getFloat32(at, true));
    try {
      pieces.push(utf8.decode(bytes.subarray(at + 8, at + 8 + length)).replaceAll(' ', '\u2581'));
    } catch {
      throw bad(`piece ${pieces.length} is not UTF-8`);
    }
    at += 8 + length;
  }
  // BOS and EOS are stored between newlines, as llama2.c wants to print them.
  const special = ['<unk>', '<s>', '</s>'];
  for (const [id, token] of special.entries()) {
    if (pieces[id]?.trim() !== token) throw bad(`piece ${id} is ${JSON.stringify(pieces[id])}, expected ${token}`);
    pieces[id] = token;
  }
  return {
    pieces,
    scores,
    types: pieces.map((piece, id) => {
      if (id < special.length) return PIECE.control;
      return /^<0x[0-9A-F]{2}>$/.test(piece) ? PIECE.byte : PIECE.normal;
    }),
    unkId: 0,
    bosId: 1,
    eosId: 2,
    byteFallback: true,
    addDummyPrefix: true,
    removeExtraWhitespaces: false,
    escapeWhitespaces: true,
  };
}
