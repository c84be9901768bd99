// Exact IEEE arithmetic on doubles and the narrower formats of PTX. Everything is pure; f32 values are JS numbers.

const doubleView = new Float64Array(1);
const wordView = new Int32Array(doubleView.buffer);
const singleView = new Float32Array(1);
const singleBits = new Int32Array(singleView.buffer);

/** Rounding of a conversion or operation: nearest even, towards zero, down, up, nearest away. */
type Rounding = 'rn' | 'rz' | 'rm' | 'rp' | 'rna';

/** Bits of an f32. Every NaN becomes PTX's canonical 0x7fffffff. */
export function bitsOf(value: number): number {
  if (Number.isNaN(value)) return 0x7fffffff;
  singleView[0] = value;
  return singleBits[0];
}

export function fromBits(bits: number): number {
  singleBits[0] = bits;
  return singleView[0];
}

/** The double next to `x` (finite, not 0) in the direction of `sign` (+1 up, −1 down). */
function neighbour(x: number, sign: number): number {
  doubleView[0] = x;
  const step = x > 0 === sign > 0 ? 1 : -1;
  const lo = wordView[0] >>> 0;
  wordView[0] = lo + step;
  if (step > 0 && lo === 0xffffffff) wordView[1]++;
  else if (step < 0 && lo === 0) wordView[1]--;
  return doubleView[0];
}

/**
 * a + b rounded to odd at 53 bits (Boldo and Melquiond): rounding that once more to at most 51 bits, in any direction, gives
 * the correctly rounded sum, which rounding a nearest-even double again would not.
 */
export function addToOdd(a: number, b: number): number {
  const s = a + b;
  if (s - s !== 0) return s;
  const t = s - a;
  const error = a - (s - t) + (b - t);
  if (error === 0) return s;
  doubleView[0] = s;
  return (wordView[0] & 1) === 1 ? s : neighbour(s, error);
}

/** Fused multiply-add of f32 values, one rounding. */
export function fma32(a: number, b: number, c: number): number {
  const s = a * b + c;
  const r = Math.fround(s);
  const d = s - r;
  // s lies halfway between two f32 exactly when the mirror image of r about s is an f32: then the double's own rounding matters.
  if (d !== 0 && Math.fround(s + d) === s + d) return Math.fround(addToOdd(a * b, c));
  return r;
}

/** Rounds a double (correct, or rounded to odd) to f32. */
export function roundTo32(x: number, mode: Rounding): number {
  const r = Math.fround(x);
  if (mode === 'rn' || r === x || Number.isNaN(x)) return r;
  let toward: number;
  if (mode === 'rm') toward = -1;
  else if (mode === 'rp') toward = 1;
  else if (mode === 'rz') toward = x > 0 ? -1 : 1;
  else throw new Error(`roundTo32: no mode ${mode}`);
  if (toward < 0 ? r < x : r > x) return r;
  // r is on the wrong side of x: step one f32 in the wanted direction.
  if (r === 0) return toward < 0 ? -(2 ** -149) : 2 ** -149;
  const bits = bitsOf(r);
  const next = fromBits(r > 0 === toward > 0 ? bits + 1 : bits - 1);
  return next === 0 && x < 0 ? -0 : next;
}

/** A double's upper word, the lower one zero: all that the `.approx.ftz.f64` instructions read and write. */
export function upperWord(x: number): number {
  if (!Number.isFinite(x)) return x;
  doubleView[0] = Math.abs(x) < 2 ** -1022 ? x * 0 : x;
  wordView[0] = 0;
  return doubleView[0];
}

/** f32 add, mul, fma with a directed rounding. */
export function addMode(a: number, b: number, mode: Rounding): number {
  const s = addToOdd(a, b);
  // An exact zero from opposite signs is −0 when rounding down.
  if (s === 0 && mode === 'rm') return Object.is(a, 0) && Object.is(b, 0) ? 0 : -0;
  return roundTo32(s, mode);
}
export function mulMode(a: number, b: number, mode: Rounding): number {
  return roundTo32(a * b, mode);
}
export function fmaMode(a: number, b: number, c: number, mode: Rounding): number {
  return addMode(a * b, c, mode);
}

/** Subnormal f32 become zero of the same sign. */
export function flush(x: number): number {
  return Math.abs(x) < 2 ** -126 ? x * 0 : x;
}

/** Clamps to [0, 1]; NaN becomes +0. */
export function saturate(x: number): number {
  return x > 0 ? Math.min(x, 1) : 0;
}

/** PTX min and max: a NaN operand is ignored unless both are; −0 < +0. */
export function minNumber(a: number, b: number): number {
  return Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b);
}
export function maxNumber(a: number, b: number): number {
  return Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b);
}

/** Rounds to an integral value. */
export function toIntegral(x: number, mode: 'rni' | 'rzi' | 'rmi' | 'rpi'): number {
  if (mode === 'rzi') return Math.trunc(x);
  if (mode === 'rmi') return Math.floor(x);
  if (mode === 'rpi') return Math.ceil(x);
  if (!(Math.abs(x) < 4503599627370496)) return x;
  const r = Math.abs(x) + 4503599627370496 - 4503599627370496;
  return x < 0 || Object.is(x, -0) ? -r : r;
}

/** Mantissa bits and exponent range of a narrow format. */
interface Format {
  readonly mantissa: number;
  readonly maxExponent: number;
  readonly minExponent: number;
}
const half: Format = { mantissa: 10, maxExponent: 15, minExponent: -14 };
const bfloat: Format = { mantissa: 7, maxExponent: 127, minExponent: -126 };

