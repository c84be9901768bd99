// Expected values of instructions, worked out from the text of the PTX manual. `signature` names operand kinds (see
// instruction.ts); a row is the inputs followed by the results. %a %b %c are inputs, %x %y results.
import { conformanceCompare } from './conformanceCompare.ts';
import { conformanceConvert } from './conformanceConvert.ts';
import { conformanceFloat } from './conformanceFloat.ts';
import { conformanceInteger } from './conformanceInteger.ts';
import { conformanceMemory } from './conformanceMemory.ts';
import { conformanceWarp } from './conformanceWarp.ts';
import { f32, f64, type Value } from './instruction.ts';

export interface Conformance {
  readonly name: string;
  readonly signature: string;
  readonly body: string;
  readonly rows: readonly (readonly Value[])[];
}

const cases: Conformance[] = [];
/** `op` is the opcode; its operands are %x and then the inputs, unless `body` says otherwise. */
const test = (op: string, signature: string, rows: readonly (readonly Value[])[], body?: string): void => {
  const count = signature.split('->')[0].trim().split(' ').length;
  const operands = ['%x', ...['%a', '%b', '%c', '%d', '%e'].slice(0, count)].join(', ');
  cases.push({ name: op, signature, body: body ?? `${op} ${operands};`, rows });
};
const M = 0xffffffff; // −1 as u32
const min32 = 0x80000000;
const max32 = 0x7fffffff;
const M64 = 0xffffffffffffffffn;
const min64 = 0x8000000000000000n;
const nan = Number.NaN;
const inf = Number.POSITIVE_INFINITY;
const tiny = 2 ** -149;

// ---- integer arithmetic: results wrap unless .sat ----
test('add.s32', 'r r -> r', [
  [max32, 1, min32],
  [M, 1, 0],
  [5, M, 4],
]);
test('add.u32', 'r r -> r', [[M, 2, 1]]);
test('add.sat.s32', 'r r -> r', [
  [max32, 1, max32],
  [min32, M, min32],
  [3, 4, 7],
  [min32, min32, min32],
]);
test('add.u16', 'h h -> h', [[0xffff, 2, 1]]);
test('add.s16', 'h h -> h', [[0x7fff, 1, 0x8000]]);
test('add.s64', 'd d -> d', [
  [0xffffffffn, 1n, 0x100000000n],
  [M64, 1n, 0n],
  [0x7fffffffffffffffn, 1n, min64],
]);
test('sub.s32', 'r r -> r', [
  [0, 1, M],
  [min32, 1, max32],
]);
test('sub.sat.s32', 'r r -> r', [
  [min32, 1, min32],
  [max32, M, max32],
]);
test('sub.u16', 'h h -> h', [[0, 1, 0xffff]]);
test('sub.u64', 'd d -> d', [
  [0n, 1n, M64],
  [0x100000000n, 1n, 0xffffffffn],
  [5n, 3n, 2n],
]);
test(
  'add.cc.u32 + addc.cc.u32 + addc.u32',
  'r r r r -> r r r',
  [
    [M, 0, 1, 0, 0, 1, 0],
    [M, M, 1, 0, 0, 0, 1],
  ],
  'add.cc.u32 %x, %a, %c; addc.cc.u32 %y, %b, %d; addc.u32 %z, 0, 0;',
);
test(
  'sub.cc.u32 + subc.u32',
  'r r r r -> r r',
  [
    [0, 1, 1, 0, M, 0],
    [5, 7, 3, 2, 2, 5],
  ],
  'sub.cc.u32 %x, %a, %c; subc.u32 %y, %b, %d;',
);
test(
  'mad.lo.cc.u32 + madc.hi.u32',
  'r r r -> r r',
  [[M, M, M, 0, M]],
  'mad.lo.cc.u32 %x, %a, %b, %c; madc.hi.u32 %y, %a, %b, 0;',
);
test('mul.lo.s32', 'r r -> r', [
  [0x10000, 0x10000, 0],
  [M, 7, 0xfffffff9],
  [123456789, 987654321, 0xfbff5385],
]);
test('mul.hi.s32', 'r r -> r', [
  [M, M, 0],
  [min32, min32, 0x40000000],
  [min32, 2, M],
  [max32, max32, 0x3fffffff],
]);
test('mul.hi.u32', 'r r -> r', [
  [M, M, 0xfffffffe],
  [min32, 2, 1],
  [0x12345678, 0x9abcdef0, 0x0b00ea4e],
]);
test('mul.wide.s32', 'r r -> d', [
  [M, M, 1n],
  [M, 4, 0xfffffffffffffffcn],
  [min32, min32, 0x4000000000000000n],
]);
test('mul.wide.u32', 'r r -> d', [
  [M, M, 0xfffffffe00000001n],
  [M, 4, 0x3fffffffcn],
]);
test(
  'mul.wide.s32 by constants',
  'r -> d d',
  [
    [M, 0xfffffffffffffffcn, M64],
    [min32, 0xfffffffe00000000n, 0xffffffff80000000n],
  ],
  'mul.wide.s32 %x, %a, 4; mul.wide.s32 %y, %a, 1;',
);
test(
  'mul.wide.u32 by constants',
  'r -> d d',
  [[M, 0x7fffffff8n, 0xffffffffn]],
  'mul.wide.u32 %x, %a, 8; mul.wide.u32 %y, %a, 1;',
);
test('mul.wide.s16', 'h h -> r', [
  [0xffff, 2, 0xfffffffe],
  [0x8000, 0x8000, 0x40000000],
]);
test('mul.wide.u16', 'h h -> r', [[0xffff, 0xffff, 0xfffe0001]]);
test('mul.lo.s16', 'h h -> h', [
  [0x100, 0x100, 0],
  [0xffff, 3, 0xfffd],
]);
test('mul.hi.u16', 'h h -> h', [[0xffff, 0xffff, 0xfffe]]);
test('mul.hi.s16', 'h h -> h', [[0xffff, 1, 0xffff]]);
test('mul.lo.s64', 'd d -> d', [
  [0x100000001n, 0x100000001n, 0x200000001n],
  [M64, M64, 1n],
  [0x123456789abcdefn, 0xfedcba987654321n, 0x22236d88fe5618cfn],
]);
test('mul.hi.s64', 'd d -> d', [
  [M64, 1n, M64],
  [min64, min64, 0x4000000000000000n],
]);
test('mul.hi.u64', 'd d -> d', [[M64, M64, 0xfffffffffffffffen]]);
test('mad.lo.s32', 'r r r -> r', [
  [3, M, 10, 7],
  [0x10000, 0x10000, 5, 5],
]);
test('mad.hi.u32', 'r r r -> r', [[M, M, 3, 1]]);
test('mad.hi.s32', 'r r r -> r', [[min32, 2, 3, 2]]);
test('mad.wide.s32', 'r r d -> d', [[M, 5, 3n, 0xfffffffffffffffen]]);
test('mad.wide.u32', 'r r d -> d', [[M, M, M64, 0xfffffffe00000000n]]);
test('mad.lo.s64', 'd d d -> d', [[3n, M64, 10n, 7n]]);
test('mad.lo.u16', 'h h h -> h', [[0x100, 0x100, 7, 7]]);
test('mul24.lo.u32', 'r r -> r', [
  [0xff000002, 3, 6],
  [0xffffff, 0xffffff, 0xfe000001],
]);
test('mul24.lo.s32', 'r r -> r', [[0xffffff, 3, 0xfffffffd]]);
test('mul24.hi.u32', 'r r -> r', [[0xffffff, 0xffffff, 0xfffffe00]]);
test('mad24.lo.s32', 'r r r -> r', [[0xffffff, 3, 5, 2]]);
test('div.s32', 'r r -> r', [
  [7, 0xfffffffe, 0xfffffffd],
  [0xfffffff9, 2, 0xfffffffd],
  [min32, 1, min32],
  [min32, M, min32],
  [5, 0, M],
]);
test('div.u32', 'r r -> r', [
  [M, 2, max32],
  [7, M, 0],
  [5, 0, M],
]);
test('div.s64', 'd d -> d', [
  [7n, BigInt.asUintN(64, -2n), BigInt.asUintN(64, -3n)],
  [1n << 40n, 3n, (1n << 40n) / 3n],
  [5n, 0n, M64],
]);
test('div.u64', 'd d -> d', [[M64, 2n, 0x7fffffffffffffffn]]);
test('div.s16', 'h h -> h', [[0xfff9, 2, 0xfffd]]);
test('rem.s32', 'r r -> r', [
  [7, 0xfffffffe, 1],
  [0xfffffff9, 2, M],
  [min32, M, 0],
]);
test('rem.u32', 'r r -> r', [[M, 10, 5]]);
test('rem.s64', 'd d -> d', [[BigInt.asUintN(64, -7n), 2n, M64]]);
test('rem.u64', 'd d -> d', [[M64, 10n, 5n]]);
test('abs.s32', 'r -> r', [
  [M, 1],
  [min32, min32],
  [5, 5],
]);
test('abs.s64', 'd -> d', [
  [M64, 1n],
  [min64, min64],
  [5n, 5n],
]);
test('abs.s16', 'h -> h', [[0xffff, 1]]);
test('neg.s32', 'r -> r', [
  [1, M],
  [min32, min32],
  [0, 0],
]);
test('neg.s64', 'd -> d', [
  [1n, M64],
  [0n, 0n],
  [min64, min64],
]);
test('neg.s16', 'h -> h', [[1, 0xffff]]);
test('min.s32', 'r r -> r', [[M, 1, M]]);
test('min.u32', 'r r -> r', [[M, 1, 1]]);
test('max.s32', 'r r -> r', [[M, 1, 1]]);
test('max.u32', 'r r -> r', [[M, 1, M]]);
test('min.s64', 'd d -> d', [
  [M64, 1n, M64],
  [0x100000000n, 1n, 1n],
  [5n, 7n, 5n],
]);
test('max.u64', 'd d -> d', [
  [M64, 1n, M64],
  [0x100000000n, 1n, 0x100000000n],
]);
test('min.u16', 'h h -> h', [[0xffff, 1, 1]]);
test('max.s16', 'h h -> h', [[0xffff, 1, 1]]);
test('sad.s32', 'r r r -> r', [
  [M, 3, 10, 14],
  [3, M, 10, 14],
]);
test('sad.u32', 'r r r -> r', [[M, 3, 0, 0xfffffffc]]);
test('sad.u64', 'd d d -> d', [
  [1n, 5n, 2n, 6n],
  [5n, 1n, 2n, 6n],
]);
test('dp4a.s32.s32', 'r r r -> r', [[0x01ff7f80, 0x02030405, 7, (1 * 2 + -1 * 3 + 127 * 4 + -128 * 5 + 7) >>> 0]]);
test('dp4a.u32.u32', 'r r r -> r', [[0x01ff7f80, 0x02030405, 7, 1 * 2 + 255 * 3 + 127 * 4 + 128 * 5 + 7]]);
test('dp4a.u32.s32', 'r r r -> r', [[0x000000ff, 0x000000ff, 0, (255 * -1) >>> 0]]);
test('dp2a.lo.s32.s32', 'r r r -> r', [[0x0002ffff, 0x0000ff03, 1, (-1 * 3 + 2 * -1 + 1) >>> 0]]);
test('dp2a.hi.u32.u32', 'r r r -> r', [[0x0002ffff, 0x05030000, 1, 65535 * 3 + 2 * 5 + 1]]);

