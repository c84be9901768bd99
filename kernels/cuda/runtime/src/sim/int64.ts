// 64-bit integers as pairs of i32. A function that returns 64 bits returns the low half and leaves the high half in `high[0]`.

export const high = new Int32Array(1);

/** High 32 bits of the product of two unsigned 32-bit integers. */
export function mulhu(a: number, b: number): number {
  const x = a >>> 0;
  const y = b >>> 0;
  // The double product is off by less than 2^11; taking the exact low half away leaves a near-integer multiple of 2^32.
  return Math.round((x * y - (Math.imul(x, y) >>> 0)) / 4294967296) | 0;
}

/** High 32 bits of the product of two signed 32-bit integers. */
export function mulhs(a: number, b: number): number {
  return Math.round((a * b - (Math.imul(a, b) >>> 0)) / 4294967296) | 0;
}

export function mul64(al: number, ah: number, bl: number, bh: number): number {
  high[0] = mulhu(al, bl) + Math.imul(al, bh) + Math.imul(ah, bl);
  return Math.imul(al, bl);
}

export function toBigInt(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

/** Splits the low 64 bits. */
export function fromBigInt(value: bigint): number {
  high[0] = Number(BigInt.asIntN(32, value >> 32n));
  return Number(BigInt.asIntN(32, value));
}

const unsigned = (lo: number, hi: number) => BigInt.asUintN(64, toBigInt(lo, hi));

export function mulhi64(al: number, ah: number, bl: number, bh: number, signed: boolean): number {
  const read = signed ? toBigInt : unsigned;
  return fromBigInt((read(al, ah) * read(bl, bh)) >> 64n);
}

/** Quotient; division by zero gives all ones, as the hardware's sequence does (PTX leaves it unspecified). */
export function div64(al: number, ah: number, bl: number, bh: number, signed: boolean): number {
  if ((bl | bh) === 0) return fromBigInt(-1n);
  const read = signed ? toBigInt : unsigned;
  return fromBigInt(read(al, ah) / read(bl, bh));
}

/** Remainder with the dividend's sign; the dividend itself for a zero divisor (PTX leaves it unspecified). */
export function rem64(al: number, ah: number, bl: number, bh: number, signed: boolean): number {
  if ((bl | bh) === 0) return fromBigInt(toBigInt(al, ah));
  const read = signed ? toBigInt : unsigned;
  return fromBigInt(read(al, ah) % read(bl, bh));
}

/** Shifts clamp at 64, as PTX's do. */
export function shl64(lo: number, hi: number, by: number): number {
  const n = by >>> 0;
  if (n === 0) {
    high[0] = hi;
    return lo;
  }
  if (n >= 32) {
    high[0] = n >= 64 ? 0 : lo << (n - 32);
    return 0;
  }
  high[0] = (hi << n) | (lo >>> (32 - n));
  return lo << n;
}

export function shr64(lo: number, hi: number, by: number, signed: boolean): number {
  const n = by >>> 0;
  if (n === 0) {
    high[0] = hi;
    return lo;
  }
  const fill = signed ? hi >> 31 : 0;
  if (n >= 32) {
    high[0] = fill;
    if (n >= 64) return fill;
    return signed ? hi >> (n - 32) : hi >>> (n - 32);
  }
  high[0] = signed ? hi >> n : hi >>> n;
  return (lo >>> n) | (hi << (32 - n));
}

/** Integer of a double truncated and clamped to s64 or u64. NaN gives 2^63 (the manual's value for 64-bit destinations). */
export function fromDouble(x: number, signed: boolean): number {
  if (Number.isNaN(x)) {
    high[0] = -0x80000000;
    return 0;
  }
  if (signed) {
    if (x >= 2 ** 63) {
      high[0] = 0x7fffffff;
      return -1;
    }
    if (x <= -(2 ** 63)) {
      high[0] = -0x80000000;
      return 0;
    }
  } else {
    if (x >= 2 ** 64) {
      high[0] = -1;
      return -1;
    }
    if (x <= 0) {
      high[0] = 0;
      return 0;
    }
  }
  const t = Math.trunc(x);
  const h = Math.floor(t / 4294967296);
  high[0] = h;
  return (t - h * 4294967296) | 0;
}
