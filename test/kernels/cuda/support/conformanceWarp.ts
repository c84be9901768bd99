// Warp-wide instructions, barriers and jumps: the rows are the lanes of a warp (of two for barriers), whose results the PTX
// manual's definitions give.
import type { Conformance } from './conformance.ts';
import type { Value } from './instruction.ts';

const cases: Conformance[] = [];
const lanes = Array.from({ length: 32 }, (_, lane) => lane);
const values = lanes.map((lane) => Math.imul(lane + 1, 0x9e3779b1) >>> 0);

/** `rowOf` gives a thread's inputs and results. */
const test = (
  body: string,
  signature: string,
  threads: number,
  rowOf: (thread: number) => Value[],
  name = body,
): void => {
  cases.push({ name, signature, body, rows: Array.from({ length: threads }, (_, thread) => rowOf(thread)) });
};

// shfl: the manual's pseudo-code. The third operand holds the last lane and, from bit 8, the bits that a segment keeps.
for (const mode of ['up', 'down', 'bfly', 'idx']) {
  for (const [by, segment] of [
    [1, 0],
    [5, 0],
    [5, 24],
    [33, 16],
  ]) {
    const clamp = mode === 'up' ? 0 : 31;
    const control = (segment << 8) | clamp;
    const source = (lane: number) => {
      const last = (lane & segment) | (clamp & ~segment);
      const b = by & 31;
      if (mode === 'up') return { from: lane - b, inside: lane - b >= last };
      const from = mode === 'down' ? lane + b : mode === 'bfly' ? lane ^ b : (lane & segment) | (b & ~segment);
      return { from, inside: from <= last };
    };
    test(`shfl.sync.${mode}.b32 %x|%y, %a, ${by}, ${control}, -1;`, 'r -> r p', 32, (lane) => {
      const { from, inside } = source(lane);
      return [values[lane], values[inside ? from : lane], inside];
    });
  }
}
for (const [holds, named] of [
  [(lane: number) => lane % 3 === 0, 'some'],
  [() => true, 'all'],
  [() => false, 'none'],
] as [(lane: number) => boolean, string][]) {
  const yes = lanes.filter(holds).length;
  const results = { all: yes === 32, any: yes > 0, uni: yes === 32 || yes === 0 };
  for (const [mode, result] of Object.entries(results)) {
    test(
      `vote.sync.${mode}.pred %x, %a, -1;`,
      'p -> p',
      32,
      (lane) => [holds(lane), result],
      `vote.sync.${mode}.pred of ${named}`,
    );
  }
  const ballot = lanes.reduce((mask, lane) => (holds(lane) ? mask | (1 << lane) : mask), 0) >>> 0;
  test(
    'vote.sync.ballot.b32 %x, %a, -1;',
    'p -> r',
    32,
    (lane) => [holds(lane), ballot],
    `vote.sync.ballot.b32 of ${named}`,
  );
}
for (const [type, kind, scale] of [
  ['b32', 'r', 1],
  ['b64', 'd', 2 ** 33],
] as const) {
  const key = (lane: number) => (lane % 5) * scale;
  const value = (lane: number) => (kind === 'd' ? BigInt(key(lane)) : key(lane));
  const equal = (lane: number) => lanes.reduce((mask, k) => (k % 5 === lane % 5 ? mask | (1 << k) : mask), 0) >>> 0;
  test(`match.any.sync.${type} %x, %a, -1;`, `${kind} -> r`, 32, (lane) => [value(lane), equal(lane)]);
  test(`match.all.sync.${type} %x|%y, %a, -1;`, `${kind} -> r p`, 32, (lane) => [value(lane), 0, false]);
  test(
    `match.all.sync.${type} %x|%y, %a, -1;`,
    `${kind} -> r p`,
    32,
    () => [value(3), 0xffffffff, true],
    `match.all.sync.${type} of one value`,
  );
}
const reductions: Record<string, [type: string, result: number][]> = {
  add: ['u32', 's32'].map((type) => [type, values.reduce((a, b) => (a + b) >>> 0)]),
  min: [
    ['u32', Math.min(...values)],
    ['s32', Math.min(...values.map((x) => x | 0)) >>> 0],
  ],
  max: [
    ['u32', Math.max(...values)],
    ['s32', Math.max(...values.map((x) => x | 0)) >>> 0],
  ],
  and: [['b32', values.reduce((a, b) => a & b) >>> 0]],
  or: [['b32', values.reduce((a, b) => a | b) >>> 0]],
  xor: [['b32', values.reduce((a, b) => a ^ b) >>> 0]],
};
for (const [op, results] of Object.entries(reductions)) {
  for (const [type, result] of results)
    test(`redux.sync.${op}.${type} %x, %a, -1;`, 'r -> r', 32, (lane) => [values[lane], result]);
}
test('activemask.b32 %x;', 'r -> r', 32, () => [0, 0xffffffff]);

