// mma.sync to the bit, and ldmatrix, on the fragments of matrix.ts. The simulator multiplies exactly and sums in double, in
// ascending k onto the accumulator, and rounds once: written here a second time in plain JavaScript.
import { describe, expect, it } from 'vitest';
import * as plain from './support/evaluator.ts';
import { entry, launch } from './support/launch.ts';
import { matrixCases, matrixLoads, opcodeOf, placeC } from './support/matrix.ts';

const view = new DataView(new ArrayBuffer(8));
const bitsOf = (x: number): bigint => {
  view.setFloat64(0, x);
  return view.getBigUint64(0);
};
const single = (bits: number): number => {
  view.setUint32(0, bits);
  return view.getFloat32(0);
};
const half = (bits: number): number => {
  view.setBigUint64(0, plain.convert(BigInt(bits), plain.halfFormat, plain.double, 'rn'));
  return view.getFloat64(0);
};
const decoders = {
  f16: half,
  bf16: (bits: number) => single(bits << 16),
  // The low 13 bits of a tf32 do not count.
  tf32: (bits: number) => single(bits & ~0x1fff),
};
const rounders = {
  f32: (x: number): number => {
    if (Number.isNaN(x)) return 0x7fffffff;
    view.setFloat32(0, x);
    return view.getUint32(0);
  },
  f16: (x: number): number => Number(plain.convert(bitsOf(x), plain.double, plain.halfFormat, 'rn')),
};

/** Random bits, fixed by the seed. */
function randomBits(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0;
  };
}

/** Numbers of a kind in a format of `e` exponent bits above `m` of mantissa, as bits; random bits in, and the place in the matrix. */
type Fill = (bits: number, m: number, e: number, index: number) => number;
const masked = (bits: number, m: number, e: number) => bits & (2 ** (m + e + 1) - 1);
const exponent =
  (from: number, to: number): Fill =>
  (bits, m, e) => {
    const chosen = from + ((bits >>> 8) % (to - from + 1));
    const biased = Math.min(Math.max(2 ** (e - 1) - 1 + chosen, 0), 2 ** e - 2);
    return ((bits >>> 31) * 2 ** (m + e) + biased * 2 ** m + (bits & (2 ** m - 1))) >>> 0;
  };
const oneOf =
  (...choices: ((m: number, e: number) => number)[]): Fill =>
  (bits, m, e) =>
    choices[(bits >>> 9) % choices.length](m, e) >>> 0;
const infinity = (m: number, e: number) => (2 ** e - 1) * 2 ** m;
const sign = (m: number, e: number) => 2 ** (m + e);
const one = (m: number, e: number) => (2 ** (e - 1) - 1) * 2 ** m;
const rare =
  (special: Fill, usual: Fill): Fill =>
  (bits, m, e, index) =>
    (index % 37 === 5 ? special : usual)(bits, m, e, index);
const ordinary = exponent(-3, 3);
const fills: Record<string, { a: Fill; b?: Fill; c?: Fill }> = {
  'numbers of one size': { a: ordinary },
  'numbers of every size, so that the order of the sum shows': { a: exponent(-60, 60) },
  'any bits at all': { a: masked },
  subnormals: {
    a: (bits, m, e) => (bits & (2 ** m - 1)) + (bits >>> 31) * sign(m, e),
    b: exponent(0, 7),
    c: exponent(-200, -120),
  },
  'products of subnormals': { a: exponent(-200, -120), c: exponent(-200, -120) },
  'sums beyond the largest number': { a: exponent(61, 64), c: exponent(100, 127) },
  'sums beyond the largest f16': { a: exponent(6, 8), c: exponent(14, 15) },
  'signed zeros': { a: oneOf(() => 0, sign), b: oneOf(() => 0, sign, one), c: oneOf(sign, sign, () => 0) },
  'cancelling to zero': { a: oneOf(one, (m, e) => one(m, e) + sign(m, e)), c: oneOf(() => 0, sign) },
  'some NaN': { a: rare((m0, m, e) => infinity(m, e) + 1 + (m0 & 3), ordinary) },
  'some infinities': {
    a: rare(
      oneOf(infinity, (m, e) => infinity(m, e) + sign(m, e)),
      ordinary,
    ),
  },
  'infinity times zero': { a: rare(oneOf(infinity), ordinary), b: oneOf(() => 0, one, one) },
  'infinite accumulators': {
    a: rare(oneOf(infinity), ordinary),
    c: rare(
      oneOf((m, e) => infinity(m, e) + sign(m, e)),
      ordinary,
    ),
  },
};

