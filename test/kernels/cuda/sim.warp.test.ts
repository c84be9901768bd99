// Warp-wide instructions, barriers with results, control flow: expected values follow the PTX manual's definitions.
import { describe, expect, it } from 'vitest';
import { entry, launch } from './support/launch.ts';

const threads = Array.from({ length: 32 }, (_, l) => l);

/** Runs `body` on a warp: %r0 is the lane, %r1 its word of `input`; stores %r9 of each lane, which is returned. */
function warp(body: string, input: readonly number[] = threads, blockThreads = 32): number[] {
  const out = new Uint32Array(blockThreads);
  const source = Uint32Array.from({ length: blockThreads }, (_, l) => input[l % input.length]);
  const ptx = entry(
    2,
    `ld.param.u64 %d0, [p0]; ld.param.u64 %d1, [p1]; mov.u32 %r0, %tid.x; mul.wide.u32 %d2, %r0, 4; add.s64 %d0, %d0, %d2; add.s64 %d1, %d1, %d2;
     ld.global.b32 %r1, [%d1]; ${body} st.global.b32 [%d0], %r9; ret;`,
  );
  expect(launch(ptx, 'test', [1, 1, 1], [blockThreads, 1, 1], [out, source]).reports).toEqual([]);
  return [...out];
}

const values = threads.map((l) => (l * 2654435761) >>> 0);

describe('shfl.sync', () => {
  it('idx, whole warp and segments', () => {
    expect(warp('shfl.sync.idx.b32 %r9, %r1, 5, 31, -1;', values)).toEqual(threads.map(() => values[5]));
    // Segments of 8 lanes: mask 24 << 8.
    expect(warp('shfl.sync.idx.b32 %r9, %r1, 5, 0x181f, -1;', values)).toEqual(
      threads.map((l) => values[(l & 24) | 5]),
    );
  });
  it('an index per lane, modulo 32', () => {
    expect(warp('mad.lo.u32 %r2, %r0, 7, 64; shfl.sync.idx.b32 %r9, %r1, %r2, 31, -1;', values)).toEqual(
      threads.map((l) => values[(l * 7) & 31]),
    );
  });
  it('up, down and bfly stop at the segment: own value, predicate false', () => {
    const both = (op: string) =>
      `shfl.sync.${op} ; selp.b32 %r3, 1, 0, %p1; shl.b32 %r3, %r3, 31; xor.b32 %r9, %r2, %r3;`;
    const small = threads.map((l) => l + 100);
    const flag = (value: number, inside: boolean) => (inside ? (value ^ 0x80000000) >>> 0 : value);
    expect(warp(both('up.b32 %r2|%p1, %r1, 3, 0, -1'), small)).toEqual(
      threads.map((l) => (l >= 3 ? flag(small[l - 3], true) : flag(small[l], false))),
    );
    expect(warp(both('down.b32 %r2|%p1, %r1, 3, 31, -1'), small)).toEqual(
      threads.map((l) => (l + 3 < 32 ? flag(small[l + 3], true) : flag(small[l], false))),
    );
    expect(warp(both('down.b32 %r2|%p1, %r1, 5, 0x100f, -1'), small)).toEqual(
      threads.map((l) => ((l & 15) + 5 < 16 ? flag(small[l + 5], true) : flag(small[l], false))),
    );
    expect(warp(both('bfly.b32 %r2|%p1, %r1, 16, 31, -1'), small)).toEqual(
      threads.map((l) => flag(small[l ^ 16], true)),
    );
    expect(warp(both('bfly.b32 %r2|%p1, %r1, 16, 0x100f, -1'), small)).toEqual(
      threads.map((l) => (l >= 16 ? flag(small[l ^ 16], true) : flag(small[l], false))),
    );
  });
});

