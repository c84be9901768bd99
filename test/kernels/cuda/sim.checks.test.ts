// Planted defects: each must be reported, and the kernel without the defect must not be.
import { describe, expect, it } from 'vitest';
import type { Simulator } from '../../../kernels/cuda/runtime/src/sim/simulator.ts';
import { type Argument, entry, launch, noise, nvccPtx, toBfloat } from './support/launch.ts';

const kinds = (device: Simulator) => [...new Set(device.reports.map((report) => report.kind))];

/** The n-th match of `pattern` in a kernel's text replaced. Throws if there is none. */
function mutate(ptx: string, kernel: string, pattern: RegExp, n: number, replacement: string): string {
  const start = ptx.indexOf(`.entry ${kernel}(`);
  const end = ptx.indexOf('.visible .entry', start);
  const body = ptx.slice(start, end < 0 ? undefined : end);
  let seen = 0;
  const changed = body.replace(pattern, (...match) => (seen++ === n ? replacement.replace('$1', match[1]) : match[0]));
  if (seen <= n) throw new Error(`${kernel} has only ${seen} of ${pattern}`);
  return ptx.slice(0, start) + changed + (end < 0 ? '' : ptx.slice(end));
}

const softmax = (ptx: string) =>
  launch(ptx, 'softmax', [2, 1, 1], [128, 1, 1], [new Float32Array(400), noise(400), 200]);
const blockSum = (ptx: string) =>
  launch(ptx, 'blockSum', [2, 1, 1], [128, 1, 1], [new Float32Array(2), noise(200), 200], { shared: 512 });
const sgemm = (ptx: string) =>
  launch(ptx, 'sgemm', [2, 2, 1], [16, 16, 1], [new Float32Array(1024), noise(2048), noise(2048), 32, 32, 64]);
const hgemm = (ptx: string) =>
  launch(
    ptx,
    'hgemm',
    [1, 1, 1],
    [128, 1, 1],
    [new Float32Array(4096), toBfloat(noise(64 * 160)), toBfloat(noise(64 * 160)), 64, 64, 160],
  );
const axpy = (ptx: string) => launch(ptx, 'axpy', [4, 1, 1], [64, 1, 1], [noise(200), noise(200), { f32: 2 }, 200]);

describe('defects planted in what nvcc compiled', () => {
  const elementwise = nvccPtx('elementwise');
  const gemm = nvccPtx('gemm');

  it('finds nothing in the kernels as they are', () => {
    for (const device of [softmax(elementwise), blockSum(elementwise), sgemm(gemm), hgemm(gemm), axpy(elementwise)])
      expect(device.reports).toEqual([]);
  });

  it.each([0, 1, 2])('softmax without its barrier %i: a race', (k) => {
    expect(kinds(softmax(mutate(elementwise, 'softmax', /bar\.sync\s+0;/g, k, '')))).toContain('race');
  });
  it.each([0, 1])('blockSum without its barrier %i: a race', (k) => {
    expect(kinds(blockSum(mutate(elementwise, 'blockSum', /bar\.sync\s+0;/g, k, '')))).toContain('race');
  });
  it.each([0, 1])('sgemm without its barrier %i: a race', (k) => {
    expect(kinds(sgemm(mutate(gemm, 'sgemm', /bar\.sync\s+0;/g, k, '')))).toContain('race');
  });
  it.each([0, 1])('hgemm without its barrier %i: a race', (k) => {
    expect(kinds(hgemm(mutate(gemm, 'hgemm', /bar\.sync\s+0;/g, k, '')))).toContain('race');
  });
  it('hgemm without cp.async.wait_group: reads bytes in flight', () => {
    expect(kinds(hgemm(mutate(gemm, 'hgemm', /cp\.async\.wait_group 1;/g, 0, '')))).toContain('missing-wait');
  });
  it('hgemm waiting for one group too few: reads bytes in flight', () => {
    expect(kinds(hgemm(mutate(gemm, 'hgemm', /cp\.async\.wait_group 1;/g, 0, 'cp.async.wait_group 2;')))).toContain(
      'missing-wait',
    );
  });
  it('axpy with its bound off by one: out of bounds, with all that a report names', () => {
    const device = axpy(mutate(elementwise, 'axpy', /setp\.ge\.s32/g, 0, 'setp.gt.s32'));
    const [first] = device.reports;
    expect(first).toMatchObject({
      kind: 'out-of-bounds',
      kernel: 'axpy',
      instruction: 'ld.global.f32',
      thread: [8, 0, 0],
      block: [3, 0, 0],
      source: { file: 'elementwise.cu', line: 7 },
    });
    expect(elementwise.split('\n')[first.line - 1]).toMatch(/ld\.global\.f32/);
    expect(first.address! % 4).toBe(0);
    expect(first.message).toMatch(/4 bytes in 0 bytes past the end of an allocation of 800/);
  });
  it('softmax with a shuffle mask that omits a lane: a wrong mask', () => {
    const mask = /shfl\.sync\.bfly\.b32[^;]*(%r\d+);/.exec(elementwise)![1];
    const wrong = mutate(elementwise, 'softmax', new RegExp(`(mov\\.u32\\s+${mask}), -1;`, 'g'), 0, '$1, 2147483647;');
    expect(kinds(softmax(wrong))).toContain('member-mask');
  });
});