const rowsOf = (names: readonly string[]) => `{${names.map((name) => `%${name}`).join(', ')}}`;
const numbered = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`);

describe('mma.sync', () => {
  describe.each(matrixCases.map((one) => ({ ...one, opcode: opcodeOf(one) })))('$opcode', (one) => {
    const { opcode, type, accumulator, k, registersA, registersB, a, b } = one;
    const packed = type !== 'tf32';
    const accumulators = accumulator === 'f16' ? 2 : 4;
    const words = registersA + registersB + accumulators;
    const [m, e] = { f16: [10, 5], bf16: [7, 8], tf32: [23, 8] }[type];
    const [cM, cE] = accumulator === 'f16' ? [10, 5] : [23, 8];
    const [A, B, C] = [numbered('a', registersA), numbered('b', registersB), numbered('c', accumulators)];

    /** Words of a warp's registers, lane after lane: A, B, C. */
    function registers(fill: (typeof fills)[string], seed: number): Uint32Array {
      const random = randomBits(seed);
      let index = seed;
      const element = (one: Fill, isPair: boolean, mantissa: number, exponents: number) => {
        const next = () => one(random(), mantissa, exponents, index++);
        return isPair ? next() + next() * 65536 : next();
      };
      const input = new Uint32Array(32 * words);
      for (let at = 0; at < input.length; at++) {
        const r = at % words;
        if (r < registersA) input[at] = element(fill.a, packed, m, e);
        else if (r < registersA + registersB) input[at] = element(fill.b ?? fill.a, packed, m, e);
        else input[at] = element(fill.c ?? fill.a, accumulator === 'f16', cM, cE);
      }
      return input;
    }

    /** The registers that D should be, from those of A, B and C. */
    function expected(input: Uint32Array): number[] {
      const matrixA = new Float64Array(16 * k);
      const matrixB = new Float64Array(k * 8);
      const elements = packed ? [0, 1] : [0];
      const decode = decoders[type];
      const part = (word: number, h: number) => (packed ? (word >>> (16 * h)) & 0xffff : word);
      for (let lane = 0; lane < 32; lane++) {
        for (const h of elements) {
          for (let r = 0; r < registersA; r++) {
            const [row, column] = a(r, h, lane);
            matrixA[row * k + column] = decode(part(input[lane * words + r], h));
          }
          for (let r = 0; r < registersB; r++) {
            const [row, column] = b(r, h, lane);
            matrixB[row * 8 + column] = decode(part(input[lane * words + registersA + r], h));
          }
        }
      }
      const out: number[] = Array(32 * accumulators).fill(0);
      for (let lane = 0; lane < 32; lane++) {
        for (let i = 0; i < 4; i++) {
          const [row, column] = placeC(i, lane);
          const at = registersA + registersB + (accumulator === 'f16' ? i >> 1 : i);
          const word = input[lane * words + at];
          let sum = accumulator === 'f16' ? half((word >>> (16 * (i & 1))) & 0xffff) : single(word);
          for (let j = 0; j < k; j++) sum += matrixA[row * k + j] * matrixB[j * 8 + column];
          const rounded = rounders[accumulator](sum);
          if (accumulator === 'f16') out[lane * 2 + (i >> 1)] += rounded * 65536 ** (i & 1);
          else out[lane * 4 + i] = rounded;
        }
      }
      return out;
    }

    /** Runs it, on as many warps as there are words for, with D in the registers named. */
    function run(input: Uint32Array, D: readonly string[]): number[] {
      const threads = input.length / words;
      const out = new Uint32Array(threads * accumulators);
      const loads = [...A, ...B, ...C].map((name, i) => `ld.global.b32 %${name}, [%d0+${4 * i}];`);
      const stores = D.map((name, i) => `st.global.b32 [%d1+${4 * i}], %${name};`);
      const ptx = entry(
        2,
        `.reg .b32 %a<4>; .reg .b32 %b<2>; .reg .b32 %c<4>; .reg .b32 %x<4>; ld.param.u64 %d0, [p0]; ld.param.u64 %d1, [p1];
       mov.u32 %r0, %tid.x; mul.wide.u32 %d2, %r0, ${4 * words}; add.s64 %d0, %d0, %d2; mul.wide.u32 %d2, %r0, ${4 * accumulators}; add.s64 %d1, %d1, %d2;
       ${loads.join(' ')} ${opcode} ${rowsOf(D)}, ${rowsOf(A)}, ${rowsOf(B)}, ${rowsOf(C)}; ${stores.join(' ')} ret;`,
      );
      expect(launch(ptx, 'test', [1, 1, 1], [threads, 1, 1], [input, out]).reports).toEqual([]);
      return [...out];
    }

    it.each(Object.entries(fills))('%s', (_, fill) => {
      const warps = [1, 2, 3, 4].map((seed) => registers(fill, seed));
      const input = Uint32Array.from(warps.flatMap((words) => [...words]));
      expect(run(input, numbered('x', accumulators))).toEqual(warps.flatMap(expected));
    });
    it('D in the registers of C, also in another order, and of A', () => {
      const input = registers(fills['numbers of one size'], 9);
      expect(run(input, C)).toEqual(expected(input));
      expect(run(input, C.toReversed())).toEqual(expected(input));
      const fromA = [...A, ...numbered('x', 4)].slice(0, accumulators);
      expect(run(input, fromA)).toEqual(expected(input));
    });
  });
});

describe('ldmatrix', () => {
  it.each(matrixLoads)('$opcode', ({ opcode, count, transposed }) => {
    // Four 8×8 matrices of distinct halfwords, rows 48 bytes apart so that offsets cannot be right by accident.
    const store = `.shared .align 16 .b8 tile[1536]; mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 48, %r1; mul.lo.u32 %r3, %r0, 8;
      ${Array.from({ length: 8 }, (_, c) => `add.u32 %r4, %r3, ${c}; cvt.u16.u32 %h0, %r4; st.shared.b16 [%r2+${2 * c}], %h0;`).join(' ')} bar.sync 0;`;
    const registers = ['%r10', '%r11', '%r12', '%r13'].slice(0, count);
    const ptx = entry(
      1,
      `${store} ${opcode} {${registers.join(', ')}}, [%r2];
       ld.param.u64 %d0, [p0]; mul.wide.u32 %d1, %r0, ${4 * count}; add.s64 %d0, %d0, %d1; ${registers.map((r, i) => `st.global.b32 [%d0+${4 * i}], ${r};`).join(' ')} ret;`,
    );
    const out = new Uint32Array(32 * count);
    expect(launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [out]).reports).toEqual([]);
    for (let lane = 0; lane < 32; lane++) {
      for (let m = 0; m < count; m++) {
        const element = (row: number, column: number) => (8 * m + row) * 8 + column;
        const [row, column] = [lane >> 2, 2 * (lane % 4)];
        const expected = transposed
          ? [element(column, row), element(column + 1, row)]
          : [element(row, column), element(row, column + 1)];
        expect([out[lane * count + m] & 0xffff, out[lane * count + m] >>> 16]).toEqual(expected);
      }
    }
  });
});