// ---- bits ----
test('and.b32', 'r r -> r', [[0xff00ff00, 0x0ff00ff0, 0x0f000f00]]);
test('or.b64', 'd d -> d', [[0xf00000000fn, 0xfn << 32n, 0xff0000000fn]]);
test('xor.b16', 'h h -> h', [[0xff00, 0x0ff0, 0xf0f0]]);
test('and.pred', 'p p -> p', [
  [true, true, true],
  [true, false, false],
]);
test('or.pred', 'p p -> p', [
  [false, false, false],
  [true, false, true],
]);
test('xor.pred', 'p p -> p', [
  [true, true, false],
  [true, false, true],
]);
test('not.pred', 'p -> p', [
  [true, false],
  [false, true],
]);
test('not.b32', 'r -> r', [[0xff00ff00, 0x00ff00ff]]);
test('not.b64', 'd -> d', [[0n, M64]]);
test('not.b16', 'h -> h', [[1, 0xfffe]]);
test('cnot.b32', 'r -> r', [
  [0, 1],
  [7, 0],
]);
test('cnot.b64', 'd -> d', [
  [0n, 1n],
  [1n << 40n, 0n],
]);
// Amounts above the width are clamped to it.
test('shl.b32', 'r r -> r', [
  [1, 31, min32],
  [1, 32, 0],
  [1, M, 0],
  [3, 0, 3],
]);
test('shl.b64', 'd r -> d', [
  [1n, 63, min64],
  [1n, 64, 0n],
  [0x80000001n, 1, 0x100000002n],
  [1n, 32, 0x100000000n],
  [7n, 0, 7n],
]);
test('shl.b16', 'h r -> h', [
  [1, 15, 0x8000],
  [1, 16, 0],
  [1, 33, 0],
]);
test('shr.u32', 'r r -> r', [
  [min32, 31, 1],
  [min32, 32, 0],
  [M, M, 0],
]);
test('shr.s32', 'r r -> r', [
  [min32, 31, M],
  [min32, 99, M],
  [max32, 32, 0],
]);
test('shr.u64', 'd r -> d', [
  [min64, 63, 1n],
  [min64, 64, 0n],
  [0x100000000n, 1, 0x80000000n],
]);
test('shr.s64', 'd r -> d', [
  [min64, 63, M64],
  [min64, 200, M64],
  [min64, 33, 0xffffffffc0000000n],
]);
test('shr.s16', 'h r -> h', [
  [0x8000, 4, 0xf800],
  [0x8000, 20, 0xffff],
]);
test('shr.u16', 'h r -> h', [
  [0x8000, 15, 1],
  [0x8000, 16, 0],
]);
test(
  'shr by constants',
  'd -> d d',
  [[0x8000000180000000n, 0x40000000c0000000n, 0xffffffff80000001n]],
  'shr.u64 %x, %a, 1; shr.s64 %y, %a, 32;',
);
test('shf.l.wrap.b32', 'r r r -> r', [
  [0x80000000, 1, 1, 3],
  [0x12345678, 0x9abcdef0, 32, 0x9abcdef0],
  [0x12345678, 0x9abcdef0, 36, 0xabcdef01],
]);
test('shf.l.clamp.b32', 'r r r -> r', [
  [0x12345678, 0x9abcdef0, 32, 0x12345678],
  [0x12345678, 0x9abcdef0, 40, 0x12345678],
  [0x12345678, 0x9abcdef0, 4, 0xabcdef01],
]);
test('shf.r.wrap.b32', 'r r r -> r', [
  [0x12345678, 0x9abcdef0, 4, 0x01234567],
  [0x12345678, 0x9abcdef0, 32, 0x12345678],
]);
test('shf.r.clamp.b32', 'r r r -> r', [
  [0x12345678, 0x9abcdef0, 99, 0x9abcdef0],
  [0x12345678, 0x9abcdef0, 0, 0x12345678],
]);
for (const [table, f] of [
  [0x80, (a: number, b: number, c: number) => a & b & c],
  [0xfe, (a, b, c) => a | b | c],
  [0x96, (a, b, c) => a ^ b ^ c],
  [0x40, (a, b, c) => a & b & ~c],
  [0xca, (a, b, c) => (a & b) | (~a & c)],
  [0x1a, (a, b, c) => ((a & b) | c) ^ a],
  [0x00, () => 0],
  [0xff, () => -1],
] as [number, (a: number, b: number, c: number) => number][]) {
  test(
    `lop3.b32 ${table}`,
    'r r r -> r',
    [[0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, f(0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa) >>> 0]],
    `lop3.b32 %x, %a, %b, %c, ${table};`,
  );
}
test('prmt.b32', 'r r r -> r', [
  [0x33221100, 0x77665544, 0x7610, 0x77661100],
  [0x33228100, 0x77665544, 0x9999, M],
  [0x33227f00, 0, 0x9191, 0x007f007f],
]);
test('prmt.b32.f4e', 'r r r -> r', [[0x33221100, 0x77665544, 1, 0x44332211]]);
test('prmt.b32.b4e', 'r r r -> r', [[0x33221100, 0x77665544, 1, 0x66770011]]);
test('prmt.b32.rc8', 'r r r -> r', [[0x33221100, 0x77665544, 2, 0x22222222]]);
test('prmt.b32.ecl', 'r r r -> r', [[0x33221100, 0x77665544, 2, 0x33222222]]);
test('prmt.b32.ecr', 'r r r -> r', [[0x33221100, 0x77665544, 1, 0x11111100]]);
test('prmt.b32.rc16', 'r r r -> r', [[0x33221100, 0x77665544, 1, 0x33223322]]);
test('bfe.u32', 'r r r -> r', [
  [0x12345678, 4, 8, 0x67],
  [M, 28, 8, 0xf],
  [M, 32, 4, 0],
  [M, 5, 0, 0],
  [0x12345678, 0, 255, 0x12345678],
]);
test('bfe.s32', 'r r r -> r', [
  [0xf0, 4, 4, M],
  [0x80000000, 28, 8, 0xfffffff8],
  [0x80000000, 40, 4, M],
  [0x70, 4, 4, 7],
]);
test('bfe.u64', 'd r r -> d', [[0x123456789abcdef0n, 28, 16, 0x6789n]]);
test('bfe.s64', 'd r r -> d', [
  [0xf000000000n, 36, 4, M64],
  [min64, 60, 20, 0xfffffffffffffff8n],
]);
test('bfi.b32', 'r r r r -> r', [
  [0xff, 0, 8, 4, 0xf00],
  [5, 0xffffffff, 30, 8, 0x7fffffff],
  [1, 7, 32, 1, 7],
  [1, 7, 0, 0, 7],
]);
test('bfi.b64', 'd d r r -> d', [[0xffn, 0n, 28, 8, 0xff0000000n]]);
test('bfind.u32', 'r -> r', [
  [1, 0],
  [min32, 31],
  [0, M],
  [0x00f00000, 23],
]);
test('bfind.s32', 'r -> r', [
  [M, M],
  [0xfffffffe, 0],
  [1, 0],
  [min32, 30],
]);
test('bfind.shiftamt.u32', 'r -> r', [
  [1, 31],
  [min32, 0],
  [0, M],
]);
test('bfind.u64', 'd -> r', [
  [1n << 40n, 40],
  [0n, M],
]);
test('bfind.s64', 'd -> r', [
  [M64, M],
  [min64, 62],
]);
test('popc.b32', 'r -> r', [
  [M, 32],
  [0, 0],
  [0x80000001, 2],
]);
test('popc.b64', 'd -> r', [
  [M64, 64],
  [1n << 40n, 1],
]);
test('clz.b32', 'r -> r', [
  [0, 32],
  [1, 31],
  [min32, 0],
]);
test('clz.b64', 'd -> r', [
  [0n, 64],
  [1n, 63],
  [1n << 40n, 23],
]);
test('brev.b32', 'r -> r', [
  [1, min32],
  [0x12345678, 0x1e6a2c48],
]);
test('brev.b64', 'd -> d', [
  [1n, min64],
  [0x12345678n, 0x1e6a2c4800000000n],
]);
test('bmsk.clamp.b32', 'r r -> r', [
  [4, 8, 0xff0],
  [0, 99, M],
  [40, 3, 0],
]);
test('bmsk.wrap.b32', 'r r -> r', [[36, 8, 0xff0]]);

