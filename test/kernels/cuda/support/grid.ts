// What the cases of conformanceInteger, conformanceCompare, conformanceFloat and conformanceConvert have in common: every operation
// with every type and rounding that it has, on values where types and roundings differ. What the PTX manual says of them is
// written there, and in evaluator.ts, over BigInts of bits.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import type { OperandKind, Value } from './instruction.ts';

export const integers = ['u16', 's16', 'u32', 's32', 'u64', 's64'];
export const allIntegers = ['u8', 's8', ...integers];
export const untyped = ['b16', 'b32', 'b64'];
export const roundings = ['rn', 'rz', 'rm', 'rp'] as const;
export type Rounding = (typeof roundings)[number];

export const widthOf = (type: string): number =>
  type.endsWith('x2') ? 32 : type === 'tf32' ? 32 : Number(/\d+$/.exec(type)![0]);
export const isSigned = (type: string) => type[0] === 's';
/** Registers of at least 16 bits: values of 8 are kept in 32, where ld and cvt put them. */
const kindOf = (type: string): OperandKind =>
  type === 'pred' ? 'p' : ({ 8: 'r', 16: 'h', 32: 'r', 64: 'd' } as const)[widthOf(type) as 8 | 16 | 32 | 64];
const sizeOf = (kind: OperandKind) => (kind === 'h' ? 16 : kind === 'd' ? 64 : 32);
const toValue = (kind: OperandKind, bits: bigint): Value =>
  kind === 'p' ? bits !== 0n : kind === 'd' ? BigInt.asUintN(64, bits) : Number(BigInt.asUintN(sizeOf(kind), bits));

/** A case of one instruction on registers of the given types; `result` computes the destination from its sources' bits. */
export function instruction(
  op: string,
  to: string,
  from: readonly string[],
  rows: readonly (readonly bigint[])[],
  result: (...sources: bigint[]) => bigint,
  body?: string,
): Conformance {
  const kinds = from.map(kindOf);
  const operands = ['%x', '%a', '%b', '%c', '%d'].slice(0, from.length + 1).join(', ');
  return {
    name: op,
    signature: `${kinds.join(' ')} -> ${kindOf(to)}`,
    body: body ?? `${op} ${operands};`,
    rows: rows.map((all) => {
      const row = all.slice(0, from.length);
      const sources = row.map((bits, k) => BigInt.asUintN(widthOf(from[k] === 'pred' ? 'b8' : from[k]), bits));
      return [...row.map((bits, k) => toValue(kinds[k], bits)), toValue(kindOf(to), result(...sources))];
    }),
  };
}

export const corners = [0n, 1n, 7n, -1n, -7n, 1n << 15n, 1n << 31n, 1n << 63n, 0x123456789abcdefn];
export const pairs = corners.flatMap((a) => corners.map((b) => [a, b]));
export const triples = pairs.map(([a, b], i) => [a, b, corners[i % corners.length]]);
export const value = (type: string, bits: bigint) =>
  isSigned(type) ? BigInt.asIntN(widthOf(type), bits) : BigInt.asUintN(widthOf(type), bits);
export interface Floating {
  readonly format: plain.Format;
  /** 1, −1, 2, −0, NaN, the smallest subnormal, infinity, the largest number. */
  readonly bits: readonly bigint[];
}
const floating = (format: plain.Format): Floating => {
  const { m, e } = format;
  const sign = 1n << BigInt(m + e);
  const infinity = plain.mask(e) << BigInt(m);
  const one = BigInt(2 ** (e - 1) - 1) << BigInt(m);
  return {
    format,
    bits: [
      one,
      one | sign,
      one + (1n << BigInt(m)),
      sign,
      infinity + (1n << BigInt(m - 1)),
      1n,
      infinity,
      infinity - 1n,
    ],
  };
};
export const formats: Record<string, Floating> = {
  f16: floating(plain.halfFormat),
  bf16: floating({ m: 7, e: 8 }),
  f32: floating(plain.single),
  f64: floating(plain.double),
};
const doubleView = new DataView(new ArrayBuffer(8));
export const numberOf = (bits: bigint, format: plain.Format): number => {
  doubleView.setBigUint64(0, plain.convert(bits, format, plain.double, 'rn'));
  return doubleView.getFloat64(0);
};
export const bitsOfDouble = (x: number): bigint => {
  doubleView.setFloat64(0, x);
  return Number.isNaN(x) ? 0x7ff8n << 48n : doubleView.getBigUint64(0);
};
const isSubnormal = (bits: bigint, { m, e }: plain.Format) => ((bits >> BigInt(m)) & plain.mask(e)) === 0n;
export const flush = (bits: bigint, format: plain.Format) =>
  isSubnormal(bits, format) ? bits & (1n << BigInt(format.m + format.e)) : bits;
export const floatPairs = (type: string) => formats[type].bits.flatMap((a) => formats[type].bits.map((b) => [a, b]));
export const packed = (type: string) =>
  floatPairs(type).map(([a, b], i, all) => {
    const [c, d] = all[(5 * i + 3) % all.length];
    return [a | (c << 16n), b | (d << 16n)];
  });
export const half = (bits: bigint, k: number) => (bits >> BigInt(16 * k)) & 0xffffn;
const clamp01 = (bits: bigint, { format, bits: [one] }: Floating) => {
  const x = numberOf(bits, format);
  return x > 0 ? (x < 1 ? bits : one) : 0n;
};
const relu = (bits: bigint, { format }: Floating) => (numberOf(bits, format) <= 0 ? 0n : bits);
/** Applies what `.ftz`, `.sat` and `.relu` say to sources and result. */
export const modified =
  (modifiers: string, type: Floating, evaluate: (...x: bigint[]) => bigint) =>
  (...sources: bigint[]) => {
    const ftz = (bits: bigint) => (modifiers.includes('.ftz') ? flush(bits, type.format) : bits);
    const result = ftz(evaluate(...sources.map(ftz)));
    if (modifiers.includes('.sat')) return clamp01(result, type);
    return modifiers.includes('.relu') ? relu(result, type) : result;
  };
/** The same in both halves. */
export const twice =
  (evaluate: (...x: bigint[]) => bigint) =>
  (...sources: bigint[]) =>
    evaluate(...sources.map((x) => half(x, 0))) | (evaluate(...sources.map((x) => half(x, 1))) << 16n);
/** Sums, differences and products of these need rounding, under- and overflow. */
export const numbers = (type: string) => {
  const { format, bits } = formats[type];
  const { m } = format;
  const [one] = bits;
  const ulp = (k: bigint) => one + k;
  return [...bits, ulp(1n), ulp(3n), one - (BigInt(m) << BigInt(m)), (1n << BigInt(m)) | 1n, ulp(1n) | bits[3]];
};
export const numberPairs = (type: string) => numbers(type).flatMap((a) => numbers(type).map((b) => [a, b]));
export const numberTriples = (type: string) =>
  numberPairs(type).map(([a, b], i) => [a, b, numbers(type)[(7 * i + 2) % numbers(type).length]]);
// A NaN's payload is open for f64.
export const settled = (type: string, rows: bigint[][]) =>
  type === 'f64' ? rows.filter((row) => row.every((bits) => !Number.isNaN(numberOf(bits, plain.double)))) : rows;
export const together = (rows: bigint[][]) =>
  rows.map((row, i) => row.map((bits, k) => bits | (rows[(3 * i + 1) % rows.length][k] << 16n)));