// ---- barriers: each thread reads what its neighbour in the other warp has written ----
const exchange = (barrier: string) =>
  `{ .shared .align 4 .b32 s[64]; mov.u32 %k, s; mad.lo.u32 %k, %t, 4, %k; st.shared.b32 [%k], %a; ${barrier} xor.b32 %k, %t, 32; shl.b32 %k, %k, 2; .reg .b32 base; mov.u32 base, s; add.u32 %k, %k, base; ld.shared.b32 %x, [%k]; }`;
for (const opcode of ['bar.sync', ...['barrier', 'barrier.cta'].flatMap((b) => [`${b}.sync`, `${b}.sync.aligned`])]) {
  for (const operands of ['0', '1', '2, 64'])
    test(exchange(`${opcode} ${operands};`), 'r -> r', 64, (t) => [t, t ^ 32], `${opcode} ${operands}`);
}
// Warp 0 only arrives; warp 1 waits for it and reads.
for (const opcode of [
  'bar.arrive',
  ...['barrier', 'barrier.cta'].flatMap((b) => [`${b}.arrive`, `${b}.arrive.aligned`]),
]) {
  const body = `{ .shared .align 4 .b32 s[32]; .reg .pred first; .reg .b32 lane; and.b32 lane, %t, 31; mov.u32 %k, s; mad.lo.u32 %k, lane, 4, %k; mov.b32 %x, %a; setp.lt.u32 first, %t, 32;
  @!first bra WAIT; st.shared.b32 [%k], %a; ${opcode} 3, 64; bra DONE; WAIT: bar.sync 3, 64; ld.shared.b32 %x, [%k]; DONE: }`;
  test(body, 'r -> r', 64, (t) => [t + 100, (t % 32) + 100], opcode);
}
const reduced = (t: number) => t < 40;
for (const barrier of ['bar', 'barrier', 'barrier.cta']) {
  for (const aligned of barrier === 'bar' ? [''] : ['', '.aligned']) {
    for (const operands of ['0', '1, 64']) {
      test(`${barrier}.red.popc${aligned}.u32 %x, ${operands}, %a;`, 'p -> r', 64, (t) => [reduced(t), 40]);
      test(`${barrier}.red.and${aligned}.pred %x, ${operands}, %a;`, 'p -> p', 64, (t) => [reduced(t), false]);
      test(`${barrier}.red.or${aligned}.pred %x, ${operands}, %a;`, 'p -> p', 64, (t) => [reduced(t), true]);
      test(`${barrier}.red.and${aligned}.pred %x, ${operands}, !%a;`, 'p -> p', 64, () => [false, true]);
      test(`${barrier}.red.or${aligned}.pred %x, ${operands}, !%a;`, 'p -> p', 64, () => [true, false]);
    }
  }
}
test(
  '{ .shared .align 4 .b32 s[32]; mov.u32 %k, s; mad.lo.u32 %k, %t, 4, %k; st.shared.b32 [%k], %a; bar.warp.sync -1; xor.b32 %k, %t, 1; shl.b32 %k, %k, 2; .reg .b32 base; mov.u32 base, s; add.u32 %k, %k, base; ld.shared.b32 %x, [%k]; }',
  'r -> r',
  32,
  (t) => [t, t ^ 1],
  'bar.warp.sync',
);

// ---- jumps ----
test(
  '{ .reg .pred odd; mov.b32 %x, 1; setp.gt.u32 odd, %a, 7; @odd bra SKIP; mov.b32 %x, 2; SKIP: bra.uni END; mov.b32 %x, 3; END: }',
  'r -> r',
  32,
  (t) => [t, t > 7 ? 1 : 2],
  'bra and bra.uni',
);
for (const uni of ['', '.uni']) {
  test(
    `{ .reg .b32 way; and.b32 way, %a, 3; T: .branchtargets A, B, C, B; brx.idx${uni} way, T; A: mov.b32 %x, 10; bra END; B: mov.b32 %x, 20; bra END; C: mov.b32 %x, 30; END: }`,
    'r -> r',
    32,
    (t) => (uni === '' ? [t, [10, 20, 30, 20][t & 3]] : [1, 20]),
    `brx.idx${uni}`,
  );
}
for (const end of ['ret', 'ret.uni', 'exit']) {
  // The results are stored before the end, and not after it.
  test(`st.global.b32 [%out], %a; ${end}; mov.b32 %x, 5;`, 'r -> r', 32, (t) => [t, t], end);
}

export const conformanceWarp: readonly Conformance[] = cases;
