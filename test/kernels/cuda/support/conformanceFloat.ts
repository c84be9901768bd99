// Floating-point arithmetic.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import {
  type Floating,
  floatPairs,
  formats,
  instruction,
  modified,
  numberOf,
  numberPairs,
  numbers,
  numberTriples,
  packed,
  type Rounding,
  roundings,
  settled,
  together,
  twice,
} from './grid.ts';

const cases: Conformance[] = [];
const grid = (...args: Parameters<typeof instruction>) => void cases.push(instruction(...args));

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

export const conformanceFloat: readonly Conformance[] = cases;