describe('vote, match, redux, activemask', () => {
  const odd = 'and.b32 %r2, %r1, 1; setp.eq.u32 %p0, %r2, 1;';
  it('vote', () => {
    expect(warp(`${odd} vote.sync.ballot.b32 %r9, %p0, -1;`)).toEqual(threads.map(() => 0xaaaaaaaa));
    expect(warp(`${odd} vote.sync.ballot.b32 %r9, !%p0, -1;`)).toEqual(threads.map(() => 0x55555555));
    const votes =
      'vote.sync.all.pred %p1, %p0, -1; vote.sync.any.pred %p2, %p0, -1; vote.sync.uni.pred %p3, %p0, -1; selp.b32 %r3, 1, 0, %p1; selp.b32 %r4, 2, 0, %p2; selp.b32 %r5, 4, 0, %p3; add.u32 %r9, %r3, %r4; add.u32 %r9, %r9, %r5;';
    expect(warp(odd + votes)[7]).toBe(2);
    expect(warp(odd + votes, [1])[7]).toBe(7);
    expect(warp(odd + votes, [0])[7]).toBe(4);
  });
  it('match.any and match.all', () => {
    const groups = threads.map((l) => l % 3);
    const mask = (g: number) => groups.reduce((m, value, l) => (value === g ? m | (1 << l) : m), 0) >>> 0;
    expect(warp('match.any.sync.b32 %r9, %r1, -1;', groups)).toEqual(groups.map(mask));
    expect(warp('match.all.sync.b32 %r9|%p1, %r1, -1;', [4])).toEqual(threads.map(() => 0xffffffff));
    expect(warp('match.all.sync.b32 %r9|%p1, %r1, -1;', groups)).toEqual(threads.map(() => 0));
    expect(warp('cvt.u64.u32 %d5, %r1; shl.b64 %d5, %d5, 33; match.any.sync.b64 %r9, %d5, -1;', groups)).toEqual(
      groups.map(mask),
    );
  });
  it('redux', () => {
    const reduce = (f: (a: number, b: number) => number) => values.reduce(f) >>> 0;
    const cases: [string, number][] = [
      ['add.u32', reduce((a, b) => (a + b) | 0)],
      ['min.u32', Math.min(...values)],
      ['max.u32', Math.max(...values)],
      ['min.s32', Math.min(...values.map((v) => v | 0)) >>> 0],
      ['max.s32', Math.max(...values.map((v) => v | 0)) >>> 0],
      ['and.b32', reduce((a, b) => a & b)],
      ['or.b32', reduce((a, b) => a | b)],
      ['xor.b32', reduce((a, b) => a ^ b)],
    ];
    for (const [op, expected] of cases) expect(warp(`redux.sync.${op} %r9, %r1, -1;`, values)[3], op).toBe(expected);
  });
  it('activemask is that of the lanes that are here', () => {
    const out = warp('mov.u32 %r9, 0; setp.lt.u32 %p0, %r0, 4; @!%p0 bra E; activemask.b32 %r9; E:');
    expect(out).toEqual(threads.map((l) => (l < 4 ? 15 : 0)));
  });
  it('a member mask for half the warp', () => {
    const out = warp(
      'setp.lt.u32 %p0, %r0, 16; @!%p0 bra B; redux.sync.add.u32 %r9, %r1, 0xffff; bra E; B: redux.sync.add.u32 %r9, %r1, 0xffff0000; E:',
    );
    expect(out).toEqual(threads.map((l) => (l < 16 ? 120 : 376)));
  });
});

describe('barriers', () => {
  it('bar.red counts and combines predicates of the whole block', () => {
    const body = (op: string, after: string) => `setp.lt.u32 %p0, %r0, 40; ${op} ${after}`;
    expect(warp(body('bar.red.popc.u32 %r9, 0, %p0;', ''), [0], 96)).toEqual(Array(96).fill(40));
    const flag = 'selp.b32 %r9, 1, 0, %p1;';
    expect(warp(body('barrier.cta.red.or.aligned.pred %p1, 0, %p0;', flag), [0], 96)[80]).toBe(1);
    expect(warp(body('bar.red.and.pred %p1, 0, %p0;', flag), [0], 96)[0]).toBe(0);
    expect(warp(body('bar.red.and.pred %p1, 0, 96, !%p0;', flag), [0], 32 * 3)[0]).toBe(0);
  });
  it('named barriers with a thread count', () => {
    // Warps 0 and 1 exchange through barrier 3 while warp 2 goes its own way.
    const out = warp(
      `.shared .b32 box[2]; mov.u32 %r9, 0; shr.u32 %r2, %r0, 5; setp.gt.u32 %p0, %r2, 1; @%p0 bra E;
       and.b32 %r3, %r0, 31; setp.eq.u32 %p1, %r3, 0; shl.b32 %r4, %r2, 2; mov.u32 %r5, box; add.u32 %r4, %r4, %r5; @%p1 st.shared.b32 [%r4], %r0;
       bar.sync 3, 64; xor.b32 %r4, %r4, 4; ld.shared.b32 %r9, [%r4]; E:`,
      [0],
      96,
    );
    expect([out[0], out[33], out[70]]).toEqual([32, 0, 0]);
  });
});

