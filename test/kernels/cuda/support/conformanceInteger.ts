// Integer arithmetic, and bits.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import { corners, instruction, integers, isSigned, pairs, triples, untyped, value, widthOf } from './grid.ts';

const cases: Conformance[] = [];
const grid = (...args: Parameters<typeof instruction>) => void cases.push(instruction(...args));

for (const type of integers) {
  const [n, s] = [widthOf(type), isSigned(type)];
  for (const [op, evaluate] of Object.entries(plain.integerOps)) {
    const count = /mad|sad/.test(op) ? 3 : 2;
    // What dividing by zero gives is in conformance.ts.
    const rows =
      count === 3 ? triples : pairs.filter(([, b]) => !/div|rem/.test(op) || BigInt.asUintN(n, b) % 2n === 1n);
    grid(`${op}.${type}`, type, Array(count).fill(type), rows, (...x) => evaluate(n, s, ...x));
  }
}
for (const type of ['u16', 's16', 'u32', 's32']) {
  const wide = `b${2 * widthOf(type)}`;
  grid(`mul.wide.${type}`, wide, [type, type], pairs, (a, b) => value(type, a) * value(type, b));
  grid(`mad.wide.${type}`, wide, [type, type, wide], triples, (a, b, c) => value(type, a) * value(type, b) + c);
}
for (const type of ['u32', 's32']) {
  const low = (x: bigint) => (isSigned(type) ? BigInt.asIntN(24, x) : BigInt.asUintN(24, x));
  for (const [part, shift] of [
    ['lo', 0n],
    ['hi', 16n],
  ] as const) {
    grid(`mul24.${part}.${type}`, type, [type, type], pairs, (a, b) => (low(a) * low(b)) >> shift);
    grid(`mad24.${part}.${type}`, type, [type, type, type], triples, (a, b, c) => ((low(a) * low(b)) >> shift) + c);
  }
  // Three words, the carry going through the middle one.
  const long = (a: bigint, b: bigint) => (b << 32n) | a;
  const carry = (op: string, sum: (a: bigint, b: bigint) => bigint) =>
    grid(
      `${op}.cc.${type} and ${op}c`,
      'b32',
      [type, type],
      pairs,
      (a, b) => sum(long(a, a) | (a << 64n), long(b, b) | (b << 64n)) >> 64n,
      `{ .reg .b32 t; ${op}.cc.${type} t, %a, %b; ${op}c.cc.${type} t, %a, %b; ${op}c.${type} %x, %a, %b; }`,
    );
  carry('add', (a, b) => a + b);
  carry('sub', (a, b) => a - b);
  for (const part of ['lo', 'hi']) {
    const product = (a: bigint, b: bigint) => {
      const full = value(type, a) * value(type, b);
      return BigInt.asUintN(32, part === 'hi' ? full >> 32n : full);
    };
    grid(
      `mad.${part}.cc.${type} and madc`,
      'b32',
      [type, type, type],
      triples,
      (a, b, c) => {
        const first = product(a, b) + c;
        const second = product(a, b) + c + (first >> 32n);
        return product(a, b) + c + (second >> 32n);
      },
      `{ .reg .b32 t; mad.${part}.cc.${type} t, %a, %b, %c; madc.${part}.cc.${type} t, %a, %b, %c; madc.${part}.${type} %x, %a, %b, %c; }`,
    );
  }
}
// Products of bytes, or of halfwords with the low or high bytes.
const bytes = (type: string, x: bigint, width: number) =>
  [0, 1, 2, 3].map((k) => {
    const part = x >> BigInt(k * width);
    return isSigned(type) ? BigInt.asIntN(width, part) : BigInt.asUintN(width, part);
  });
for (const aType of ['u32', 's32']) {
  for (const bType of ['u32', 's32']) {
    const rows = [
      [0x80ff7f01n, 0xff807f02n, 5n],
      [0xffffffffn, 0x80808080n, 0xffffffffn],
    ];
    for (const [op, first, last, width] of [
      ['dp4a', 0, 4, 8],
      ['dp2a.lo', 0, 2, 16],
      ['dp2a.hi', 2, 4, 16],
    ] as const) {
      grid(`${op}.${aType}.${bType}`, 'b32', [aType, bType, 'b32'], rows, (a, b, c) =>
        bytes(bType, b, 8)
          .slice(first, last)
          .reduce((sum, y, k) => sum + bytes(aType, a, width)[k] * y, c),
      );
    }
  }
}
for (const type of untyped) {
  const n = widthOf(type);
  for (const op of ['and', 'or', 'xor'])
    grid(`${op}.${type}`, type, [type, type], pairs, (a, b) => plain.bitOps[op](n, a, b));
  grid(`not.${type}`, type, [type], pairs, (a) => ~a);
  grid(`cnot.${type}`, type, [type], pairs, (a) => (a === 0n ? 1n : 0n));
}
const amounts = [0n, 1n, 15n, 16n, 31n, 32n, 63n, 64n, 0xffffffffn];
const shifts = corners.flatMap((a) => amounts.map((by) => [a, by]));
for (const type of [...untyped, ...integers]) {
  const [n, s] = [widthOf(type), isSigned(type)];
  grid(`shr.${type}`, type, [type, 'u32'], shifts, (a, by) => plain.shift('shr', n, s, a, by));
  if (type[0] === 'b') grid(`shl.${type}`, type, [type, 'u32'], shifts, (a, by) => plain.shift('shl', n, false, a, by));
}

export const conformanceInteger: readonly Conformance[] = cases;