// ---- comparison and selection ----
for (const [type, a, b, less] of [
  ['s32', M, 1, true],
  ['u32', M, 1, false],
] as [string, number, number, boolean][]) {
  test(`setp.lt.${type}`, 'r r -> p', [
    [a, b, less],
    [5, 5, false],
  ]);
  test(`setp.le.${type}`, 'r r -> p', [
    [a, b, less],
    [5, 5, true],
  ]);
  test(`setp.gt.${type}`, 'r r -> p', [
    [a, b, !less],
    [5, 5, false],
  ]);
  test(`setp.ge.${type}`, 'r r -> p', [
    [a, b, !less],
    [5, 5, true],
  ]);
  test(`setp.eq.${type}`, 'r r -> p', [
    [a, b, false],
    [M, M, true],
  ]);
  test(`setp.ne.${type}`, 'r r -> p', [
    [a, b, true],
    [M, M, false],
  ]);
}
test('setp.lo.u32', 'r r -> p', [
  [M, 1, false],
  [1, M, true],
]);
test('setp.ls.u32', 'r r -> p', [
  [1, 1, true],
  [M, 1, false],
]);
test('setp.hi.u32', 'r r -> p', [
  [M, 1, true],
  [1, 1, false],
]);
test('setp.hs.u32', 'r r -> p', [
  [1, 1, true],
  [0, 1, false],
]);
test('setp.lt.s64', 'd d -> p', [
  [M64, 1n, true],
  [min64, M64, true],
  [1n, 0x100000000n, true],
  [0x100000000n, 1n, false],
  [2n, 2n, false],
]);
test('setp.lt.u64', 'd d -> p', [
  [M64, 1n, false],
  [1n, M64, true],
]);
test('setp.ge.s64', 'd d -> p', [
  [M64, 1n, false],
  [2n, 2n, true],
]);
test('setp.gt.u64', 'd d -> p', [[M64, 1n, true]]);
test('setp.le.s64', 'd d -> p', [
  [2n, 2n, true],
  [3n, 2n, false],
]);
test('setp.eq.b64', 'd d -> p', [
  [1n << 32n, 0n, false],
  [M64, M64, true],
]);
test('setp.ne.s64', 'd d -> p', [[1n << 32n, 0n, true]]);
test('setp.lt.s16', 'h h -> p', [[0xffff, 1, true]]);
test('setp.lt.u16', 'h h -> p', [[0xffff, 1, false]]);
test('setp.eq.b16', 'h h -> p', [[7, 7, true]]);
test(
  'setp.lt.and.s32',
  'r r p -> p p',
  [
    [1, 2, true, true, false],
    [1, 2, false, false, false],
    [2, 1, true, false, true],
  ],
  'setp.lt.and.s32 %x|%y, %a, %b, %c;',
);
test(
  'setp.lt.or.s32',
  'r r p -> p p',
  [
    [1, 2, false, true, false],
    [2, 1, true, true, true],
  ],
  'setp.lt.or.s32 %x|%y, %a, %b, %c;',
);
test('setp.lt.xor.s32', 'r r p -> p p', [[1, 2, true, false, true]], 'setp.lt.xor.s32 %x|%y, %a, %b, %c;');
test(
  'setp.lt.and.s32 negated',
  'r r p -> p',
  [
    [1, 2, true, false],
    [1, 2, false, true],
  ],
  'setp.lt.and.s32 %x, %a, %b, !%c;',
);
for (const [comparison, results] of Object.entries({
  // less, equal, greater, unordered
  eq: [false, true, false, false],
  ne: [true, false, true, false],
  lt: [true, false, false, false],
  le: [true, true, false, false],
  gt: [false, false, true, false],
  ge: [false, true, true, false],
  equ: [false, true, false, true],
  neu: [true, false, true, true],
  ltu: [true, false, false, true],
  leu: [true, true, false, true],
  gtu: [false, false, true, true],
  geu: [false, true, true, true],
  num: [true, true, true, false],
  nan: [false, false, false, true],
})) {
  const rows = (kind: string) =>
    [
      [1, 2, results[0]],
      [-0, 0, results[1]],
      [inf, 5, results[2]],
      [nan, kind === 'f' ? 1 : nan, results[3]],
      [1, nan, results[3]],
    ] as Value[][];
  test(`setp.${comparison}.f32`, 'f f -> p', rows('f'));
  test(`setp.${comparison}.f64`, 'F F -> p', rows('F'));
}
test('setp.gt.ftz.f32', 'f f -> p', [
  [tiny, 0, false],
  [2 ** -126, 0, true],
]);
test('setp.lt.f16', 'h h -> p', [
  [0xbc00, 0x3c00, true],
  [0x7e00, 0x3c00, false],
]);
test('setp.gt.bf16', 'h h -> p', [[0x4000, 0x3f80, true]]);
test('setp.lt.f16x2', 'r r -> p p', [[0x3c00bc00, 0xbc003c00, true, false]], 'setp.lt.f16x2 %x|%y, %a, %b;');
test('set.lt.u32.s32', 'r r -> r', [
  [M, 1, M],
  [1, M, 0],
]);
test('set.lt.f32.s32', 'r r -> f', [
  [M, 1, 1],
  [1, M, 0],
]);
test('set.gt.u32.f32', 'f f -> r', [
  [2, 1, M],
  [nan, 1, 0],
]);
test('set.eq.f16x2.f16x2', 'r r -> r', [[0x3c004000, 0x3c003c00, 0x3c000000]]);
test('selp.b32', 'r r p -> r', [
  [1, 2, true, 1],
  [1, 2, false, 2],
]);
test('selp.f32', 'f f p -> f', [[1.5, 2.5, false, 2.5]]);
test('selp.b64', 'd d p -> d', [
  [M64, 2n, true, M64],
  [M64, 2n, false, 2n],
]);
test('selp.f64', 'F F p -> F', [[1.5, 2.5, true, 1.5]]);
test('selp.b16', 'h h p -> h', [[1, 2, false, 2]]);
test('slct.b32.s32', 'r r r -> r', [
  [1, 2, 0, 1],
  [1, 2, M, 2],
]);
test('slct.u32.f32', 'r r f -> r', [
  [1, 2, -0, 1],
  [1, 2, -1, 2],
  [1, 2, nan, 2],
]);
test('slct.ftz.u32.f32', 'r r f -> r', [[1, 2, -tiny, 1]]);
test('slct.u64.s32', 'd d r -> d', [[1n, 2n, M, 2n]]);