// Rounds a double to `format` and returns the value (±Infinity on overflow, or the largest finite when rounding towards zero).
function roundToFormat(x: number, format: Format, mode: Rounding): number {
  if (x === 0 || x - x !== 0) return x;
  doubleView[0] = x;
  const exponent = Math.max(((wordView[1] >>> 20) & 0x7ff) - 1023, format.minExponent);
  const ulp = 2 ** (exponent - format.mantissa);
  const scaled = x / ulp;
  let r: number;
  if (mode === 'rn') r = toIntegral(scaled, 'rni');
  else if (mode === 'rz') r = Math.trunc(scaled);
  else if (mode === 'rm') r = Math.floor(scaled);
  else if (mode === 'rp') r = Math.ceil(scaled);
  else r = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5);
  const value = r * ulp;
  const largest = (2 - 2 ** -format.mantissa) * 2 ** format.maxExponent;
  if (Math.abs(value) <= largest) return value === 0 && x < 0 ? -0 : value;
  const away = mode === 'rn' || mode === 'rna' || (mode === 'rp' && x > 0) || (mode === 'rm' && x < 0);
  return away ? Math.sign(x) * Infinity : Math.sign(x) * largest;
}

/** f16 bits of a double; NaN is 0x7fff. */
export function toHalf(x: number, mode: Rounding = 'rn'): number {
  if (Number.isNaN(x)) return 0x7fff;
  const r = roundToFormat(x, half, mode);
  const sign = r < 0 || Object.is(r, -0) ? 0x8000 : 0;
  const a = Math.abs(r);
  if (a === Infinity) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | (a * 2 ** 24);
  doubleView[0] = a;
  const exponent = ((wordView[1] >>> 20) & 0x7ff) - 1023;
  return sign | ((exponent + 15) << 10) | ((wordView[1] >>> 10) & 0x3ff);
}

/** bf16 bits of a double; NaN is 0x7fff. */
export function toBfloat(x: number, mode: Rounding = 'rn'): number {
  if (Number.isNaN(x)) return 0x7fff;
  if (mode === 'rn' && Math.fround(x) === x) {
    const bits = bitsOf(x);
    return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
  }
  return (bitsOf(roundToFormat(x, bfloat, mode)) >>> 16) & 0xffff;
}

/** tf32 bits (an f32 whose low 13 mantissa bits are zero), rounded to nearest, ties away (`rna`), or another mode. */
export function toTf32(x: number, mode: Rounding): number {
  if (Number.isNaN(x)) return 0x7fffffff;
  return bitsOf(roundToFormat(x, { mantissa: 10, maxExponent: 127, minExponent: -126 }, mode));
}

const halfTable = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits++) {
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) halfTable[bits] = mantissa ? NaN : sign * Infinity;
  else halfTable[bits] = sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15));
}

/** Value of f16 bits (low 16 bits of `bits`). */
export function fromHalf(bits: number): number {
  return halfTable[bits & 0xffff];
}

/** Value of bf16 bits (low 16 bits of `bits`). */
export function fromBfloat(bits: number): number {
  singleBits[0] = bits << 16;
  return singleView[0];
}

/** Exact a·b + c of doubles as one rounding, by integers: rare in kernels, so plainness wins over speed. */
export function fma64(a: number, b: number, c: number, mode: Rounding = 'rn'): number {
  const p = a * b;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return p + c;
  if (!Number.isFinite(c)) return c;
  if (a === 0 || b === 0) return c === 0 && mode === 'rm' && !Object.is(p, c) ? -0 : p + c;
  const [ma, ea] = split(a);
  const [mb, eb] = split(b);
  const [mc, ec] = split(c);
  const exponent = Math.min(ea + eb, c === 0 ? Infinity : ec);
  const sum = ((ma * mb) << BigInt(ea + eb - exponent)) + (c === 0 ? 0n : mc << BigInt(ec - exponent));
  if (sum === 0n) return mode === 'rm' ? -0 : 0;
  return join(sum, exponent, mode);
}

/** a·b of doubles with a directed rounding. */
export function mulMode64(a: number, b: number, mode: Rounding): number {
  return a === 0 || b === 0 ? a * b : fma64(a, b, 0, mode);
}

// x = m·2^e with an integer m.
function split(x: number): [bigint, number] {
  doubleView[0] = x;
  const biased = (wordView[1] >>> 20) & 0x7ff;
  const fraction = (BigInt(wordView[1] & 0xfffff) << 32n) | BigInt(wordView[0] >>> 0);
  const mantissa = biased === 0 ? fraction : fraction | (1n << 52n);
  return [x < 0 ? -mantissa : mantissa, Math.max(biased, 1) - 1075];
}

// The double nearest to m·2^e.
function join(m: bigint, e: number, mode: Rounding): number {
  const negative = m < 0n;
  let magnitude = negative ? -m : m;
  const bits = magnitude.toString(2).length;
  const drop = Math.max(bits - 53, -1074 - e);
  let exponent = e;
  if (drop > 0) {
    const rest = magnitude & ((1n << BigInt(drop)) - 1n);
    const halfway = 1n << BigInt(drop - 1);
    magnitude >>= BigInt(drop);
    exponent += drop;
    const nearestUp = rest > halfway || (rest === halfway && (magnitude & 1n) === 1n);
    const up = mode === 'rn' ? nearestUp : rest > 0n && (mode === 'rp' ? !negative : mode === 'rm' ? negative : false);
    if (up) magnitude++;
  }
  // Two factors, since 2^exponent alone may be below the smallest double.
  const value = Number(magnitude) * 2 ** Math.max(exponent, -1000) * 2 ** Math.min(exponent + 1000, 0);
  if (value === Infinity && (mode === 'rz' || mode === (negative ? 'rp' : 'rm'))) {
    return negative ? -Number.MAX_VALUE : Number.MAX_VALUE;
  }
  return negative ? -value : value;
}