const findings = (ptx: string, args: readonly Argument[], threads = 32, shared = 0) => {
  const device = launch(ptx, 'test', [1, 1, 1], [threads, 1, 1], args, { shared });
  return device.reports.map(({ kind, thread, message }) => ({ kind, thread: thread[0], message }));
};
const only = (ptx: string, args: readonly Argument[], threads = 32) =>
  findings(ptx, args, threads).map(({ kind }) => kind);

// %d0 = parameter 0 + 4·tid
const perThread = `ld.param.u64 %d0, [p0]; mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %d0, %d1;`;

describe('memory', () => {
  it('reports reads of memory that nobody wrote, and not after a write', () => {
    const read = entry(1, `${perThread} ld.global.b32 %r1, [%d0]; add.s32 %r1, %r1, 1; st.global.b32 [%d0], %r1; ret;`);
    expect(only(read, [{ unwritten: 128 }])).toEqual(['uninitialised']);
    expect(only(read, [new Int32Array(32)])).toEqual([]);
    expect(
      only(entry(1, `${perThread} st.global.b32 [%d0], %r0; ld.global.b32 %r1, [%d0]; ret;`), [{ unwritten: 128 }]),
    ).toEqual([]);
  });

  it('reports one word too many, one too few, and the null pointer', () => {
    expect(only(entry(1, `${perThread} st.global.b32 [%d0+4], %r0; ret;`), [new Int32Array(32)])).toEqual([
      'out-of-bounds',
    ]);
    expect(only(entry(1, `${perThread} st.global.b32 [%d0+-4], %r0; ret;`), [new Int32Array(32)])).toEqual([
      'out-of-bounds',
    ]);
    expect(
      only(entry(1, 'mov.u64 %d0, 0; mov.u32 %r0, 1; st.global.b32 [%d0], %r0; ret;'), [new Int32Array(32)]),
    ).toEqual(['out-of-bounds']);
  });

  it('sees an address that lost its high word', () => {
    const narrow = entry(1, `${perThread} cvt.u32.u64 %r1, %d0; cvt.u64.u32 %d0, %r1; st.global.b32 [%d0], %r0; ret;`);
    expect(only(narrow, [new Int32Array(32)])).toEqual(['out-of-bounds']);
  });

  it('reports misaligned accesses of every width', () => {
    for (const [type, offset] of [
      ['b16', 1],
      ['b32', 2],
      ['b64', 4],
      ['v2.b32', 4],
      ['v4.b32', 8],
    ] as const) {
      const into = { b16: '%h0', b32: '%r1', b64: '%d5', 'v2.b32': '{%r1, %r2}', 'v4.b32': '{%r1, %r2, %r3, %r4}' }[
        type
      ];
      const body = `ld.param.u64 %d0, [p0]; ld.global.${type} ${into}, [%d0+${offset}]; ret;`;
      expect(only(entry(1, body), [new Int32Array(32)]), type).toEqual(['misaligned']);
    }
  });

  it('reports use of freed memory', () => {
    const ptx = entry(1, `${perThread} ld.global.b32 %r1, [%d0]; ret;`);
    const device = launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [new Int32Array(32)]);
    const pointer = device.alloc(128);
    device.memsetAsync(pointer, 0, 128);
    device.free(pointer);
    const args = new Uint8Array(new BigUint64Array([BigInt(pointer)]).buffer);
    device.launch(device.loadModule(ptx).getFunction('test'), [1, 1, 1], [32, 1, 1], 0, args);
    expect(kinds(device)).toEqual(['use-after-free']);
  });

  it('keeps shared variables apart and checks what was written', () => {
    const head = '.shared .align 4 .b8 first[64]; .shared .align 4 .b8 second[64];';
    expect(
      only(entry(0, `${head} mov.u32 %r0, 1; st.shared.b32 [first+64], %r0; st.shared.b32 [second], %r0; ret;`), []),
    ).toEqual(['out-of-bounds']);
    expect(only(entry(0, `${head} ld.shared.b32 %r0, [second+8]; ret;`), [])).toEqual(['uninitialised']);
    expect(only(entry(0, `${head} ld.shared.v2.b32 {%r0, %r1}, [second+4]; ret;`), [])).toEqual(['misaligned']);
  });

  it('checks vectors of halfwords and bytes in shared memory', () => {
    const body = (at: number, rest = '') =>
      entry(
        0,
        `.shared .align 8 .b8 s[16]; mov.u32 %r0, 7; cvt.u16.u32 %h0, %r0; st.shared.v2.b16 [s+${at}], {%h0, %h0}; ${rest} ret;`,
      );
    expect(only(body(4, 'ld.shared.b32 %r1, [s+4]; ld.shared.v4.b8 {%h1, %h2, %h3, %h4}, [s+4];'), [], 1)).toEqual([]);
    expect(only(body(4, 'ld.shared.b32 %r1, [s+8];'), [], 1)).toEqual(['uninitialised']);
    expect(only(body(16), [], 1)).toEqual(['out-of-bounds']);
    expect(only(body(2), [], 1)).toEqual(['misaligned']);
  });

  it('checks dynamic shared memory against the size of the launch', () => {
    const ptx = entry(
      0,
      'mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2; mov.u32 %r2, dyn; add.s32 %r1, %r1, %r2; st.shared.b32 [%r1], %r0; ret;',
      '.extern .shared .align 16 .b8 dyn[];',
    );
    expect(findings(ptx, [], 32, 128)).toEqual([]);
    expect(findings(ptx, [], 32, 124)).toMatchObject([
      { kind: 'out-of-bounds', thread: 31, message: expect.stringContaining('dynamic+124, of 124 bytes') },
    ]);
  });

  it('checks local memory and registers', () => {
    const head = '.local .align 4 .b8 depot[16];';
    expect(only(entry(0, `${head} ld.local.b32 %r0, [depot]; ret;`), [])).toEqual(['uninitialised']);
    expect(only(entry(0, `${head} mov.u32 %r0, 1; st.local.b32 [depot+16], %r0; ret;`), [])).toEqual(['out-of-bounds']);
    expect(
      only(entry(0, `${head} mov.u32 %r0, 1; st.local.b32 [depot+12], %r0; ld.local.b32 %r1, [depot+12]; ret;`), []),
    ).toEqual([]);
    expect(findings(entry(0, 'add.s32 %r1, %r2, 1; ret;'), [])).toMatchObject([
      { kind: 'uninitialised', message: expect.stringContaining('%r2') },
    ]);
  });

  it('checks what warp-wide instructions read', () => {
    const shuffle = (init: string) =>
      entry(0, `mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 5; ${init} shfl.sync.idx.b32 %r2, %r1, 0, 31, -1; ret;`);
    expect(findings(shuffle('@%p0 mov.u32 %r1, 5;'), [])).toMatchObject([{ kind: 'uninitialised', thread: 5 }]);
    expect(findings(shuffle('mov.u32 %r1, 5;'), [])).toEqual([]);
  });

  it('follows the path of each thread when it checks registers', () => {
    const body = (last: string) =>
      `mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 8; @!%p0 bra L; mov.u32 %r1, 5; L: ${last} ret;`;
    expect(findings(entry(0, body('add.s32 %r2, %r1, 1;')), [])).toMatchObject([{ kind: 'uninitialised', thread: 8 }]);
    expect(findings(entry(0, body('@%p0 add.s32 %r2, %r1, 1;')), [])).toEqual([]);
  });

  it('switches off', () => {
    const ptx = entry(1, `${perThread} ld.global.b32 %r1, [%d0+4]; ret;`);
    const checks = { memory: false, uninitialised: false, races: false, sync: false };
    expect(launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [new Int32Array(32)], { checks }).reports).toEqual([]);
  });
});