// ---- f32 and f64 arithmetic ----
test('add.f32', 'f f -> f', [
  [16777216, 1, 16777216],
  [16777216, 1.0000001192092896, 16777218],
  [inf, -inf, nan],
  [-0, -0, -0],
  [0, -0, 0],
  [tiny, tiny, 2 * tiny],
  [3.4028234663852886e38, 3.4028234663852886e38, inf],
]);
test('add.rz.f32', 'f f -> f', [
  [16777216, 3, 16777218],
  [16777216, 1, 16777216],
  [-16777216, -1, -16777216],
  [3.4028234663852886e38, 3.4028234663852886e38, 3.4028234663852886e38],
]);
test('add.rm.f32', 'f f -> f', [
  [16777216, -1e-30, 16777215],
  [1, -1, -0],
  [-16777216, -1, -16777218],
  [0, 0, 0],
]);
test('add.rp.f32', 'f f -> f', [
  [16777216, 1e-30, 16777218],
  [1, -1, 0],
  [-3.4028234663852886e38, -3.4028234663852886e38, -3.4028234663852886e38],
]);
test('add.ftz.f32', 'f f -> f', [
  [tiny, tiny, 0],
  [-tiny, 0, 0],
  [2 ** -126, -(2 ** -127), 2 ** -126],
  [2 ** -126 * 1.5, -(2 ** -126), 0],
]);
test('add.sat.f32', 'f f -> f', [
  [0.75, 0.75, 1],
  [-1, 0.5, 0],
  [nan, 1, 0],
  [0.25, 0.5, 0.75],
]);
test('sub.f32', 'f f -> f', [
  [1, 1, 0],
  [0, 0, 0],
  [1, 2.9e-8, 1],
  [1, 3e-8, 0.9999999403953552],
]);
test('sub.rm.f32', 'f f -> f', [[1, 1, -0]]);
test('mul.f32', 'f f -> f', [
  [2 ** -100, 2 ** -49, tiny],
  [2 ** -100, 2 ** -50, 0],
  [3 * 2 ** -76, 2 ** -75, tiny],
  [3 * 2 ** -75, 2 ** -75, 2 * tiny],
  [inf, 0, nan],
  [1.0000001192092896, 1.0000001192092896, 1.000000238418579],
]);
test('mul.rz.f32', 'f f -> f', [
  [1.9999998807907104, 1.9999998807907104, 3.999999523162842],
  [2 ** -100, 2 ** -50, 0],
]);
test('mul.rp.f32', 'f f -> f', [
  [2 ** -100, 2 ** -60, tiny],
  [1.0000001192092896, 1.0000001192092896, 1.0000003576278687],
]);
test('mul.rm.f32', 'f f -> f', [[-(2 ** -100), 2 ** -60, -tiny]]);
test('mul.ftz.f32', 'f f -> f', [
  [2 ** -100, 2 ** -30, 0],
  [-(2 ** -100), 2 ** -30, -0],
]);
test('mul.sat.f32', 'f f -> f', [
  [3, 3, 1],
  [-3, 3, 0],
]);
test('add.f64', 'F F -> F', [
  [0.1, 0.2, 0.30000000000000004],
  [inf, -inf, nan],
]);
test('add.rm.f64', 'F F -> F', [
  [1, 1e-30, 1],
  [1, -1e-30, 0.9999999999999999],
  [1, -1, -0],
]);
test('add.rp.f64', 'F F -> F', [[1, 1e-30, 1.0000000000000002]]);
test('add.rz.f64', 'F F -> F', [[-1, 1e-30, -0.9999999999999999]]);
test('sub.rp.f64', 'F F -> F', [[1, 1e-30, 1]]);
test('mul.f64', 'F F -> F', [[0.1, 3, 0.30000000000000004]]);
test('mul.rm.f64', 'F F -> F', [
  [0, 5, 0],
  [0, -5, -0],
  [-1e-300, 1e-300, -5e-324],
]);
test('mul.rz.f64', 'F F -> F', [
  [0.1, 3, 0.3],
  [0.1, 0.1, 0.01],
  [1e308, 10, 1.7976931348623157e308],
]);
test('sub.f64', 'F F -> F', [[0.3, 0.1, 0.19999999999999998]]);
// One rounding: the product alone would round to 1, and the sum of a double product is an exact tie of f32.
test('fma.rn.f32', 'f f f -> f', [
  [1.0000001192092896, 0.9999998807907104, -1, -1.4210854715202004e-14],
  [nan, 1, 1, nan],
  [inf, 0, 1, nan],
  [2, 3, 4, 10],
  [f32(0x3f800001), f32(0x3f800001), f32(0x2f800000), Math.fround(1.0000002384185933)],
  [16777216, 1, 1, 16777216],
  [4097, 4097, 2 ** -30, 16785410],
  [4097, 4097, 0, 16785408],
  [-0, 1, -0, -0],
  [tiny, 0.5, 0, 0],
  [tiny, 0.5, tiny, 2 * tiny],
  [tiny, 0.5, 2 * tiny, 2 * tiny],
]);
// 3·5592405.5 = 16777216.5; beyond the tie at 16777217 the sum rounds up.
test(
  'fma.rn.f32 ties',
  'f f f -> f',
  [
    [4097, 4095, 2 ** -40, 16777216 - 1],
    [8388609, 2, 2 ** -60, 16777218],
    [1, 16777216, 1, 16777216],
    [1, 16777218, 1, 16777220],
    [3, 5592405.5, 2 ** -70, 16777216],
    [3, 5592405.5, 0.5, 16777216],
    [3, 5592405.5, Math.fround(0.50000006), 16777218],
  ],
  'fma.rn.f32 %x, %a, %b, %c;',
);
test('fma.rz.f32', 'f f f -> f', [
  [1, 16777216, 1.5, 16777216],
  [-1, 16777216, -3.5, -16777218],
]);
test('fma.rp.f32', 'f f f -> f', [[1, 16777216, 1e-20, 16777218]]);
test('fma.rm.f32', 'f f f -> f', [
  [1, 1, -1, -0],
  [1, 16777216, -1e-20, 16777215],
]);
test('fma.rn.ftz.f32', 'f f f -> f', [
  [tiny, 1, 1, 1],
  [2 ** -100, 2 ** -40, 0, 0],
]);
test('fma.rn.sat.f32', 'f f f -> f', [
  [2, 3, 4, 1],
  [-2, 3, 4, 0],
]);
test('fma.rn.f64', 'F F F -> F', [
  [1.0000000000000002, 0.9999999999999998, -1, -4.930380657631324e-32],
  [0.1, 10, -1, 5.551115123125783e-17],
  [1e308, 10, -inf, -inf],
  [5e-324, 0.5, 0, 0],
  [3, 7, -21, 0],
]);
test('fma.rm.f64', 'F F F -> F', [[3, 7, -21, -0]]);
test('div.rn.f32', 'f f -> f', [
  [1, 3, Math.fround(1 / 3)],
  [1, 0, inf],
  [-1, 0, -inf],
  [0, 0, nan],
  [tiny, 2, 0],
  [1, inf, 0],
]);
test('div.rz.f32', 'f f -> f', [[2, 3, f32(0x3f2aaaaa)]]);
test('div.rp.f32', 'f f -> f', [
  [1, 3, f32(0x3eaaaaab)],
  [-1, 3, f32(0xbeaaaaaa)],
]);
test('div.rm.f32', 'f f -> f', [
  [1, 3, f32(0x3eaaaaaa)],
  [4, 2, 2],
]);
test('div.approx.f32', 'f f -> f', [
  [1, 4, 0.25],
  [1, 2 ** 127, 0],
  [inf, 2 ** 127, nan],
]);
test('div.full.f32', 'f f -> f', [[6, 3, 2]]);
test('div.full.ftz.f32', 'f f -> f', [[tiny, 1, 0]]);
test('div.rn.f64', 'F F -> F', [
  [1, 3, 1 / 3],
  [-1, 0, -inf],
]);
test('rcp.rn.f32', 'f -> f', [
  [3, Math.fround(1 / 3)],
  [-0, -inf],
  [inf, 0],
]);
test('rcp.rz.f32', 'f -> f', [[3, f32(0x3eaaaaaa)]]);
test('rcp.approx.ftz.f32', 'f -> f', [
  [4, 0.25],
  [tiny, inf],
  [2 ** 127, 0],
]);
test('rcp.rn.f64', 'F -> F', [[3, 1 / 3]]);
test('sqrt.rn.f32', 'f -> f', [
  [2, Math.fround(Math.SQRT2)],
  [-1, nan],
  [-0, -0],
  [tiny, Math.fround(Math.sqrt(tiny))],
]);
test('sqrt.rm.f32', 'f -> f', [
  [2, f32(0x3fb504f3)],
  [4, 2],
]);
test('sqrt.rp.f32', 'f -> f', [[2, f32(0x3fb504f4)]]);
test('sqrt.approx.f32', 'f -> f', [[16, 4]]);
test('sqrt.approx.ftz.f32', 'f -> f', [[tiny, 0]]);
test('sqrt.rn.f64', 'F -> F', [[2, Math.SQRT2]]);
test('rsqrt.approx.f32', 'f -> f', [
  [4, 0.5],
  [0, inf],
  [-1, nan],
]);
test('rsqrt.approx.ftz.f32', 'f -> f', [[tiny, inf]]);
test('rcp.approx.ftz.f64', 'F -> F', [
  [4, 0.25],
  [3, f64(0x3fd5555500000000n)],
  [1e-310, inf],
  [-inf, -0],
]);
test('rsqrt.approx.ftz.f64', 'F -> F', [[16, 0.25]]);
test(
  'selp.f64 of a literal',
  'F p -> F',
  [
    [2, true, 1.5],
    [2, false, 2],
  ],
  'selp.f64 %x, 0d3FF8000000000000, %a, %b;',
);
test('rsqrt.approx.f64', 'F -> F', [[4, 0.5]]);
test('ex2.approx.f32', 'f -> f', [
  [3, 8],
  [-1, 0.5],
  [-inf, 0],
  [inf, inf],
  [0, 1],
  [nan, nan],
  [-140, 2 ** -140],
]);
test('ex2.approx.ftz.f32', 'f -> f', [
  [-140, 0],
  [-126, 2 ** -126],
]);
test('lg2.approx.f32', 'f -> f', [
  [8, 3],
  [0, -inf],
  [-1, nan],
  [inf, inf],
]);
test('lg2.approx.ftz.f32', 'f -> f', [[tiny, -inf]]);
test('sin.approx.f32', 'f -> f', [
  [0, 0],
  [-0, -0],
  [inf, nan],
]);
test('cos.approx.f32', 'f -> f', [
  [0, 1],
  [inf, nan],
]);
test('tanh.approx.f32', 'f -> f', [
  [inf, 1],
  [-inf, -1],
  [0, 0],
]);
test('min.f32', 'f f -> f', [
  [nan, 3, 3],
  [3, nan, 3],
  [nan, nan, nan],
  [0, -0, -0],
  [-inf, 3, -inf],
]);
test('max.f32', 'f f -> f', [
  [nan, 3, 3],
  [0, -0, 0],
  [-0, 0, 0],
  [nan, nan, nan],
]);
test('min.NaN.f32', 'f f -> f', [
  [nan, 3, nan],
  [1, 2, 1],
]);
test('max.NaN.f32', 'f f -> f', [
  [3, nan, nan],
  [1, 2, 2],
]);
test('max.ftz.f32', 'f f -> f', [[tiny, -1, 0]]);
test('min.f64', 'F F -> F', [
  [nan, 3, 3],
  [0, -0, -0],
]);
test('max.f64', 'F F -> F', [[1, 3, 3]]);
test('neg.f32', 'f -> f', [
  [0, -0],
  [-3, 3],
  [inf, -inf],
]);
test('neg.f64', 'F -> F', [[0, -0]]);
test('abs.f32', 'f -> f', [
  [-0, 0],
  [-3, 3],
]);
test('abs.ftz.f32', 'f -> f', [[-tiny, 0]]);
test('abs.f64', 'F -> F', [[-inf, inf]]);
test('copysign.f32', 'f f -> f', [
  [-1, 3, -3],
  [0, -3, 3],
  [-0, 2, -2],
]);
test('copysign.f64', 'F F -> F', [
  [-1, 3, -3],
  [1, -3, 3],
]);
for (const [property, results] of Object.entries({
  // 1, ∞, NaN, 2^−149, −0
  finite: [true, false, false, true, true],
  infinite: [false, true, false, false, false],
  number: [true, true, false, true, true],
  notanumber: [false, false, true, false, false],
  normal: [true, false, false, false, false],
  subnormal: [false, false, false, true, false],
})) {
  test(
    `testp.${property}.f32`,
    'f -> p',
    [1, inf, nan, tiny, -0].map((value, k) => [value, results[k]]),
  );
  test(
    `testp.${property}.f64`,
    'F -> p',
    [1, inf, nan, 5e-324, -0].map((value, k) => [value, results[k]]),
  );
}

