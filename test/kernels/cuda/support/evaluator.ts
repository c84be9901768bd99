// A second, plain meaning of PTX instructions: everything is a BigInt of bits, floating point is exact rational arithmetic
// with one rounding. Shares no code with the simulator.

export const mask = (bits: number) => (1n << BigInt(bits)) - 1n;
const signed = (x: bigint, bits: number) => BigInt.asIntN(bits, x);

/** IEEE binary format: mantissa bits and exponent bits. */
export interface Format {
  readonly m: number;
  readonly e: number;
}
export const single: Format = { m: 23, e: 8 };
export const double: Format = { m: 52, e: 11 };
export const halfFormat: Format = { m: 10, e: 5 };

/** A number as sign, numerator and power of two (value = n·2^p), or a special. */
type Real =
  | { kind: 'finite'; negative: boolean; n: bigint; p: number }
  | { kind: 'infinite'; negative: boolean }
  | { kind: 'nan' };

function decode(bits: bigint, { m, e }: Format): Real {
  const negative = ((bits >> BigInt(m + e)) & 1n) === 1n;
  const exponent = Number((bits >> BigInt(m)) & mask(e));
  const fraction = bits & mask(m);
  const bias = 2 ** (e - 1) - 1;
  if (exponent === 2 ** e - 1) return fraction === 0n ? { kind: 'infinite', negative } : { kind: 'nan' };
  if (exponent === 0) return { kind: 'finite', negative, n: fraction, p: 1 - bias - m };
  return { kind: 'finite', negative, n: fraction | (1n << BigInt(m)), p: exponent - bias - m };
}

type Mode = 'rn' | 'rz' | 'rm' | 'rp';

/** Rounds ±(n + sticky)·2^p, where sticky says that something positive and smaller than 1 was cut off. */
function round(negative: boolean, n: bigint, p: number, sticky: boolean, { m, e }: Format, mode: Mode): bigint {
  const bias = 2 ** (e - 1) - 1;
  const sign = negative ? 1n << BigInt(m + e) : 0n;
  if (n === 0n && !sticky) return sign;
  // Two more bits below, so that `sticky` never decides a tie by itself.
  let value = (n << 2n) | (sticky ? 1n : 0n);
  let power = p - 2;
  const length = value.toString(2).length;
  const drop = Math.max(length - (m + 1), 1 - bias - m - power);
  let up = false;
  if (drop > 0) {
    const rest = value & mask(drop);
    const tie = 1n << BigInt(drop - 1);
    value >>= BigInt(drop);
    power += drop;
    if (mode === 'rn') up = rest > tie || (rest === tie && (value & 1n) === 1n);
    else if (mode === 'rp') up = rest !== 0n && !negative;
    else if (mode === 'rm') up = rest !== 0n && negative;
  } else {
    value <<= BigInt(-drop);
    power += drop;
  }
  if (up) value++;
  if (value === 1n << BigInt(m + 1)) {
    value >>= 1n;
    power++;
  }
  const biased = value < 1n << BigInt(m) ? 0 : power + m + bias;
  if (biased >= 2 ** e - 1) {
    const toInfinity = mode === 'rn' || (mode === 'rp' && !negative) || (mode === 'rm' && negative);
    return sign | (toInfinity ? mask(e) << BigInt(m) : (mask(e) << BigInt(m)) - 1n);
  }
  return sign | (BigInt(biased) << BigInt(m)) | (value & mask(m));
}

/** The NaN that arithmetic makes: the manual's for f32 and f16, the quiet one for f64, where it leaves the payload open. */
const nanOf = ({ m, e }: Format) => (m === 52 ? 0x7ff8n << 48n : mask(m + e));

