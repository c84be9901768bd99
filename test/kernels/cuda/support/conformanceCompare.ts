// Comparison and selection.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import {
  floatPairs,
  flush,
  formats,
  half,
  instruction,
  integers,
  numberOf,
  packed,
  pairs,
  untyped,
  value,
} from './grid.ts';

const cases: Conformance[] = [];
const grid = (...args: Parameters<typeof instruction>) => void cases.push(instruction(...args));

const ordered = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'];
const holds: Record<string, (a: number | bigint, b: number | bigint) => boolean> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a < b || a > b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
  equ: (a, b) => !(a < b || a > b),
  neu: (a, b) => a !== b,
  ltu: (a, b) => !(a >= b),
  leu: (a, b) => !(a > b),
  gtu: (a, b) => !(a <= b),
  geu: (a, b) => !(a < b),
  num: (a, b) => !Number.isNaN(a) && !Number.isNaN(b),
  nan: (a, b) => Number.isNaN(a) || Number.isNaN(b),
  lo: (a, b) => a < b,
  ls: (a, b) => a <= b,
  hi: (a, b) => a > b,
  hs: (a, b) => a >= b,
};
const comparisonsOf = (type: string) => {
  if (type in formats || type.endsWith('x2'))
    return [...ordered, 'equ', 'neu', 'ltu', 'leu', 'gtu', 'geu', 'num', 'nan'];
  if (type[0] === 'b') return ['eq', 'ne'];
  return type[0] === 'u' ? [...ordered, 'lo', 'ls', 'hi', 'hs'] : ordered;
};
const hasFtz = (type: string) => type === 'f32' || type.startsWith('f16');
const compare = (comparison: string, type: string, a: bigint, b: bigint, ftz: boolean): boolean => {
  const format = formats[type]?.format;
  if (format === undefined) return holds[comparison](value(type, a), value(type, b));
  const read = (bits: bigint) => numberOf(ftz ? flush(bits, format) : bits, format);
  return holds[comparison](read(a), read(b));
};
const operators = ['and', 'or', 'xor'];
const combine: Record<string, (test: boolean, c: boolean) => boolean> = {
  and: (test, c) => test && c,
  or: (test, c) => test || c,
  xor: (test, c) => test !== c,
};
const pairsOf = (type: string) => (type in formats ? floatPairs(type) : pairs);

for (const type of [...untyped, ...integers, ...Object.keys(formats)]) {
  for (const comparison of comparisonsOf(type)) {
    for (const ftz of hasFtz(type) ? ['', '.ftz'] : ['']) {
      const test = (a: bigint, b: bigint) => compare(comparison, type, a, b, ftz !== '');
      const bit = (condition: boolean) => (condition ? 1n : 0n);
      grid(`setp.${comparison}${ftz}.${type}`, 'pred', [type, type], pairsOf(type), (a, b) => bit(test(a, b)));
      for (const operator of operators) {
        const rows = pairsOf(type).map(([a, b], i) => [a, b, BigInt(i % 2)]);
        const combined = (a: bigint, b: bigint, c: bigint) => combine[operator](test(a, b), c !== 0n);
        const name = `${comparison}.${operator}${ftz}`;
        grid(`setp.${name}.${type}`, 'pred', [type, type, 'pred'], rows, (a, b, c) => bit(combined(a, b, c)));
        if (type[0] === 'b' || type === 'f16' || type === 'f64') continue;
        // With every comparison and operator in turn.
        const to = ['u32', 's32', 'f32'][(comparisonsOf(type).indexOf(comparison) + operators.indexOf(operator)) % 3];
        const one = to === 'f32' ? 0x3f800000n : 0xffffffffn;
        grid(`set.${name}.${to}.${type}`, to, [type, type, 'pred'], rows, (a, b, c) => (combined(a, b, c) ? one : 0n));
      }
      const destinations = type.endsWith('f16') ? ['u16', 's16', 'u32', 's32', type] : ['u32', 's32', 'f32'];
      for (const to of destinations) {
        const one = to in formats ? formats[to].bits[0] : -1n;
        grid(`set.${comparison}${ftz}.${to}.${type}`, to, [type, type], pairsOf(type), (a, b) =>
          test(a, b) ? one : 0n,
        );
      }
      if (!type.endsWith('f16')) continue;
      const two = `${type}x2`;
      for (const [operator, c] of [
        ['', ''],
        ['.and', ', %flag2'],
        ['.or', ', %flag2'],
        ['.xor', ', %flag2'],
      ]) {
        const rows = packed(type);
        const results = rows.map(([a, b]) => [0, 1].map((k) => test(half(a, k), half(b, k))));
        cases.push({
          name: `setp.${comparison}${operator}${ftz}.${two}`,
          signature: 'r r -> p p',
          body: `{ .reg .pred %flag2; setp.ne.u32 %flag2, %i, %i; setp.${comparison}${operator}${ftz}.${two} %x|%y, %a, %b${c}; }`,
          rows: rows.map(([a, b], i) => [
            Number(a),
            Number(b),
            ...results[i].map((result) => (operator === '' ? result : combine[operator.slice(1)](result, false))),
          ]),
        });
      }
      for (const to of ['u32', 's32', two]) {
        const one = to === two ? formats[type].bits[0] : 0xffffn;
        grid(`set.${comparison}${ftz}.${to}.${two}`, to, [two, two], packed(type), (a, b) =>
          [0, 1].reduce((sum, k) => sum | ((test(half(a, k), half(b, k)) ? one : 0n) << BigInt(16 * k)), 0n),
        );
      }
    }
  }
}
for (const type of [...untyped, ...integers, 'f32', 'f64']) {
  grid(
    `selp.${type}`,
    type,
    [type, type, 'pred'],
    [
      [1n, -2n, 1n],
      [1n, -2n, 0n],
    ],
    (a, b, c) => (c !== 0n ? a : b),
  );
  grid(
    `slct.${type}.s32`,
    type,
    [type, type, 's32'],
    [
      [1n, -2n, 0n],
      [1n, -2n, -1n],
    ],
    (a, b, c) => (value('s32', c) >= 0n ? a : b),
  );
  for (const ftz of ['', '.ftz']) {
    const rows = [...formats.f32.bits, 0x80000001n].map((c) => [1n, -2n, c]);
    grid(`slct${ftz}.${type}.f32`, type, [type, type, 'f32'], rows, (a, b, c) =>
      numberOf(ftz === '' ? c : flush(c, plain.single), plain.single) >= 0 ? a : b,
    );
  }
}

export const conformanceCompare: readonly Conformance[] = cases;
