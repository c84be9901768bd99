// Conversions and moves.
import type { Conformance } from './conformance.ts';
import * as plain from './evaluator.ts';
import {
  allIntegers,
  bitsOfDouble,
  corners,
  type Floating,
  flush,
  formats,
  instruction,
  integers,
  isSigned,
  modified,
  numberOf,
  numberPairs,
  numbers,
  pairs,
  type Rounding,
  roundings,
  settled,
  triples,
  untyped,
  value,
  widthOf,
} from './grid.ts';

const cases: Conformance[] = [];
const grid = (...args: Parameters<typeof instruction>) => void cases.push(instruction(...args));

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

export const conformanceConvert: readonly Conformance[] = cases;