describe('control flow', () => {
  it('loops whose trip count differs from lane to lane come together again', () => {
    const out = warp(
      'mov.u32 %r9, 0; mov.u32 %r2, %r0; setp.eq.u32 %p0, %r2, 0; @%p0 bra D; L: add.u32 %r9, %r9, %r2; sub.u32 %r2, %r2, 1; setp.ne.u32 %p0, %r2, 0; @%p0 bra L; D: activemask.b32 %r3; setp.ne.u32 %p1, %r3, -1; @%p1 mov.u32 %r9, -1;',
    );
    expect(out).toEqual(threads.map((l) => (l * (l + 1)) / 2));
  });
  it('nested divergence', () => {
    const out = warp(`mov.u32 %r9, 0; and.b32 %r2, %r0, 1; setp.eq.u32 %p0, %r2, 0; @%p0 bra A;
      and.b32 %r2, %r0, 2; setp.eq.u32 %p1, %r2, 0; @%p1 bra B; add.u32 %r9, %r9, 1; bra C; B: add.u32 %r9, %r9, 10; C: add.u32 %r9, %r9, 100; bra E;
      A: add.u32 %r9, %r9, 1000; E:`);
    expect(out).toEqual(threads.map((l) => (l % 2 === 0 ? 1000 : l & 2 ? 101 : 110)));
  });
  it('brx.idx jumps through a table', () => {
    const out = warp(
      'and.b32 %r2, %r0, 3; T: .branchtargets A, B, C, B; brx.idx %r2, T; A: mov.u32 %r9, 1; bra E; B: mov.u32 %r9, 2; bra E; C: mov.u32 %r9, 3; E:',
    );
    expect(out).toEqual(threads.map((l) => [1, 2, 3, 2][l & 3]));
  });
  it('trap ends the launch with an error that names the line', () => {
    const ptx = entry(0, 'mov.u32 %r0, %tid.x; setp.eq.u32 %p0, %r0, 3;\n@%p0 trap;\nret;');
    expect(() => launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [])).toThrow(/trap at PTX line 9/);
  });
  it('an endless loop is given up', () => {
    const ptx = entry(0, 'L: add.u32 %r0, %r0, 1; bra L;');
    expect(() =>
      launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [], { stepLimit: 1000, checks: { uninitialised: false } }),
    ).toThrow(/no end after 1000/);
  });
  it('special registers', () => {
    const out = warp(
      'mov.u32 %r2, %laneid; mov.u32 %r3, %warpid; mov.u32 %r4, %ntid.x; mov.u32 %r5, %lanemask_lt; popc.b32 %r5, %r5; mad.lo.u32 %r9, %r3, 1000, %r2; mad.lo.u32 %r9, %r4, 10000, %r9; setp.ne.u32 %p0, %r5, %r2; @%p0 mov.u32 %r9, 0;',
      [0],
      64,
    );
    expect([out[0], out[5], out[40]]).toEqual([640000, 640005, 641008]);
  });
  it('three-dimensional blocks and grids', () => {
    const ptx = entry(
      1,
      `ld.param.u64 %d0, [p0]; mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ctaid.y; mov.u32 %r6, %ntid.x; mov.u32 %r7, %ntid.y; mov.u32 %r8, %ntid.z;
       mad.lo.u32 %r4, %r2, %r7, %r1; mad.lo.u32 %r4, %r4, %r6, %r0; mul.lo.u32 %r5, %r6, %r7; mul.lo.u32 %r5, %r5, %r8; mad.lo.u32 %r4, %r3, %r5, %r4;
       mul.wide.u32 %d1, %r4, 4; add.s64 %d0, %d0, %d1; mad.lo.u32 %r9, %r2, 100, %r0; mad.lo.u32 %r9, %r1, 10, %r9; mad.lo.u32 %r9, %r3, 1000, %r9; st.global.b32 [%d0], %r9; ret;`,
    );
    const out = new Int32Array(2 * 24);
    launch(ptx, 'test', [1, 2, 1], [4, 3, 2], [out]);
    expect([out[0], out[5], out[23], out[47]]).toEqual([0, 11, 123, 1123]);
  });
});