// ---- f16 and bf16 arithmetic: one rounding to nearest even ----
test('add.f16', 'h h -> h', [
  [0x3c00, 0x3c00, 0x4000],
  [0x7bff, 0x7bff, 0x7c00],
  [0x0001, 0x0001, 0x0002],
  [0x6800, 0x3c00, 0x6800],
  [0x6800, 0x4200, 0x6802],
  [0x7c00, 0xfc00, 0x7fff],
]);
test('add.rn.f16x2', 'r r -> r', [[0x3c004000, 0x3c003c00, 0x40004200]]);
test('sub.f16x2', 'r r -> r', [[0x3c004000, 0x3c003c00, 0x00003c00]]);
test('mul.f16', 'h h -> h', [
  [0x4200, 0x4200, 0x4880],
  [0x0400, 0x3800, 0x0200],
  [0x0001, 0x3800, 0],
  [0x0003, 0x3800, 0x0002],
]);
test('mul.ftz.f16', 'h h -> h', [[0x0400, 0x3800, 0]]);
test('mul.sat.f16x2', 'r r -> r', [[0x4200bc00, 0x3c003c00, 0x3c000000]]);
test('fma.rn.f16', 'h h h -> h', [
  [0x3c01, 0x3bff, 0xbc00, 0x0ffe],
  [0x4200, 0x4200, 0x3c00, 0x4900],
  [0x7c00, 0, 0x3c00, 0x7fff],
]);
test('fma.rn.f16x2', 'r r r -> r', [[0x3c004000, 0x40004000, 0x3c003c00, 0x42004500]]);
test('fma.rn.relu.f16', 'h h h -> h', [[0xbc00, 0x3c00, 0, 0]]);
test('fma.rn.bf16', 'h h h -> h', [
  [0x3f80, 0x4000, 0x3f80, 0x4040],
  [0x3f81, 0x3f81, 0, 0x3f82],
]);
test('fma.rn.bf16x2', 'r r r -> r', [[0x3f804000, 0x40004000, 0x3f803f80, 0x404040a0]]);
test('neg.f16', 'h -> h', [
  [0x3c00, 0xbc00],
  [0x7e01, 0xfe01],
]);
test('neg.f16x2', 'r -> r', [[0x3c000000, 0xbc008000]]);
test('neg.bf16x2', 'r -> r', [[0x3f80bf80, 0xbf803f80]]);
test('abs.f16x2', 'r -> r', [[0xbc003c00, 0x3c003c00]]);
test('abs.bf16', 'h -> h', [[0xbf80, 0x3f80]]);
test('min.f16', 'h h -> h', [
  [0x7e00, 0x3c00, 0x3c00],
  [0x0000, 0x8000, 0x8000],
]);
test('max.NaN.f16x2', 'r r -> r', [[0x7e003c00, 0x3c004000, 0x7fff4000]]);
test('max.bf16x2', 'r r -> r', [[0x7fc03f80, 0x3f804000, 0x3f804000]]);
test('ex2.approx.f16', 'h -> h', [
  [0x4200, 0x4800],
  [0xbc00, 0x3800],
]);
test('ex2.approx.f16x2', 'r -> r', [[0x42003c00, 0x48004000]]);
test('tanh.approx.f16', 'h -> h', [[0x7c00, 0x3c00]]);
test('tanh.approx.bf16x2', 'r -> r', [[0x7f80ff80, 0x3f80bf80]]);

