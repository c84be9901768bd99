// Every operation with every type and rounding that it has, on values where types and roundings differ. What the PTX manual says
// of them is written here, and in evaluator.ts, over BigInts of bits.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import type { OperandKind, Value } from './instruction.ts';

const cases: Conformance[] = [];
const integers = ['u16', 's16', 'u32', 's32', 'u64', 's64'];
const allIntegers = ['u8', 's8', ...integers];
const untyped = ['b16', 'b32', 'b64'];
const roundings = ['rn', 'rz', 'rm', 'rp'] as const;
type Rounding = (typeof roundings)[number];

const widthOf = (type: string): number =>
  type.endsWith('x2') ? 32 : type === 'tf32' ? 32 : Number(/\d+$/.exec(type)![0]);
const isSigned = (type: string) => type[0] === 's';
/** Registers of at least 16 bits: values of 8 are kept in 32, where ld and cvt put them. */
const kindOf = (type: string): OperandKind =>
  type === 'pred' ? 'p' : ({ 8: 'r', 16: 'h', 32: 'r', 64: 'd' } as const)[widthOf(type) as 8 | 16 | 32 | 64];
const sizeOf = (kind: OperandKind) => (kind === 'h' ? 16 : kind === 'd' ? 64 : 32);
const toValue = (kind: OperandKind, bits: bigint): Value =>
  kind === 'p' ? bits !== 0n : kind === 'd' ? BigInt.asUintN(64, bits) : Number(BigInt.asUintN(sizeOf(kind), bits));

/** A case of one instruction on registers of the given types; `result` computes the destination from its sources' bits. */
function grid(
  op: string,
  to: string,
  from: readonly string[],
  rows: readonly (readonly bigint[])[],
  result: (...sources: bigint[]) => bigint,
  body?: string,
): void {
  const kinds = from.map(kindOf);
  const operands = ['%x', '%a', '%b', '%c', '%d'].slice(0, from.length + 1).join(', ');
  cases.push({
    name: op,
    signature: `${kinds.join(' ')} -> ${kindOf(to)}`,
    body: body ?? `${op} ${operands};`,
    rows: rows.map((all) => {
      const row = all.slice(0, from.length);
      const sources = row.map((bits, k) => BigInt.asUintN(widthOf(from[k] === 'pred' ? 'b8' : from[k]), bits));
      return [...row.map((bits, k) => toValue(kinds[k], bits)), toValue(kindOf(to), result(...sources))];
    }),
  });
}

// ---- integers ----
const corners = [0n, 1n, 7n, -1n, -7n, 1n << 15n, 1n << 31n, 1n << 63n, 0x123456789abcdefn];
const pairs = corners.flatMap((a) => corners.map((b) => [a, b]));
const triples = pairs.map(([a, b], i) => [a, b, corners[i % corners.length]]);
const value = (type: string, bits: bigint) =>
  isSigned(type) ? BigInt.asIntN(widthOf(type), bits) : BigInt.asUintN(widthOf(type), bits);
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

