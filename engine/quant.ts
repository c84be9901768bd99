import { type DType, dtypes } from './dtype.ts';
import { fromF16 } from './half.ts';

/** Writes the numbers of the block at `at` to `out[to…]`. Layouts are llama.cpp's (FORMATS: type ids 2–14). */
type Decoder = (bytes: Uint8Array, at: number, out: Float64Array, to: number) => void;

const half = (b: Uint8Array, at: number): number => fromF16(b[at] | (b[at + 1] << 8));
const int8 = (x: number): number => (x << 24) >> 24;

/** 32 elements: low nibbles are elements 0–15, high nibbles 16–31; a fifth bit each in four bytes where `fifth`. */
function nibbles(header: number, fifth: boolean, value: (b: Uint8Array, at: number, q: number) => number): Decoder {
  const quants = header + (fifth ? 4 : 0);
  return (b, at, out, to) => {
    for (let i = 0; i < 32; i++) {
      const low = i < 16 ? b[at + quants + i] & 15 : b[at + quants + i - 16] >> 4;
      const high = fifth ? (b[at + header + (i >> 3)] >> (i & 7)) & 1 : 0;
      out[to + i] = value(b, at, low | (high << 4));
    }
  };
}

/** The j-th of eight 6-bit (scale, min) pairs packed in 12 bytes. */
function scaleMin(b: Uint8Array, at: number, j: number): [scale: number, min: number] {
  if (j < 4) return [b[at + j] & 63, b[at + j + 4] & 63];
  return [(b[at + j + 4] & 15) | ((b[at + j - 4] >> 6) << 4), (b[at + j + 4] >> 4) | ((b[at + j] >> 6) << 4)];
}

/** 256 elements in eight groups of 32, each with a 6-bit scale and min: value = d·scale·q − dmin·min. */
function kQuant(fifth: boolean): Decoder {
  const quants = fifth ? 48 : 16;
  return (b, at, out, to) => {
    const d = half(b, at);
    const dmin = half(b, at + 2);
    for (let group = 0; group < 8; group++) {
      const [scale, min] = scaleMin(b, at + 4, group);
      for (let i = 0; i < 32; i++) {
        const byte = b[at + quants + (group >> 1) * 32 + i];
        const low = group & 1 ? byte >> 4 : byte & 15;
        const high = fifth ? (b[at + 16 + i] >> group) & 1 : 0;
        out[to + group * 32 + i] = d * scale * (low | (high << 4)) - dmin * min;
      }
    }
  };
}

const q6k: Decoder = (b, at, out, to) => {
  const d = half(b, at + 208);
  for (let i = 0; i < 256; i++) {
    const [part, quarter, l] = [i >> 7, (i >> 5) & 3, i & 31];
    const byte = b[at + part * 64 + (quarter & 1) * 32 + l];
    const low = quarter < 2 ? byte & 15 : byte >> 4;
    const high = (b[at + 128 + part * 32 + l] >> (quarter * 2)) & 3;
    out[to + i] = d * int8(b[at + 192 + (i >> 4)]) * ((low | (high << 4)) - 32);
  }
};

const decoders: Partial<Record<DType, Decoder>> = {
  q8_0: (b, at, out, to) => {
    for (let i = 0; i < 32; i++) out[to + i] = half(b, at) * int8(b[at + 2 + i]);
  },
  q4_0: nibbles(2, false, (b, at, q) => half(b, at) * (q - 8)),
  q4_1: nibbles(4, false, (b, at, q) => half(b, at) * q + half(b, at + 2)),
  q5_0: nibbles(2, true, (b, at, q) => half(b, at) * (q - 16)),
  q5_1: nibbles(4, true, (b, at, q) => half(b, at) * q + half(b, at + 2)),
  q4_k: kQuant(false),
  q5_k: kQuant(true),
  q6_k: q6k,
};

/**
 * The `elements` numbers held in quantised `bytes`, exactly (float64).
 * @throws TypeError when `dtype` is not quantised
 */
export function dequantize(bytes: Uint8Array, dtype: DType, elements: number): Float64Array {
  const decode = decoders[dtype];
  if (!decode) throw new TypeError(`dequantize: ${dtype} is not a quantised type`);
  const { block, bytes: blockBytes } = dtypes[dtype];
  const out = new Float64Array(elements);
  for (let i = 0; i < elements / block; i++) decode(bytes, i * blockBytes, out, i * block);
  return out;
}