// ---- conversions ----
test('cvt.u32.u16', 'h -> r', [[0xffff, 0xffff]]);
test('cvt.s32.s16', 'h -> r', [[0xffff, M]]);
test('cvt.s32.s8', 'r -> r', [
  [0x1ff, M],
  [0x17f, 0x7f],
]);
test('cvt.u32.u8', 'r -> r', [[0x1ff, 0xff]]);
test('cvt.s16.s8', 'h -> h', [[0x80, 0xff80]]);
test('cvt.u16.u32', 'r -> h', [[0x12345, 0x2345]]);
test('cvt.s8.s32 to 32 bits', 'r -> r', [[0x180, 0xffffff80]], 'cvt.s8.s32 %x, %a;');
test('cvt.u8.u32 to 32 bits', 'r -> r', [[0x180, 0x80]], 'cvt.u8.u32 %x, %a;');
test('cvt.s64.s32', 'r -> d', [
  [M, M64],
  [5, 5n],
]);
test('cvt.u64.u32', 'r -> d', [[M, 0xffffffffn]]);
test('cvt.u32.u64', 'd -> r', [[0x1234567890n, 0x34567890]]);
test('cvt.s64.s16', 'h -> d', [[0xffff, M64]]);
test('cvt.sat.u8.s32', 'r -> r', [
  [M, 0],
  [300, 255],
  [77, 77],
]);
test('cvt.sat.s8.s32', 'r -> r', [
  [200, 127],
  [0xffffff00, 0xffffff80],
]);
test('cvt.sat.s32.u32', 'r -> r', [[M, max32]]);
test('cvt.sat.u32.s32', 'r -> r', [[M, 0]]);
test('cvt.sat.s32.s64', 'd -> r', [
  [1n << 40n, max32],
  [BigInt.asUintN(64, -(1n << 40n)), min32],
  [5n, 5],
]);
test('cvt.sat.u32.u64', 'd -> r', [[M64, M]]);
test('cvt.sat.u64.s64', 'd -> d', [
  [M64, 0n],
  [7n, 7n],
]);
test('cvt.sat.s64.u64', 'd -> d', [[M64, 0x7fffffffffffffffn]]);
// Float to integer clamps; NaN is 0, but the sign bit alone for .f64 sources and 64-bit destinations.
test('cvt.rzi.s32.f32', 'f -> r', [
  [-1.9, M],
  [3e9, max32],
  [-3e9, min32],
  [nan, 0],
  [inf, max32],
]);
test('cvt.rzi.u32.f32', 'f -> r', [
  [-1, 0],
  [5e9, M],
  [3e9, 3000000000],
  [nan, 0],
]);
test('cvt.rni.s32.f32', 'f -> r', [
  [2.5, 2],
  [3.5, 4],
  [-2.5, 0xfffffffe],
  [-0.5, 0],
]);
test('cvt.rmi.s32.f32', 'f -> r', [
  [-1.1, 0xfffffffe],
  [1.9, 1],
]);
test('cvt.rpi.s32.f32', 'f -> r', [
  [-1.1, M],
  [1.1, 2],
]);
test('cvt.rzi.u8.f32', 'f -> r', [
  [300, 255],
  [-3, 0],
  [7.9, 7],
]);
test('cvt.rni.s8.f32', 'f -> r', [
  [-200, 0xffffff80],
  [127.5, 127],
]);
test('cvt.rzi.s64.f32', 'f -> d', [
  [-1.5, M64],
  [1e10, 10000000000n],
  [1e30, 0x7fffffffffffffffn],
  [nan, min64],
]);
test('cvt.rzi.u64.f64', 'F -> d', [
  [-5, 0n],
  [1e19, 10000000000000000000n],
  [1e30, M64],
  [nan, min64],
]);
test('cvt.rzi.s64.f64', 'F -> d', [
  [-4294967297, 0xfffffffeffffffffn],
  [9007199254740992, 9007199254740992n],
]);
test('cvt.rzi.s32.f64', 'F -> r', [
  [-7.9, 0xfffffff9],
  [1e10, max32],
  [nan, min32],
]);
test('cvt.rni.ftz.s32.f32', 'f -> r', [[1.5, 2]]);
test('cvt.rpi.ftz.s32.f32', 'f -> r', [[tiny, 0]]);
test('cvt.rn.f32.s32', 'r -> f', [
  [M, -1],
  [16777217, 16777216],
  [16777219, 16777220],
  [min32, -2147483648],
]);
test('cvt.rz.f32.s32', 'r -> f', [
  [16777219, 16777218],
  [0xfefffffd, -16777218],
]);
test('cvt.rp.f32.u32', 'r -> f', [
  [M, 4294967296],
  [16777217, 16777218],
]);
test('cvt.rm.f32.u32', 'r -> f', [[M, 4294967040]]);
test('cvt.rn.f32.u32', 'r -> f', [[M, 4294967296]]);
// 2^60 + 2^36 + 1 lies just above a tie: rounding through a double first would lose the 1.
test('cvt.rn.f32.u64', 'd -> f', [
  [(1n << 60n) + (1n << 36n) + 1n, 2 ** 60 + 2 ** 37],
  [(1n << 60n) + (1n << 36n), 2 ** 60],
  [M64, 2 ** 64],
]);
test('cvt.rn.f32.s64', 'd -> f', [
  [M64, -1],
  [min64, -(2 ** 63)],
]);
test('cvt.rz.f32.u64', 'd -> f', [[M64, f32(0x5f7fffff)]]);
test('cvt.rn.f64.s64', 'd -> F', [
  [9007199254740993n, 9007199254740992],
  [M64, -1],
]);
test('cvt.rp.f64.u64', 'd -> F', [
  [9007199254740993n, 9007199254740994],
  [M64, 2 ** 64],
]);
test('cvt.rn.f64.s32', 'r -> F', [[M, -1]]);
test('cvt.rn.f64.u32', 'r -> F', [[M, 4294967295]]);
test('cvt.rn.f32.f64', 'F -> f', [
  [1 / 3, Math.fround(1 / 3)],
  [1e300, inf],
  [1 + 2 ** -24, 1],
  [1 + 2 ** -24 + 2 ** -50, 1.0000001192092896],
  [1e-320, 0],
]);
test('cvt.rz.f32.f64', 'F -> f', [
  [1 + 2 ** -23 - 2 ** -50, 1],
  [1e300, 3.4028234663852886e38],
  [-1e-320, -0],
]);
test('cvt.rp.f32.f64', 'F -> f', [
  [1e-320, tiny],
  [1 + 2 ** -50, 1.0000001192092896],
]);
test('cvt.rm.f32.f64', 'F -> f', [
  [-1e-320, -tiny],
  [1e300, 3.4028234663852886e38],
]);
test('cvt.rn.ftz.f32.f64', 'F -> f', [[1e-40, 0]]);
test('cvt.f64.f32', 'f -> F', [
  [0.1, Math.fround(0.1)],
  [tiny, tiny],
]);
test('cvt.ftz.f64.f32', 'f -> F', [[tiny, 0]]);
test('cvt.rni.f32.f32', 'f -> f', [
  [2.5, 2],
  [-0.4, -0],
  [3.5, 4],
  [1e20, Math.fround(1e20)],
  [nan, nan],
]);
test('cvt.rzi.f32.f32', 'f -> f', [
  [-1.9, -1],
  [0.9, 0],
]);
test('cvt.rmi.f32.f32', 'f -> f', [
  [-0.1, -1],
  [1.9, 1],
]);
test('cvt.rpi.f32.f32', 'f -> f', [
  [0.1, 1],
  [-0.9, -0],
]);
test('cvt.rni.f64.f64', 'F -> F', [
  [0.5, 0],
  [1.5, 2],
]);
test('cvt.sat.f32.f32', 'f -> f', [
  [1.5, 1],
  [-2, 0],
  [nan, 0],
  [0.25, 0.25],
]);
test('cvt.ftz.f32.f32', 'f -> f', [[-tiny, -0]]);
test('cvt.rn.f16.f32', 'f -> h', [
  [1, 0x3c00],
  [65504, 0x7bff],
  [65519.99, 0x7bff],
  [65520, 0x7c00],
  [2 ** -24, 1],
  [2 ** -25, 0],
  [Math.fround(2 ** -25 * 1.0001), 1],
  [nan, 0x7fff],
  [-0, 0x8000],
  [1 + 2 ** -11, 0x3c00],
  [1 + 3 * 2 ** -11, 0x3c02],
  [2 ** -14 - 2 ** -26, 0x0400],
]);
test('cvt.rz.f16.f32', 'f -> h', [
  [1 + 2 ** -11 + 2 ** -12, 0x3c00],
  [1e6, 0x7bff],
  [-1e6, 0xfbff],
]);
test('cvt.rp.f16.f32', 'f -> h', [
  [1 + 2 ** -20, 0x3c01],
  [2 ** -30, 1],
  [1e6, 0x7c00],
  [-1e6, 0xfbff],
]);
test('cvt.rm.f16.f32', 'f -> h', [
  [-1 - 2 ** -20, 0xbc01],
  [-(2 ** -30), 0x8001],
]);
test('cvt.rn.sat.f16.f32', 'f -> h', [[7, 0x3c00]]);
test('cvt.rn.relu.f16.f32', 'f -> h', [[-7, 0]]);
test('cvt.rn.f16.f64', 'F -> h', [[1 + 2 ** -11 + 2 ** -40, 0x3c01]]);
test('cvt.f32.f16', 'h -> f', [
  [0x3c00, 1],
  [0x0001, 2 ** -24],
  [0x7c00, inf],
  [0xfc00, -inf],
  [0x8000, -0],
  [0x7e00, nan],
  [0x03ff, 1023 * 2 ** -24],
]);
test('cvt.f64.f16', 'h -> F', [[0x3555, 0.333251953125]]);
test('cvt.rn.bf16.f32', 'f -> h', [
  [1, 0x3f80],
  [1 + 2 ** -8, 0x3f80],
  [1 + 3 * 2 ** -8, 0x3f82],
  [3.4e38, 0x7f80],
  [nan, 0x7fff],
  [tiny, 0],
  [-inf, 0xff80],
]);
test('cvt.rz.bf16.f32', 'f -> h', [
  [1.99999, 0x3fff],
  [3.4e38, 0x7f7f],
]);
test('cvt.rn.relu.bf16.f32', 'f -> h', [
  [-3, 0],
  [3, 0x4040],
]);
test('cvt.f32.bf16', 'h -> f', [
  [0x3f80, 1],
  [0xff80, -inf],
]);
test('cvt.rna.tf32.f32', 'f -> r', [
  [1 + 2 ** -11, 0x3f802000],
  [1 + 2 ** -12, 0x3f800000],
  [-1 - 2 ** -11, 0xbf802000],
]);
test('cvt.rn.f16x2.f32', 'f f -> r', [[1, 2, 0x3c004000]]);
test('cvt.rz.f16x2.f32', 'f f -> r', [[1.99999, 2, 0x3fff4000]]);
test('cvt.rn.bf16x2.f32', 'f f -> r', [
  [1, 2, 0x3f804000],
  [nan, inf, 0x7fff7f80],
]);
test('cvt.rn.relu.bf16x2.f32', 'f f -> r', [[-1, 2, 0x00004000]]);
test('cvt.rn.f16.s32', 'r -> h', [
  [M, 0xbc00],
  [2049, 0x6800],
  [2051, 0x6802],
  [100000, 0x7c00],
]);
test('cvt.rn.f16.u16', 'h -> h', [
  [0xffff, 0x7c00],
  [3, 0x4200],
]);
test('cvt.rzi.s32.f16', 'h -> r', [[0xbe00, M]]);
test('cvt.rni.f16.f16', 'h -> h', [[0x4100, 0x4000]]);
test('cvt.pack.sat.s16.s32', 'r r -> r', [
  [100000, 0xfffe0000, 0x7fff8000],
  [1, 2, 0x00010002],
]);
test('cvt.pack.sat.u8.s32.b32', 'r r r -> r', [[300, M, 0x1234, 0x1234ff00]]);