// ---- comparison and selection ----
interface Floating {
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
const formats: Record<string, Floating> = {
  f16: floating(plain.halfFormat),
  bf16: floating({ m: 7, e: 8 }),
  f32: floating(plain.single),
  f64: floating(plain.double),
};
const doubleView = new DataView(new ArrayBuffer(8));
const numberOf = (bits: bigint, format: plain.Format): number => {
  doubleView.setBigUint64(0, plain.convert(bits, format, plain.double, 'rn'));
  return doubleView.getFloat64(0);
};
const bitsOfDouble = (x: number): bigint => {
  doubleView.setFloat64(0, x);
  return Number.isNaN(x) ? 0x7ff8n << 48n : doubleView.getBigUint64(0);
};
const isSubnormal = (bits: bigint, { m, e }: plain.Format) => ((bits >> BigInt(m)) & plain.mask(e)) === 0n;
const flush = (bits: bigint, format: plain.Format) =>
  isSubnormal(bits, format) ? bits & (1n << BigInt(format.m + format.e)) : bits;

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
const floatPairs = (type: string) => formats[type].bits.flatMap((a) => formats[type].bits.map((b) => [a, b]));
const pairsOf = (type: string) => (type in formats ? floatPairs(type) : pairs);
const packed = (type: string) =>
  floatPairs(type).map(([a, b], i, all) => {
    const [c, d] = all[(5 * i + 3) % all.length];
    return [a | (c << 16n), b | (d << 16n)];
  });
const half = (bits: bigint, k: number) => (bits >> BigInt(16 * k)) & 0xffffn;

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

// ---- floating-point arithmetic ----
const clamp01 = (bits: bigint, { format, bits: [one] }: Floating) => {
  const x = numberOf(bits, format);
  return x > 0 ? (x < 1 ? bits : one) : 0n;
};
const relu = (bits: bigint, { format }: Floating) => (numberOf(bits, format) <= 0 ? 0n : bits);
/** Applies what `.ftz`, `.sat` and `.relu` say to sources and result. */
const modified =
  (modifiers: string, type: Floating, evaluate: (...x: bigint[]) => bigint) =>
  (...sources: bigint[]) => {
    const ftz = (bits: bigint) => (modifiers.includes('.ftz') ? flush(bits, type.format) : bits);
    const result = ftz(evaluate(...sources.map(ftz)));
    if (modifiers.includes('.sat')) return clamp01(result, type);
    return modifiers.includes('.relu') ? relu(result, type) : result;
  };
/** The same in both halves. */
const twice =
  (evaluate: (...x: bigint[]) => bigint) =>
  (...sources: bigint[]) =>
    evaluate(...sources.map((x) => half(x, 0))) | (evaluate(...sources.map((x) => half(x, 1))) << 16n);
/** Sums, differences and products of these need rounding, under- and overflow. */
const numbers = (type: string) => {
  const { format, bits } = formats[type];
  const { m } = format;
  const [one] = bits;
  const ulp = (k: bigint) => one + k;
  return [...bits, ulp(1n), ulp(3n), one - (BigInt(m) << BigInt(m)), (1n << BigInt(m)) | 1n, ulp(1n) | bits[3]];
};
const numberPairs = (type: string) => numbers(type).flatMap((a) => numbers(type).map((b) => [a, b]));
const numberTriples = (type: string) =>
  numberPairs(type).map(([a, b], i) => [a, b, numbers(type)[(7 * i + 2) % numbers(type).length]]);
// A NaN's payload is open for f64.
const settled = (type: string, rows: bigint[][]) =>
  type === 'f64' ? rows.filter((row) => row.every((bits) => !Number.isNaN(numberOf(bits, plain.double)))) : rows;
const together = (rows: bigint[][]) =>
  rows.map((row, i) => row.map((bits, k) => bits | (rows[(3 * i + 1) % rows.length][k] << 16n)));

function arithmetic(op: string, modifiers: string, type: string, mode: Rounding, count: 2 | 3): void {
  const floats = formats[type];
  const { format } = floats;
  const operations: Record<string, (a: bigint, b: bigint, c: bigint) => bigint> = {
    add: (a, b) => plain.add(a, b, format, mode),
    sub: (a, b) => plain.sub(a, b, format, mode),
    mul: (a, b) => plain.mul(a, b, format, mode),
    fma: (a, b, c) => plain.fma(a, b, c, format, mode),
    mad: (a, b, c) => plain.fma(a, b, c, format, mode),
  };
  const name = op.split('.')[0];
  const evaluate = modified(modifiers, floats, (...x) => operations[name](x[0], x[1], x[2]));
  const rows = settled(type, count === 3 ? numberTriples(type) : numberPairs(type));
  const canonical = rows.filter((row) => type !== 'f64' || !Number.isNaN(numberOf(evaluate(...row), format)));
  grid(`${op}${modifiers}.${type}`, type, Array(count).fill(type), canonical, evaluate);
  if (type.endsWith('f16'))
    grid(`${op}${modifiers}.${type}x2`, `${type}x2`, Array(count).fill(`${type}x2`), together(rows), twice(evaluate));
}
for (const op of ['add', 'sub', 'mul']) {
  for (const mode of roundings) {
    for (const modifiers of ['', '.ftz', '.sat', '.ftz.sat']) arithmetic(`${op}.${mode}`, modifiers, 'f32', mode, 2);
    arithmetic(`${op}.${mode}`, '', 'f64', mode, 2);
  }
  arithmetic(op, '', 'f32', 'rn', 2);
  arithmetic(op, '', 'f64', 'rn', 2);
  for (const modifiers of ['', '.ftz', '.sat', '.ftz.sat']) arithmetic(op, modifiers, 'f16', 'rn', 2);
  arithmetic(`${op}.rn`, '', 'f16', 'rn', 2);
  for (const rounding of ['', '.rn']) arithmetic(`${op}${rounding}`, '', 'bf16', 'rn', 2);
}
for (const op of ['fma', 'mad']) {
  for (const mode of roundings) {
    for (const modifiers of ['', '.ftz', '.sat', '.ftz.sat']) arithmetic(`${op}.${mode}`, modifiers, 'f32', mode, 3);
    arithmetic(`${op}.${mode}`, '', 'f64', mode, 3);
  }
}
for (const modifiers of ['', '.ftz', '.sat', '.ftz.sat', '.relu', '.ftz.relu'])
  arithmetic('fma.rn', modifiers, 'f16', 'rn', 3);
for (const modifiers of ['', '.relu']) arithmetic('fma.rn', modifiers, 'bf16', 'rn', 3);

for (const mode of roundings) {
  const { format, bits } = formats.f32;
  const sources = numbers('f32').map((a) => [a]);
  for (const option of ['', '.ftz']) {
    const divide = modified(option, formats.f32, (a, b) => plain.divide(a, b, format, mode));
    grid(`div.${mode}${option}.f32`, 'f32', ['f32', 'f32'], numberPairs('f32'), divide);
    grid(`rcp.${mode}${option}.f32`, 'f32', ['f32'], sources, (a) => divide(bits[0], a));
    const root = modified(option, formats.f32, (a) => plain.squareRoot(a, format, mode));
    grid(`sqrt.${mode}${option}.f32`, 'f32', ['f32'], sources, root);
  }
}

// A NaN gives the other operand, or with .NaN the canonical NaN; −0 is smaller than +0.
for (const op of ['min', 'max']) {
  const extreme =
    (nan: boolean, { format }: Floating) =>
    (a: bigint, b: bigint) => {
      const [x, y] = [numberOf(a, format), numberOf(b, format)];
      const canonical = plain.mask(format.m + format.e);
      if (Number.isNaN(x) || Number.isNaN(y)) {
        if (nan || (Number.isNaN(x) && Number.isNaN(y))) return canonical;
        return Number.isNaN(x) ? b : a;
      }
      const smaller = x < y || (x === y && Object.is(x, -0));
      return smaller === (op === 'min') ? a : b;
    };
  for (const type of ['f32', 'f16', 'bf16']) {
    for (const modifiers of type === 'bf16' ? ['', '.NaN'] : ['', '.NaN', '.ftz', '.ftz.NaN']) {
      const evaluate = modified(modifiers, formats[type], extreme(modifiers.endsWith('.NaN'), formats[type]));
      const name = `${op}${modifiers}.${type}`;
      grid(name, type, [type, type], floatPairs(type), evaluate);
      if (type !== 'f32') grid(`${name}x2`, `${type}x2`, [`${type}x2`, `${type}x2`], packed(type), twice(evaluate));
      else {
        const rows = floatPairs(type).map(([a, b], i) => [a, b, formats.f32.bits[(5 * i) % 8]]);
        grid(name, type, [type, type, type], rows, (a, b, c) => evaluate(evaluate(a, b), c));
      }
    }
  }
}
for (const type of ['f16', 'bf16']) {
  const sign = 0x8000n;
  for (const [op, evaluate] of [
    ['neg', (a: bigint) => a ^ sign],
    ['abs', (a: bigint) => a & ~sign],
  ] as const) {
    grid(
      `${op}.${type}`,
      type,
      [type],
      floatPairs(type).map(([a]) => [a]),
      evaluate,
    );
    grid(
      `${op}.${type}x2`,
      `${type}x2`,
      [`${type}x2`],
      packed(type).map(([a]) => [a]),
      twice(evaluate),
    );
  }
}
// Powers of two and limits, which an approximation gives exactly.
for (const [type, rows] of [
  [
    'f16',
    [
      [0x4200n, 0x4800n],
      [0xbc00n, 0x3800n],
      [0x7c00n, 0x7c00n],
      [0xfc00n, 0n],
      [0xcb00n, 0x0400n],
      [0x7e00n, 0x7fffn],
    ],
  ],
  [
    'bf16',
    [
      [0x4040n, 0x4100n],
      [0xbf80n, 0x3f00n],
      [0x7f80n, 0x7f80n],
      [0xff80n, 0n],
      [0x0001n, 0x3f80n],
      [0xc2fen, 0n],
      [0x7fc0n, 0x7fffn],
    ],
  ],
] as [string, bigint[][]][]) {
  const ftz = type === 'bf16' ? '.ftz' : '';
  const results = new Map(rows.map(([a, result]) => [a, result]));
  const sources = rows.map(([a]) => [a]);
  grid(`ex2.approx${ftz}.${type}`, type, [type], sources, (a) => results.get(a)!);
  grid(
    `ex2.approx${ftz}.${type}x2`,
    `${type}x2`,
    [`${type}x2`],
    together(sources),
    twice((a) => results.get(a)!),
  );
  const { bits } = formats[type];
  const limits = new Map([
    [bits[6], bits[0]],
    [bits[6] | bits[3], bits[1]],
    [0n, 0n],
    [bits[3], bits[3]],
  ]);
  grid(
    `tanh.approx.${type}`,
    type,
    [type],
    [...limits.keys()].map((a) => [a]),
    (a) => limits.get(a)!,
  );
  grid(
    `tanh.approx.${type}x2`,
    `${type}x2`,
    [`${type}x2`],
    together([...limits.keys()].map((a) => [a])),
    twice((a) => limits.get(a)!),
  );
}

// ---- conversions ----
const limitsOf = (type: string): [bigint, bigint] => {
  const n = BigInt(widthOf(type));
  return isSigned(type) ? [-(1n << (n - 1n)), (1n << (n - 1n)) - 1n] : [0n, (1n << n) - 1n];
};
const clampTo = (type: string, x: bigint) => {
  const [low, high] = limitsOf(type);
  return x < low ? low : x > high ? high : x;
};
const integerBits = [
  ...corners,
  100n,
  200n,
  300n,
  40000n,
  5000000000n,
  -129n,
  -40000n,
  (1n << 60n) + (1n << 36n) + 1n,
].map((x) => [x]);
for (const to of allIntegers) {
  for (const from of allIntegers) {
    // A destination narrower than its register is extended to it.
    grid(`cvt.${to}.${from}`, to, [from], integerBits, (a) => value(to, value(from, a)));
    const [[low, high], [least, most]] = [limitsOf(to), limitsOf(from)];
    if (low > least || high < most)
      grid(`cvt.sat.${to}.${from}`, to, [from], integerBits, (a) => clampTo(to, value(from, a)));
  }
}

/** To an integral value; halves go to the even neighbour. */
const integral: Record<string, (x: number) => number> = {
  rzi: Math.trunc,
  rmi: Math.floor,
  rpi: Math.ceil,
  rni: (x) => {
    const down = Math.floor(x);
    const nearest = x - down < 0.5 || (x - down === 0.5 && down % 2 === 0) ? down : down + 1;
    return Number.isFinite(x) ? (nearest === 0 && (x < 0 || Object.is(x, -0)) ? -0 : nearest) : x;
  },
};
const fractions = [0.5, 1.5, -0.5, -1.5, 2.5, -2.25, 0.75, 100.5, 127.5, 128, -129, 255.5, 300, 40000, -40000];
const large = [3e9, -3e9, 5e9, 1e19, 1e30, -1e30];
const floatSources = (type: string) => [
  ...formats[type].bits,
  ...fractions.map((x) => plain.convert(bitsOfDouble(x), plain.double, formats[type].format, 'rn')),
  ...large.map((x) => plain.convert(bitsOfDouble(x), plain.double, formats[type].format, 'rz')),
];
for (const [mode, round] of Object.entries(integral)) {
  for (const from of ['f16', 'bf16', 'f32', 'f64']) {
    const { format } = formats[from];
    const rows = floatSources(from).map((bits) => [bits]);
    const options = from === 'bf16' ? [''] : from === 'f32' ? ['', '.ftz', '.sat', '.ftz.sat'] : ['', '.sat'];
    for (const option of options) {
      const read = (bits: bigint) => numberOf(option.includes('.ftz') ? flush(bits, format) : bits, format);
      for (const to of from === 'bf16' ? integers : allIntegers) {
        const n = widthOf(to);
        // NaN is 0, but the sign bit alone for .f64 sources and 64-bit destinations.
        const nan = from === 'f64' || n === 64 ? 1n << BigInt(n - 1) : 0n;
        grid(`cvt.${mode}${option}.${to}.${from}`, to, [from], rows, (a) => {
          const x = round(read(a));
          if (Number.isNaN(x)) return nan;
          const [low, high] = limitsOf(to);
          return x === Infinity ? high : x === -Infinity ? low : clampTo(to, BigInt(x));
        });
      }
      const toItself = (a: bigint) => plain.convert(bitsOfDouble(round(read(a))), plain.double, format, 'rn');
      const result = modified(option, formats[from], toItself);
      grid(`cvt.${mode}${option}.${from}.${from}`, from, [from], settled(from, rows), result);
    }
  }
}
for (const mode of roundings) {
  for (const to of ['f16', 'bf16', 'f32', 'f64']) {
    const options = to === 'bf16' ? [''] : to === 'f32' ? ['', '.ftz', '.sat', '.ftz.sat'] : ['', '.sat'];
    for (const option of options) {
      const name = (from: string) => `cvt.${mode}${option}.${to}.${from}`;
      for (const from of to === 'bf16' ? integers : allIntegers) {
        const evaluate = (a: bigint) => plain.fromInteger(value(from, a), formats[to].format, mode);
        grid(name(from), to, [from], integerBits, modified(option.replace('.ftz', ''), formats[to], evaluate));
      }
    }
  }
}

/** A float in a narrower format, or a wider one. */
function narrow(mode: Rounding | '', option: string, to: string, from: string): void {
  const source = formats[from].format;
  const evaluate = (a: bigint) => {
    const flushed = option.includes('.ftz') && from === 'f32' ? flush(a, source) : a;
    const result = plain.convert(flushed, source, formats[to].format, mode === '' ? 'rn' : mode);
    const ftz = option.includes('.ftz') && to === 'f32' ? '.ftz' : '';
    return modified(ftz + option.replace('.ftz', ''), formats[to], (x) => x)(result);
  };
  const { format, bits } = formats[to];
  // Numbers beside those of the destination, on both sides of ties.
  const near = [bits[0], bits[2], 3n, 1n, bits[7], (1n << BigInt(format.m)) - 1n].flatMap((x) =>
    [0n, 1n, 2n, 3n].flatMap((quarter) => {
      const [low, high] = [x, x + 1n].map((y) => numberOf(y, format));
      const between =
        high === Infinity
          ? low * (1 + 2 ** -(format.m + 2) * Number(quarter))
          : low + ((high - low) * Number(quarter)) / 4;
      const exact = plain.convert(bitsOfDouble(between), plain.double, source, 'rz');
      return [exact, exact + 1n, exact | (1n << BigInt(source.m + source.e))];
    }),
  );
  const rows = [...new Set([...numbers(from), ...near])].map((x) => [x]);
  const name = ['cvt', mode].filter((part) => part !== '').join('.');
  const kept = rows.filter((row) => to !== 'f64' || !Number.isNaN(numberOf(row[0], source)));
  grid(`${name}${option}.${to}.${from}`, to, [from], kept, evaluate);
}
for (const mode of roundings) {
  for (const option of ['', '.ftz', '.sat', '.ftz.sat']) {
    narrow(mode, option, 'f32', 'f64');
    narrow(mode, option, 'f16', 'f32');
  }
  for (const option of ['', '.sat']) narrow(mode, option, 'f16', 'f64');
  narrow(mode, '', 'bf16', 'f32');
  narrow(mode, '', 'bf16', 'f64');
  narrow(mode, '', 'bf16', 'f16');
  narrow(mode, '', 'f16', 'bf16');
}
for (const mode of ['rn', 'rz'] as const) {
  for (const to of ['f16', 'bf16']) narrow(mode, '.relu', to, 'f32');
  for (const option of ['', '.relu']) {
    const rows = numberPairs('f32').filter((_, i) => i % 3 === 0);
    for (const to of ['f16', 'bf16']) {
      const one = modified(option, formats[to], (a) => plain.convert(a, plain.single, formats[to].format, mode));
      grid(`cvt.${mode}${option}.${to}x2.f32`, `${to}x2`, ['f32', 'f32'], rows, (a, b) => (one(a) << 16n) | one(b));
    }
    // tf32 is an f32 whose low 13 bits are zero.
    const tf32: Floating = { format: { m: 10, e: 8 }, bits: [0x1fc00n] };
    const evaluate = modified(option, tf32, (a) => plain.convert(a, plain.single, tf32.format, mode));
    const numeric = numbers('f32').filter((a) => !Number.isNaN(numberOf(a, plain.single)));
    grid(
      `cvt.${mode}${option}.tf32.f32`,
      'b32',
      ['f32'],
      numeric.map((a) => [a]),
      (a) => evaluate(a) << 13n,
    );
  }
}
for (const option of ['', '.ftz', '.sat', '.ftz.sat']) {
  narrow('', option, 'f32', 'f16');
  narrow('', option, 'f64', 'f32');
  narrow('', option, 'f32', 'f32');
}
for (const option of ['', '.sat']) for (const to of ['f16', 'f64']) narrow('', option, to, to);
for (const option of ['', '.sat']) narrow('', option, 'f64', 'f16');
for (const to of ['bf16', 'f32', 'f64']) narrow('', '', to, 'bf16');
for (const type of ['u16', 's16']) {
  grid(
    `cvt.pack.sat.${type}.s32`,
    'b32',
    ['s32', 's32'],
    pairs,
    (a, b) =>
      (BigInt.asUintN(16, clampTo(type, value('s32', a))) << 16n) | BigInt.asUintN(16, clampTo(type, value('s32', b))),
  );
}
for (const type of ['u8', 's8']) {
  const one = (x: bigint) => BigInt.asUintN(8, clampTo(type, value('s32', x)));
  grid(
    `cvt.pack.sat.${type}.s32.b32`,
    'b32',
    ['s32', 's32', 'b32'],
    triples,
    (a, b, c) => (c << 16n) | (one(a) << 8n) | one(b),
  );
}
for (const type of [...untyped, ...integers, 'f32', 'f64']) grid(`mov.${type}`, type, [type], pairs, (a) => a);

export const conformanceGrid: readonly Conformance[] = cases;