/** a·b + c with one rounding. */
export function fma(aBits: bigint, bBits: bigint, cBits: bigint, format: Format, mode: Mode): bigint {
  const [a, b, c] = [aBits, bBits, cBits].map((bits) => decode(bits, format));
  if (a.kind === 'nan' || b.kind === 'nan' || c.kind === 'nan') return nanOf(format);
  const negative = a.negative !== b.negative;
  const infinity = (minus: boolean) =>
    (minus ? 1n << BigInt(format.m + format.e) : 0n) | (mask(format.e) << BigInt(format.m));
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    const zero = (a.kind === 'finite' && a.n === 0n) || (b.kind === 'finite' && b.n === 0n);
    if (zero || (c.kind === 'infinite' && c.negative !== negative)) return nanOf(format);
    return infinity(negative);
  }
  if (c.kind === 'infinite') return infinity(c.negative);
  const p = Math.min(a.p + b.p, c.p);
  const product = ((a.n * b.n) << BigInt(a.p + b.p - p)) * (negative ? -1n : 1n);
  const addend = (c.n << BigInt(c.p - p)) * (c.negative ? -1n : 1n);
  const sum = product + addend;
  if (sum === 0n) {
    const bothMinus = negative && c.negative;
    const bothPlus = !negative && !c.negative;
    return bothMinus || (!bothPlus && mode === 'rm') ? 1n << BigInt(format.m + format.e) : 0n;
  }
  return round(sum < 0n, sum < 0n ? -sum : sum, p, false, format, mode);
}

const one = ({ m, e }: Format) => BigInt(2 ** (e - 1) - 1) << BigInt(m);
const minusZero = ({ m, e }: Format) => 1n << BigInt(m + e);
export const add = (a: bigint, b: bigint, f: Format, mode: Mode) => fma(a, one(f), b, f, mode);
export const sub = (a: bigint, b: bigint, f: Format, mode: Mode) =>
  decode(b, f).kind === 'nan' ? nanOf(f) : fma(a, one(f), b ^ minusZero(f), f, mode);
export function mul(a: bigint, b: bigint, f: Format, mode: Mode): bigint {
  const [x, y] = [decode(a, f), decode(b, f)];
  const negative = x.kind !== 'nan' && y.kind !== 'nan' && x.negative !== y.negative;
  return fma(a, b, negative ? minusZero(f) : 0n, f, mode);
}

export function divide(aBits: bigint, bBits: bigint, f: Format, mode: Mode): bigint {
  const [a, b] = [decode(aBits, f), decode(bBits, f)];
  if (a.kind === 'nan' || b.kind === 'nan') return nanOf(f);
  const negative = a.negative !== b.negative;
  const sign = negative ? minusZero(f) : 0n;
  const infinity = sign | (mask(f.e) << BigInt(f.m));
  if (a.kind === 'infinite') return b.kind === 'infinite' ? nanOf(f) : infinity;
  if (b.kind === 'infinite') return sign;
  if (b.n === 0n) return a.n === 0n ? nanOf(f) : infinity;
  const scaled = a.n << 200n;
  return round(negative, scaled / b.n, a.p - b.p - 200, scaled % b.n !== 0n, f, mode);
}

export function squareRoot(bits: bigint, f: Format, mode: Mode): bigint {
  const a = decode(bits, f);
  if (a.kind === 'nan' || (a.negative && !(a.kind === 'finite' && a.n === 0n))) return nanOf(f);
  if (a.kind === 'infinite' || a.n === 0n) return bits;
  const shift = 200 + (Math.abs(a.p) % 2);
  const n = a.n << BigInt(shift);
  let root = 1n << BigInt(Math.ceil(n.toString(2).length / 2));
  for (let next = (root + n / root) >> 1n; next < root; next = (root + n / root) >> 1n) root = next;
  return round(false, root, (a.p - shift) / 2, root * root !== n, f, mode);
}

/** Value of an integer in a floating format. */
export function fromInteger(value: bigint, f: Format, mode: Mode): bigint {
  return round(value < 0n, value < 0n ? -value : value, 0, false, f, mode);
}

/** A floating number in another format. */
export function convert(bits: bigint, from: Format, to: Format, mode: Mode): bigint {
  const a = decode(bits, from);
  if (a.kind === 'nan') return nanOf(to);
  if (a.kind === 'infinite') return (a.negative ? minusZero(to) : 0n) | (mask(to.e) << BigInt(to.m));
  return round(a.negative, a.n, a.p, false, to, mode);
}