// ---- moves ----
test('mov.b32 of a register', 'r -> r', [[0x7f812345, 0x7f812345]], 'mov.b32 %x, %a;');
test('mov.f32 of an immediate', 'r -> f', [[0, 1.5]], 'mov.f32 %x, 0f3FC00000;');
test('mov.f64 of an immediate', 'r -> F', [[0, 1.5]], 'mov.f64 %x, 0d3FF8000000000000;');
test('mov.b64 of an immediate', 'r -> d', [[0, M64]], 'mov.b64 %x, -1;');
test('mov.b64 {r,r}', 'r r -> d', [[1, 2, 0x200000001n]], 'mov.b64 %x, {%a, %b};');
test('mov.b64 to {r,r}', 'd -> r r', [[0x200000001n, 1, 2]], 'mov.b64 {%x, %y}, %a;');
test('mov.b32 {h,h}', 'h h -> r', [[0x1234, 0x5678, 0x56781234]], 'mov.b32 %x, {%a, %b};');
test('mov.b32 to {h,h}', 'r -> h h', [[0x56781234, 0x1234, 0x5678]], 'mov.b32 {%x, %y}, %a;');
test(
  'mov.b64 to {h,h,h,h}',
  'd -> h h h h',
  [[0x4444333322221111n, 0x1111, 0x2222, 0x3333, 0x4444]],
  'mov.b64 {%x, %y, %z, %u}, %a;',
);
test('mov.b64 of four halves', 'h h h h -> d', [[1, 2, 3, 4, 0x4000300020001n]], 'mov.b64 %x, {%a, %b, %c, %d};');
test(
  'mov.b32 to a float',
  'r -> f',
  [
    [0x3f800000, 1],
    [0x80000000, -0],
  ],
  'mov.b32 %x, %a;',
);
test(
  'mov.b32 of a float',
  'f -> r',
  [
    [1, 0x3f800000],
    [-0, 0x80000000],
  ],
  'mov.b32 %x, %a;',
);
test('mov.b64 to a double', 'd -> F', [[0x3ff0000000000000n, 1]], 'mov.b64 %x, %a;');
test('mov.b64 of a double', 'F -> d', [[-2, 0xc000000000000000n]], 'mov.b64 %x, %a;');
test('mov.pred', 'p -> p', [[true, true]]);
test(
  'a NaN that arithmetic made is canonical',
  'f f -> r',
  [[inf, -inf, 0x7fffffff]],
  '{ .reg .f32 t; add.f32 t, %a, %b; mov.b32 %x, t; }',
);
test(
  'cvta and isspacep',
  'd -> p p',
  [[0n, true, false]],
  '{ .shared .b32 s; .reg .u64 t; mov.u64 t, s; cvta.shared.u64 t, t; isspacep.shared %x, t; isspacep.global %y, t; }',
);
test(
  'cvta.to',
  'd -> d',
  [[0n, 0n]],
  '{ .shared .b32 s; .reg .u64 t, q; mov.u64 t, s; cvta.shared.u64 q, t; cvta.to.shared.u64 q, q; sub.u64 %x, q, t; }',
);
test(
  'membar, fence, nanosleep, prefetch',
  'r -> r',
  [[7, 7]],
  'membar.gl; membar.cta; fence.acq_rel.gpu; fence.sc.cta; nanosleep.u32 20; prefetch.global.L2 [%in]; prefetchu.L1 [%in]; mov.b32 %x, %a;',
);
test(
  'a guard keeps the old value',
  'r p -> r',
  [
    [5, true, 6],
    [5, false, 5],
  ],
  'mov.b32 %x, %a; @%b add.s32 %x, %x, 1;',
);
test(
  'a negated guard',
  'r p -> r',
  [
    [5, true, 5],
    [5, false, 6],
  ],
  'mov.b32 %x, %a; @!%b add.s32 %x, %x, 1;',
);
test('f64 bits', 'F -> d', [[f64(0x7ff0000000000000n), 0x7ff0000000000000n]], 'mov.b64 %x, %a;');

export const conformance: readonly Conformance[] = [
  ...cases,
  ...conformanceInteger,
  ...conformanceCompare,
  ...conformanceFloat,
  ...conformanceConvert,
  ...conformanceMemory,
  ...conformanceWarp,
];