describe('races in shared memory', () => {
  // %r1 = address of the thread's word; %r3 = address of the word of thread tid ^ 32.
  const head = `.shared .align 512 .b8 tile[512];
    mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2; mov.u32 %r2, tile; add.s32 %r1, %r1, %r2; xor.b32 %r3, %r1, 128;`;

  it('between warps: read after write, write after read, write after write', () => {
    expect(only(entry(0, `${head} st.shared.b32 [%r1], %r0; ld.shared.b32 %r4, [%r3]; ret;`), [], 64)).toContain(
      'race',
    );
    expect(
      only(entry(0, `${head} st.shared.b32 [%r1], %r0; bar.sync 0; ld.shared.b32 %r4, [%r3]; ret;`), [], 64),
    ).toEqual([]);
    const twice = (between: string) =>
      `${head} st.shared.b32 [%r1], %r0; bar.sync 0; ld.shared.b32 %r4, [%r3]; ${between} st.shared.b32 [%r1], %r0; ret;`;
    expect(only(entry(0, twice('')), [], 64)).toContain('race');
    expect(only(entry(0, twice('bar.sync 0;')), [], 64)).toEqual([]);
    expect(only(entry(0, `${head} st.shared.b32 [tile], %r0; ret;`), [], 64)).toEqual(['race']);
  });

  it('within a warp: lanes that write different values to one word, and no warp barrier between lanes', () => {
    expect(only(entry(0, `${head} st.shared.b32 [tile], %r0; ret;`), [])).toEqual(['race']);
    expect(only(entry(0, `${head} mov.u32 %r5, 7; st.shared.b32 [tile], %r5; ret;`), [])).toEqual([]);
    const exchange = (between: string) =>
      entry(0, `${head} xor.b32 %r3, %r1, 4; st.shared.b32 [%r1], %r0; ${between} ld.shared.b32 %r4, [%r3]; ret;`);
    expect(only(exchange(''), [])).toContain('race');
    expect(only(exchange('bar.warp.sync -1;'), [])).toEqual([]);
    const back = (between: string) =>
      entry(
        0,
        `${head} xor.b32 %r3, %r1, 4; st.shared.b32 [%r1], %r0; bar.warp.sync -1; ld.shared.b32 %r4, [%r3]; ${between} st.shared.b32 [%r1], %r4; ret;`,
      );
    expect(only(back(''), [])).toEqual(['race']);
    expect(only(back('bar.warp.sync -1;'), [])).toEqual([]);
  });

  it('a warp barrier is no block barrier', () => {
    expect(
      only(entry(0, `${head} st.shared.b32 [%r1], %r0; bar.warp.sync -1; ld.shared.b32 %r4, [%r3]; ret;`), [], 64),
    ).toContain('race');
  });

  it('neighbouring halfwords do not race; the same ones do', () => {
    const halves = (shift: number) =>
      entry(
        0,
        `.shared .align 4 .b8 tile[512]; mov.u32 %r0, %tid.x; shr.u32 %r1, %r0, ${shift}; shl.b32 %r1, %r1, 1; mov.u32 %r2, tile; add.s32 %r1, %r1, %r2; cvt.u16.u32 %h0, %r0; st.shared.b16 [%r1], %h0; ret;`,
      );
    expect(only(halves(0), [], 64)).toEqual([]);
    expect(only(halves(6), [], 64)).toEqual(['race']);
  });

  it('atomics do not race with each other, but with a plain access', () => {
    const init = `${head} setp.eq.u32 %p0, %r0, 0; mov.u32 %r9, 0; @%p0 st.shared.b32 [tile], %r9; bar.sync 0;`;
    expect(only(entry(0, `${init} atom.shared.add.u32 %r4, [tile], 1; ret;`), [], 64)).toEqual([]);
    expect(only(entry(0, `${init} red.shared.add.u32 [tile], 1; ld.shared.b32 %r4, [tile]; ret;`), [], 64)).toEqual([
      'race',
    ]);
  });

  it('a writer races with every warp that read and has not met it', () => {
    // Warps 1 to 3 read a word; warp 0 writes it when it has met some of them.
    const kernel = (meet: string) =>
      entry(
        0,
        `${head} st.shared.b32 [%r1], %r0; bar.sync 0; shr.u32 %r6, %r0, 5; setp.eq.u32 %p0, %r6, 0; @%p0 bra C;
        ld.shared.b32 %r7, [tile]; C: ${meet} @!%p0 bra D; st.shared.b32 [tile], %r6; D: ret;`,
      );
    const meeting = (warp: number) =>
      `setp.eq.u32 %p1, %r6, ${warp}; or.pred %p1, %p0, %p1; @!%p1 bra D; bar.sync 1, 64;`;
    // They read in the order 3, 1, 2. Of several readers that are not ordered the last is named, or the first by number.
    for (const [met, text] of [
      [1, 'overwrites what warp 2 reads'],
      [2, 'overwrites what warp 1 reads'],
      [3, 'reads what was written by warp 0'],
    ] as const) {
      expect(findings(kernel(meeting(met)), [], 128)).toMatchObject([{ message: expect.stringContaining(text) }]);
    }
    expect(only(kernel('bar.sync 0;'), [], 128)).toEqual([]);
  });

  it('partial barriers order only those that meet: producer and consumer', () => {
    // Warp 0 writes and arrives at barrier 1; warp 1 waits there and reads; warp 2 reads without waiting.
    const kernel = (wait: string) =>
      entry(
        0,
        `${head} and.b32 %r5, %r0, 31; shl.b32 %r5, %r5, 2; add.s32 %r5, %r5, %r2; shr.u32 %r6, %r0, 5; setp.eq.u32 %p0, %r6, 0; @!%p0 bra C;
        st.shared.b32 [%r5], %r0; bar.arrive 1, 64; ret;
        C: ${wait} ld.shared.b32 %r7, [%r5]; ret;`,
      );
    expect(only(kernel('bar.sync 1, 64;'), [], 64)).toEqual([]);
    expect(only(kernel('setp.eq.u32 %p1, %r6, 1; @!%p1 bra D; bar.sync 1, 64; D:'), [], 96)).toEqual(['race']);
  });
});