/** Truncation towards zero, clamped. */
export function toInteger(bits: bigint, from: Format, width: number, isSigned: boolean): bigint {
  const a = decode(bits, from);
  const [low, high] = isSigned ? [-(1n << BigInt(width - 1)), mask(width - 1)] : [0n, mask(width)];
  if (a.kind === 'nan') return width === 64 || from.m === 52 ? 1n << BigInt(width - 1) : 0n;
  let value = a.kind === 'infinite' ? high + 1n : a.p >= 0 ? a.n << BigInt(a.p) : a.n >> BigInt(-a.p);
  if (a.negative) value = a.kind === 'infinite' ? low - 1n : -value;
  return (value < low ? low : value > high ? high : value) & mask(width);
}

/** Integer instructions on `bits`-wide values; the opcode's own name selects. */
export const integerOps: Record<string, (bits: number, isSigned: boolean, ...operands: bigint[]) => bigint> = {
  add: (_n, _s, a, b) => a + b,
  sub: (_n, _s, a, b) => a - b,
  'mul.lo': (_n, _s, a, b) => a * b,
  'mul.hi': (n, s, a, b) => (s ? signed(a, n) * signed(b, n) : a * b) >> BigInt(n),
  'mad.lo': (_n, _s, a, b, c) => a * b + c,
  'mad.hi': (n, s, a, b, c) => ((s ? signed(a, n) * signed(b, n) : a * b) >> BigInt(n)) + c,
  min: (n, s, a, b) => ((s ? signed(a, n) < signed(b, n) : a < b) ? a : b),
  max: (n, s, a, b) => ((s ? signed(a, n) > signed(b, n) : a > b) ? a : b),
  sad: (n, s, a, b, c) => {
    const d = s ? signed(a, n) - signed(b, n) : a - b;
    return c + (d < 0n ? -d : d);
  },
  // Divisors are never zero here: that is unspecified.
  div: (n, s, a, b) => (s ? signed(a, n) / signed(b | 1n, n) : a / (b | 1n)),
  rem: (n, s, a, b) => (s ? signed(a, n) % signed(b | 1n, n) : a % (b | 1n)),
};

export const bitOps: Record<string, (bits: number, ...operands: bigint[]) => bigint> = {
  and: (_n, a, b) => a & b,
  or: (_n, a, b) => a | b,
  xor: (_n, a, b) => a ^ b,
  not: (_n, a) => ~a,
};

export function shift(kind: 'shl' | 'shr', bits: number, isSigned: boolean, a: bigint, by: bigint): bigint {
  const n = by > BigInt(bits) ? BigInt(bits) : by;
  if (kind === 'shl') return a << n;
  return (isSigned ? signed(a, bits) : a) >> n;
}

/** bfe by the manual's loop over bits. */
export function extract(bits: number, isSigned: boolean, a: bigint, b: bigint, c: bigint): bigint {
  const msb = bits - 1;
  const position = Number(b & 255n);
  const length = Number(c & 255n);
  const bit = (i: number) => (a >> BigInt(i)) & 1n;
  const fill = !isSigned || length === 0 ? 0n : bit(Math.min(position + length - 1, msb));
  let d = 0n;
  for (let i = 0; i <= msb; i++) d |= (i < length && position + i <= msb ? bit(position + i) : fill) << BigInt(i);
  return d;
}

export function insert(bits: number, a: bigint, b: bigint, c: bigint, d: bigint): bigint {
  const position = Number(c & 255n);
  const length = Number(d & 255n);
  let f = b;
  for (let i = 0; i < length && position + i < bits; i++) {
    const at = BigInt(position + i);
    f = (f & ~(1n << at)) | (((a >> BigInt(i)) & 1n) << at);
  }
  return f;
}

export const countOps: Record<string, (bits: number, a: bigint) => bigint> = {
  popc: (_n, a) => BigInt([...a.toString(2)].filter((digit) => digit === '1').length),
  clz: (n, a) => BigInt(a === 0n ? n : n - a.toString(2).length),
};
export const reverse = (bits: number, a: bigint): bigint =>
  BigInt(`0b${[...a.toString(2).padStart(bits, '0')].reverse().join('')}`);
