import fc from 'fast-check';
import { byteLength, type DType, dtypes, isQuantized } from '../../engine/dtype.ts';
import { fromBf16, fromF16, toBf16, toF16 } from '../../engine/half.ts';
import { type Backend, fromBytes, type Gen, type Shape, tensor } from '../../engine/index.ts';
import { Rng } from '../../engine/random.ts';
import { size } from '../../engine/shape.ts';

/** Sizes at which kernels change what they do: nothing, one, SIMD and tile widths and their neighbours. */
const sizes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 255, 257, 300];

/** Random integers: fast-check's while it looks for counterexamples, or a seeded generator's. */
type Draw = (lo: number, hi: number) => number;

/** Where a block keeps its float16 scales. */
const scaleOffsets: Partial<Record<DType, number[]>> = {
  q8_0: [0],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
};

/** Random quantised blocks: every bit pattern of quants, with scales that keep values below about 4. */
export function randomBlocks(dtype: DType, shape: Shape, rng: Rng): Uint8Array {
  const bytes = Uint8Array.from({ length: byteLength(dtype, shape) }, () => rng.int(256));
  const reach = { q8_0: 128, q4_0: 8, q4_1: 16, q5_0: 16, q5_1: 32, q4_k: 960, q5_k: 1920, q6_k: 4096 }[
    dtype as 'q8_0'
  ];
  for (let at = 0; at < bytes.length; at += dtypes[dtype].bytes) {
    for (const offset of scaleOffsets[dtype] ?? []) {
      const scale = toF16(rng.uniform(-4, 4) / reach);
      bytes[at + offset] = scale & 255;
      bytes[at + offset + 1] = scale >> 8;
    }
  }
  return bytes;
}

function makeGen(draw: Draw, backend: Backend): Gen {
  // One draw seeds a whole tensor, so that shrinking works on shapes and attributes.
  const stream = (): Rng => new Rng(draw(0, 2 ** 30));
  return {
    int: draw,
    real: (lo, hi) => lo + (draw(0, 1 << 20) / (1 << 20)) * (hi - lo),
    dim: (max, { zero = false } = {}) => {
      const from = zero ? 0 : 1;
      const last = sizes.findLastIndex((s) => s <= max);
      return draw(0, 3) === 0 ? draw(from, max) : sizes[draw(from, last)];
    },
    tensor: (shape, { dtype = 'f32', lo = -2, hi = 2, apart = 0, distinct = false } = {}) => {
      const rng = stream();
      if (isQuantized(dtype)) return fromBytes(randomBlocks(dtype, shape, rng), shape, dtype, backend);
      const n = size(shape);
      const step = (hi - lo) / Math.max(1, n);
      const values = distinct
        ? rng.permutation(n).map((i) => lo + (i + 0.25 + 0.5 * rng.uniform()) * step)
        : Array.from({ length: n }, () => rng.uniform(lo, hi));
      // Values every backend holds exactly, so that what differs is the op and not its input.
      const round = { f16: (x: number) => fromF16(toF16(x)), bf16: (x: number) => fromBf16(toBf16(x)) }[dtype as 'f16'];
      const exact = Float32Array.from(values, (x) => {
        const away = Math.abs(x) < apart ? (x < 0 ? -apart : apart) : x;
        return round ? round(away) : away;
      });
      return tensor(exact, shape, { dtype, backend });
    },
    ints: (shape, lo, hi) => {
      const rng = stream();
      return tensor(
        Int32Array.from({ length: size(shape) }, () => lo + rng.int(hi - lo + 1)),
        shape,
        { dtype: 'i32', backend },
      );
    },
    indices: (values, shape) => tensor(Int32Array.from(values), shape, { dtype: 'i32', backend }),
  };
}

export const fastCheckGen = (g: fc.GeneratorValue, backend: Backend): Gen =>
  makeGen((lo, hi) => g(fc.integer, { min: lo, max: hi }), backend);

export function seededGen(seed: number, backend: Backend): Gen {
  const rng = new Rng(seed);
  return makeGen((lo, hi) => lo + rng.int(hi - lo + 1), backend);
}

/** A generator of sizes `factor` times as large, those above 64 apart, for backends whose tiles are larger than samples. */
export const stretched = (gen: Gen, factor: number): Gen => ({
  ...gen,
  dim: (max, options) => {
    const n = gen.dim(max, options);
    return n > 64 ? n : factor * n + gen.int(0, factor - 1);
  },
});