describe('barriers and member masks', () => {
  const tid = 'mov.u32 %r0, %tid.x;';
  it('a barrier that half a warp executes', () => {
    expect(only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 16; @!%p0 bra E; bar.sync 0; E: ret;`), [])).toEqual([
      'divergent-barrier',
    ]);
    expect(
      only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 16; @!%p0 bra E; add.s32 %r0, %r0, 1; E: bar.sync 0; ret;`), []),
    ).toEqual([]);
  });
  it('a barrier that a warp never reaches', () => {
    expect(only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 32; @!%p0 bra E; bar.sync 0; E: ret;`), [], 64)).toEqual([
      'divergent-barrier',
    ]);
  });
  it('a barrier after some lanes have returned', () => {
    expect(only(entry(0, `${tid} setp.ge.u32 %p0, %r0, 40; @%p0 ret; bar.sync 0; ret;`), [], 64)).toEqual([
      'divergent-barrier',
    ]);
  });
  it('without .aligned, lanes of a warp may come to a barrier on different paths, guarded, or after others have returned', () => {
    const split = `${tid} setp.lt.u32 %p0, %r0, 16;`;
    const paths = (first: string, second = first) =>
      entry(0, `${split} @!%p0 bra B; ${first} bra E; B: ${second} E: ret;`);
    expect(only(paths('barrier.cta.sync 0;'), [], 64)).toEqual([]);
    expect(only(paths('barrier.cta.sync 0;', 'barrier.cta.sync 1;'), [], 32)).toEqual(['divergent-barrier']);
    expect(only(paths('barrier.cta.sync.aligned 0;'), [], 32)).toEqual(['divergent-barrier', 'divergent-barrier']);
    expect(only(entry(0, `${split} @%p0 barrier.sync 0; @!%p0 barrier.sync 0; ret;`), [], 64)).toEqual([]);
    expect(only(entry(0, `${tid} setp.ge.u32 %p0, %r0, 40; @%p0 ret; barrier.sync 0; ret;`), [], 64)).toEqual([]);
  });
  it('such a barrier holds its lanes until the rest of the block has come, and gives them its result', () => {
    // Lanes 0 to 15 of each warp write before one barrier, the others read after another; both count who voted.
    const ptx = entry(
      1,
      `${perThread} .shared .align 4 .b32 s[64]; and.b32 %r1, %r0, 16; setp.eq.u32 %p0, %r1, 0; xor.b32 %r2, %r0, 48; shl.b32 %r2, %r2, 2; mov.u32 %r3, s; add.u32 %r2, %r2, %r3; shl.b32 %r4, %r0, 2; add.u32 %r4, %r4, %r3;
      setp.lt.u32 %p1, %r0, 20; @!%p0 bra B; st.shared.b32 [%r4], %r0; barrier.cta.red.popc.u32 %r5, 0, %p1; mov.u32 %r6, %r5; bra E;
      B: barrier.cta.red.popc.u32 %r7, 0, %p1; ld.shared.b32 %r6, [%r2]; mad.lo.u32 %r6, %r7, 1000, %r6; E: st.global.b32 [%d0], %r6; ret;`,
    );
    const out = new Int32Array(64);
    expect(launch(ptx, 'test', [1, 1, 1], [64, 1, 1], [out]).reports).toEqual([]);
    expect([...out]).toEqual(Array.from({ length: 64 }, (_, t) => (t & 16 ? 20000 + (t ^ 48) : 20)));
  });
  it('a guarded barrier', () => {
    expect(only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 16; @%p0 bar.sync 0; ret;`), [])).toEqual(['divergent-barrier']);
  });
  it('a mask that names lanes beyond a short block, lanes elsewhere, or not the caller', () => {
    const shuffle = (mask: string) => `shfl.sync.bfly.b32 %r1, %r0, 1, 31, ${mask};`;
    expect(only(entry(0, `${tid} ${shuffle('-1')} ret;`), [], 20)).toEqual(['member-mask']);
    expect(only(entry(0, `${tid} ${shuffle('0xfffff')} ret;`), [], 20)).toEqual([]);
    expect(only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 16; @!%p0 bra E; ${shuffle('-1')} E: ret;`), [])).toContain(
      'member-mask',
    );
    expect(only(entry(0, `${tid} setp.lt.u32 %p0, %r0, 16; @!%p0 bra E; ${shuffle('0xffff')} E: ret;`), [])).toEqual(
      [],
    );
    expect(only(entry(0, `${tid} ${shuffle('0xffff')} ret;`), [])).toContain('member-mask');
  });
  it('lanes that diverged wait for each other in front of a shuffle', () => {
    // Half of the warp takes a detour; the mask brings them together again, whatever order they ran in.
    const ptx = entry(
      1,
      `${perThread} setp.lt.u32 %p0, %r0, 16; @%p0 bra A; bra B;
      A: add.s32 %r2, %r0, 100; bra S; B: add.s32 %r2, %r0, 200; S: shfl.sync.bfly.b32 %r3, %r2, 16, 31, -1; st.global.b32 [%d0], %r3; ret;`,
    );
    const out = new Int32Array(32);
    expect(launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [out]).reports).toEqual([]);
    expect([...out]).toEqual(Array.from({ length: 32 }, (_, l) => (l < 16 ? l + 16 + 200 : l - 16 + 100)));
  });
});

describe('ldmatrix', () => {
  const load = (
    count: number,
  ) => `.shared .align 16 .b8 tile[128]; mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;
    st.shared.b32 [%r2], %r0; bar.warp.sync 0xffffffff; mad.lo.u32 %r2, %r0, 16, %r1; cvt.u64.u32 %d0, %r2; setp.ge.u32 %p0, %r0, ${count};
    @%p0 mov.b64 %d0, -16; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%d0]; ret;`;
  it('takes the addresses of as many lanes as it reads rows, whatever others hold', () => {
    expect(only(entry(1, load(8)), [new Int32Array(1)])).toEqual([]);
    expect(only(entry(1, load(7)), [new Int32Array(1)])).toContain('out-of-bounds');
  });
});

describe('cp.async', () => {
  const copy = `ld.param.u64 %d0, [p0]; .shared .align 16 .b8 tile[512]; mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 4; mov.u32 %r2, tile; add.s32 %r1, %r1, %r2;
    mul.wide.u32 %d1, %r0, 16; add.s64 %d0, %d0, %d1; cp.async.cg.shared.global [%r1], [%d0], 16; cp.async.commit_group;`;
  const data = () => new Int32Array(128);
  it('needs a wait before its own thread reads, and a barrier before others do', () => {
    expect(only(entry(1, `${copy} ld.shared.b32 %r3, [%r1]; ret;`), [data()])).toContain('missing-wait');
    expect(only(entry(1, `${copy} cp.async.wait_group 0; ld.shared.b32 %r3, [%r1]; ret;`), [data()])).toEqual([]);
    expect(
      only(entry(1, `${copy} cp.async.wait_all; xor.b32 %r4, %r1, 16; ld.shared.b32 %r3, [%r4]; ret;`), [data()]),
    ).toContain('race');
    expect(
      only(entry(1, `${copy} cp.async.wait_all; bar.sync 0; xor.b32 %r4, %r1, 16; ld.shared.b32 %r3, [%r4]; ret;`), [
        data(),
      ]),
    ).toEqual([]);
  });
  it('a wait does not cover copies that were never committed', () => {
    const uncommitted = copy.replace('cp.async.commit_group;', '');
    expect(only(entry(1, `${uncommitted} cp.async.wait_group 0; ld.shared.b32 %r3, [%r1]; ret;`), [data()])).toContain(
      'missing-wait',
    );
  });
  it.each([
    ['full', 'add.s64 %d0, %d0, 8;', '', 'misaligned'],
    ['partial', 'add.s64 %d0, %d0, 8; mov.u32 %r3, 6;', ', %r3', 'misaligned'],
    ['full', 'add.s64 %d0, %d0, 512;', '', 'out-of-bounds'],
    ['partial', 'add.s64 %d0, %d0, 512; mov.u32 %r3, 6;', ', %r3', 'out-of-bounds'],
    ['far', 'mov.b64 %d0, 16; mov.u32 %r3, 6;', ', %r3', 'out-of-bounds'],
  ])('a %s source that is nowhere or misaligned: %s', (_, moved, size, kind) => {
    const bad = copy.replace('cp.async.cg', `${moved} cp.async.cg`).replace('[%d0], 16', `[%d0], 16${size}`);
    expect(only(entry(1, `${bad} cp.async.wait_all; ret;`), [data()])).toContain(kind);
  });
  it('whose targets overlap: the second copy stores to bytes in flight', () => {
    const same = copy.replace('add.s32 %r1, %r1, %r2;', 'mov.u32 %r1, %r2;');
    expect(only(entry(1, `${same} cp.async.wait_all; ret;`), [data()])).toContain('missing-wait');
  });
  it('must not write over what other warps still read', () => {
    const refill = (between: string) =>
      entry(
        1,
        `${copy} cp.async.wait_all; bar.sync 0; xor.b32 %r4, %r1, 512; ld.shared.b32 %r3, [%r4]; ${between} cp.async.cg.shared.global [%r1], [%d0], 16; cp.async.wait_all; ret;`
          .replace('tile[512]', 'tile[1024]')
          .replace('align 16', 'align 1024'),
      );
    expect(only(refill(''), [new Int32Array(256)], 64)).toContain('race');
    expect(only(refill('bar.sync 0;'), [new Int32Array(256)], 64)).toEqual([]);
  });
});
