import { fromBigInt, toBigInt } from './int64.ts';

/** Bit functions that have no short expression; arguments and results are i32 (see int64.ts for pairs). */

export function popc(x: number): number {
  let v = x - ((x >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

export function brev(x: number): number {
  let v = ((x >>> 1) & 0x55555555) | ((x & 0x55555555) << 1);
  v = ((v >>> 2) & 0x33333333) | ((v & 0x33333333) << 2);
  v = ((v >>> 4) & 0x0f0f0f0f) | ((v & 0x0f0f0f0f) << 4);
  v = ((v >>> 8) & 0x00ff00ff) | ((v & 0x00ff00ff) << 8);
  return (v >>> 16) | (v << 16);
}

/** bfe: `length` bits from `position`, sign-extended if `signed`; the sign fills bits beyond the top, too. */
export function bfe32(a: number, position: number, length: number, signed: boolean): number {
  if (length === 0) return 0;
  if (position >= 32) return signed ? a >> 31 : 0;
  const width = Math.min(length, 32 - position);
  const field = a << (32 - position - width);
  // Where the field reaches beyond bit 31, its sign bit is bit 31, which the shift has put on top as well.
  return signed ? field >> (32 - width) : (field >>> (32 - width)) | 0;
}

export function bfe64(lo: number, hi: number, position: number, length: number, signed: boolean): number {
  if (length === 0) return fromBigInt(0n);
  const a = toBigInt(lo, hi);
  if (position >= 64) return fromBigInt(signed && a < 0n ? -1n : 0n);
  const width = Math.min(length, 64 - position);
  const field = BigInt.asUintN(width, BigInt.asUintN(64, a) >> BigInt(position));
  return fromBigInt(signed ? BigInt.asIntN(width, field) : field);
}

/** bfi: b with `length` bits from `position` replaced by the low bits of a. */
export function bfi32(a: number, b: number, position: number, length: number): number {
  if (length === 0 || position >= 32) return b;
  const width = Math.min(length, 32 - position);
  const mask = (width === 32 ? -1 : (1 << width) - 1) << position;
  return (b & ~mask) | ((a << position) & mask);
}

export function bfi64(al: number, ah: number, bl: number, bh: number, position: number, length: number): number {
  const b = BigInt.asUintN(64, toBigInt(bl, bh));
  if (length === 0 || position >= 64) return fromBigInt(b);
  const width = Math.min(length, 64 - position);
  const mask = ((1n << BigInt(width)) - 1n) << BigInt(position);
  return fromBigInt((b & ~mask) | ((toBigInt(al, ah) << BigInt(position)) & mask));
}

/** prmt: bytes of [b:a] picked by the selector's nibbles (bit 3 of a nibble replicates the byte's sign), or by a mode. */
export function prmt(a: number, b: number, selector: number, mode: string): number {
  const byte = (k: number) => (k < 4 ? a >>> (8 * k) : b >>> (8 * (k - 4))) & 255;
  const s = selector & 3;
  let picks: readonly number[];
  if (mode === '') {
    let result = 0;
    for (let k = 0; k < 4; k++) {
      const nibble = (selector >>> (4 * k)) & 15;
      const value = byte(nibble & 7);
      result |= (nibble & 8 ? (value & 128 ? 255 : 0) : value) << (8 * k);
    }
    return result;
  }
  if (mode === 'f4e') picks = [s, s + 1, s + 2, s + 3];
  else if (mode === 'b4e') picks = [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7];
  else if (mode === 'rc8') picks = [s, s, s, s];
  else if (mode === 'ecl') picks = [0, 1, 2, 3].map((k) => Math.max(k, s));
  else if (mode === 'ecr') picks = [0, 1, 2, 3].map((k) => Math.min(k, s));
  else picks = [0, 1, 0, 1].map((k) => k + 2 * (s & 1));
  return byte(picks[0]) | (byte(picks[1]) << 8) | (byte(picks[2]) << 16) | (byte(picks[3]) << 24);
}
