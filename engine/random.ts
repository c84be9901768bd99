const round = (x: Uint32Array, k0: number, k1: number): void => {
  const [lo0, hi0] = mulWide(0xd2511f53, x[0]);
  const [lo1, hi1] = mulWide(0xcd9e8d57, x[2]);
  x[0] = hi1 ^ x[1] ^ k0;
  x[1] = lo1;
  x[2] = hi0 ^ x[3] ^ k1;
  x[3] = lo0;
};

/** 32 × 32 → 64 bits, as two unsigned halves. */
function mulWide(a: number, b: number): [lo: number, hi: number] {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const middle = ah * bl + ((al * bl) >>> 16);
  const cross = al * bh + (middle & 0xffff);
  return [Math.imul(a, b) >>> 0, (ah * bh + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0];
}

/**
 * Philox4x32-10: four random 32-bit words as a pure function of a counter and a key.
 * Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The kernels compute the same bits.
 */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): Uint32Array {
  const x = Uint32Array.from(counter);
  let [k0, k1] = key;
  for (let i = 0; i < 10; i++) {
    round(x, k0, k1);
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return x;
}

/** Where a generator stands: all it takes to go on from there. */
export interface RngState {
  seed: number;
  stream: number;
  count: number;
}

/** A seeded sequence of random numbers on the host; separate streams of one seed are independent. */
export class Rng {
  readonly #seed: number;
  readonly #stream: number;
  #count: number;

  constructor(seed: number, stream = 0, count = 0) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`seed: expected an integer ≥ 0, found ${seed}`);
    this.#seed = seed;
    this.#stream = stream;
    this.#count = count;
  }

  static from({ seed, stream, count }: RngState): Rng {
    return new Rng(seed, stream, count);
  }

  get state(): RngState {
    return { seed: this.#seed, stream: this.#stream, count: this.#count };
  }

  /** Uniform over the 32-bit unsigned integers. */
  uint32(): number {
    const i = this.#count++;
    const [seedHigh, block, blockHigh] = [Math.floor(this.#seed / 2 ** 32), i >>> 2, Math.floor(i / 2 ** 34)];
    return philox4x32([block, blockHigh, this.#stream, 0x4c6f7269], [this.#seed >>> 0, seedHigh])[i & 3];
  }

  /** Uniform in [lo, hi), with 53 random bits. */
  uniform(lo = 0, hi = 1): number {
    const unit = ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) * 2 ** -53;
    return lo + unit * (hi - lo);
  }

  /** Integer in [0, n), without modulo bias. */
  int(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const x = this.uint32();
      if (x < limit) return x % n;
    }
  }

  /** Normal with this mean and standard deviation (Box–Muller). */
  normal(mean = 0, std = 1): number {
    const r = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + std * r * Math.cos(2 * Math.PI * this.uniform());
  }

  /** 0 … n − 1 in random order (Fisher–Yates). */
  permutation(n: number): number[] {
    const p = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [p[i], p[j]] = [p[j], p[i]];
    }
    return p;
  }
}
