import { byteLevelDecoder } from './bytelevel.ts';
import type { Component, Decoder } from './schema.ts';

/** @throws if the decoder is not one whose tokens are bytes on their own. */
export function decoderOf(decoder: Component | null): Decoder {
  if (decoder?.type === 'ByteLevel') return byteLevelDecoder;
  const steps = decoder?.type === 'Sequence' ? (decoder.decoders as Component[]) : [decoder];
  let [fallback, dropsSpace] = [false, false];
  for (const step of steps) {
    if (step?.type === 'ByteFallback') fallback = true;
    else if (step?.type === 'Strip' && step.content === ' ') dropsSpace = Number(step.start) > 0;
    else if (step?.type === 'Metaspace')
      dropsSpace = step.prepend_scheme !== 'never' && step.add_prefix_space !== false;
    else if (step?.type !== 'Fuse' && !(step?.type === 'Replace' && isSpaceReplacement(step))) {
      throw new Error(
        `decoder ${JSON.stringify(step)} is not supported (ByteLevel, Metaspace, ByteFallback, ▁ → space)`,
      );
    }
  }
  return pieceDecoder(fallback, dropsSpace);
}

function isSpaceReplacement(step: Component): boolean {
  return (step.pattern as { String?: unknown } | undefined)?.String === '\u2581' && step.content === ' ';
}

/** Reads SentencePiece tokens: ▁ is a space and, with byte fallback, `<0x0A>` is a byte. */
export function pieceDecoder(byteFallback: boolean, dropsSpace: boolean): Decoder {
  const bytes = (token: string) => {
    const byte = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token) : null;
    return byte
      ? Uint8Array.of(Number.parseInt(byte[1], 16))
      : new TextEncoder().encode(token.replaceAll('\u2581', ' '));
  };
  return { bytes, dropsSpace };
}
