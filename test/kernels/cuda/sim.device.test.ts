// The device interface over the simulator: memory, streams, graphs, limits, errors, counters; and what the parser refuses.
import { describe, expect, it } from 'vitest';
import {
  ArgumentBlock,
  CudaError,
  InvalidPtx,
  LaunchError,
  OutOfMemory,
  openSimulator,
} from '../../../kernels/cuda/runtime/src/index.ts';
import { entry, launch } from './support/launch.ts';

const addOne = entry(
  1,
  'ld.param.u64 %d0, [p0]; mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %d0, %d1; ld.global.b32 %r1, [%d0]; add.s32 %r1, %r1, 1; st.global.b32 [%d0], %r1; ret;',
);
const small = () => openSimulator({ memoryBytes: 2 ** 20 });

describe('device', () => {
  it('allocates, copies, sets, reads and frees', async () => {
    using device = small();
    const a = device.alloc(100);
    const b = device.alloc(100);
    expect([a % 256, b % 256]).toEqual([0, 0]);
    device.writeAsync(
      a,
      Uint8Array.from({ length: 100 }, (_, i) => i),
    );
    device.memsetAsync(b, 7, 100);
    device.copyAsync(b + 10, a + 20, 5);
    using host = device.allocHost(100);
    device.readAsync(host.bytes, b);
    await device.synchronize();
    expect([...host.bytes.slice(8, 17)]).toEqual([7, 7, 20, 21, 22, 23, 24, 7, 7]);
    const before = device.memoryInfo().freeBytes;
    device.free(a);
    expect(device.memoryInfo().freeBytes).toBe(before + 100);
    expect(() => device.free(a)).toThrow(CudaError);
    expect(() => device.writeAsync(a, new Uint8Array(4))).toThrow(/not within an allocation/);
    expect(() => device.readAsync(new Uint8Array(101), b)).toThrow(/not within an allocation/);
  });
  it('runs out of memory with an error that states the sizes, and gives freed memory out again', () => {
    using device = small();
    expect(() => device.alloc(2 ** 21)).toThrow(OutOfMemory);
    expect(() => device.alloc(2 ** 21)).toThrow(/2097152 bytes asked, 1048576 of 1048576 free/);
    for (let i = 0; i < 10; i++) device.free(device.alloc(2 ** 19));
  });
  it('records and replays a graph', () => {
    using device = small();
    const kernel = device.loadModule(addOne).getFunction('test');
    const pointer = device.alloc(128);
    const args = new ArgumentBlock();
    using stream = device.createStream();
    const graph = device.capture(stream, () => {
      device.memsetAsync(pointer, 0, 128, stream);
      for (let i = 0; i < 3; i++)
        device.launch(kernel, [1, 1, 1], [32, 1, 1], 0, args.reset().pointer(pointer).bytes, stream);
    });
    const out = new Int32Array(32);
    const read = () => {
      device.readAsync(new Uint8Array(out.buffer), pointer);
      return out[31];
    };
    device.memsetAsync(pointer, 1, 128);
    expect(read()).toBe(0x01010101);
    // The captured launches keep their arguments though the block was used again.
    args.reset().pointer(0);
    graph.launch();
    expect(read()).toBe(3);
    graph.launch();
    expect(read()).toBe(3);
  });
  it('events measure host time', async () => {
    using device = small();
    using start = device.createEvent();
    using stop = device.createEvent();
    start.record();
    stop.record();
    await stop.synchronize();
    expect(stop.query()).toBe(true);
    expect(stop.elapsedSince(start)).toBeGreaterThanOrEqual(0);
  });
  it('refuses launches that a device would refuse', () => {
    using device = small();
    const module = device.loadModule(addOne, 'ones');
    const kernel = module.getFunction('test');
    const args = new ArgumentBlock().pointer(0).bytes;
    const go =
      (grid: [number, number, number], block: [number, number, number], shared = 0, bytes = args) =>
      () =>
        device.launch(kernel, grid, block, shared, bytes);
    expect(go([0, 1, 1], [32, 1, 1])).toThrow(/grid \(0,1,1\)/);
    expect(go([1, 70000, 1], [32, 1, 1])).toThrow(/grid/);
    expect(go([1, 1, 1], [2000, 1, 1])).toThrow(/block/);
    expect(go([1, 1, 1], [512, 4, 1])).toThrow(/2048 threads a block, the kernel allows 1024/);
    expect(go([1, 1, 1], [32, 1, 1], 50000)).toThrow(/setMaxDynamicShared/);
    expect(go([1, 1, 1], [32, 1, 1], 0, args.slice(0, 4))).toThrow(/4 bytes of arguments, its parameters take 8/);
    kernel.setMaxDynamicShared(160 * 1024);
    expect(() => kernel.setMaxDynamicShared(200 * 1024)).toThrow(LaunchError);
    expect(() => module.getFunction('absent')).toThrow(/ones has no kernel absent; it has test/);
  });
  it('throws what its checks find, unless it only collects', () => {
    using device = small();
    const kernel = device.loadModule(addOne).getFunction('test');
    const pointer = device.alloc(64);
    device.memsetAsync(pointer, 0, 64);
    const run = () => device.launch(kernel, [1, 1, 1], [32, 1, 1], 0, new ArgumentBlock().pointer(pointer).bytes);
    expect(run).toThrow(
      /out-of-bounds[\s\S]*PTX line 8[\s\S]*ld\.global\.b32[\s\S]*thread \(16,0,0\) of block \(0,0,0\)/,
    );
  });
  it('gives module variables to the host', () => {
    using device = small();
    using module = device.loadModule(
      `.version 7.8\n.target sm_80\n.address_size 64\n.global .align 4 .u32 table[2] = {5, 6};\n`,
    );
    const { pointer, bytes } = module.getGlobal('table');
    const out = new Uint32Array(2);
    device.readAsync(new Uint8Array(out.buffer), pointer);
    expect([bytes, ...out]).toEqual([8, 5, 6]);
  });
  it('is of no use after dispose', () => {
    const device = small();
    device[Symbol.dispose]();
    expect(() => device.alloc(4)).toThrow(/disposed/);
  });
});

describe('ArgumentBlock', () => {
  it('lays parameters out at their natural alignment', () => {
    const bytes = new ArgumentBlock()
      .i32(-1)
      .pointer(2 ** 40 + 5)
      .f32(1)
      .f64(2)
      .i64(-3).bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    expect(bytes.length).toBe(40);
    expect([
      view.getInt32(0, true),
      view.getBigUint64(8, true),
      view.getFloat32(16, true),
      view.getFloat64(24, true),
      view.getBigInt64(32, true),
    ]).toEqual([-1, (1n << 40n) + 5n, 1, 2, -3n]);
  });
  it('has a limit', () => {
    expect(() => new ArgumentBlock(4).i32(1).i32(2)).toThrow(/more than 4 bytes/);
  });
});

describe('counters', () => {
  const counted = (body: string, words = 4096, threads = 32) => {
    const ptx = entry(
      1,
      `ld.param.u64 %d0, [p0]; .shared .align 1024 .b8 s[8192]; mov.u32 %r0, %tid.x; mov.u32 %r1, s; ${body} ret;`,
    );
    return launch(ptx, 'test', [1, 1, 1], [threads, 1, 1], [new Uint32Array(words)], {
      checks: { counters: true, uninitialised: false },
    }).counts;
  };
  it('sectors of a request: neighbours, a stride, one word, vectors', () => {
    const loads = (stride: number, type = 'b32', into = '%r5') =>
      counted(`mul.wide.u32 %d1, %r0, ${stride}; add.s64 %d1, %d1, %d0; ld.global.${type} ${into}, [%d1];`).global
        .loads;
    expect(loads(4)).toEqual({ requests: 1, sectors: 4, bytes: 128 });
    expect(loads(128)).toEqual({ requests: 1, sectors: 32, bytes: 128 });
    expect(loads(0)).toEqual({ requests: 1, sectors: 1, bytes: 128 });
    expect(loads(16, 'v4.b32', '{%r5,%r6,%r7,%r8}')).toEqual({ requests: 1, sectors: 16, bytes: 512 });
  });
  it('wavefronts of shared accesses: none, 2-way and 32-way conflicts, broadcast, vectors', () => {
    const loads = (stride: number, type = 'b32', into = '%r5') => {
      const { requests, wavefronts, ideal } = counted(
        `mad.lo.u32 %r2, %r0, ${stride}, %r1; ld.shared.${type} ${into}, [%r2];`,
      ).shared.loads;
      return [requests, wavefronts, ideal];
    };
    expect(loads(4)).toEqual([1, 1, 1]);
    expect(loads(8)).toEqual([1, 2, 1]);
    expect(loads(128)).toEqual([1, 32, 1]);
    expect(loads(132)).toEqual([1, 1, 1]);
    expect(loads(0)).toEqual([1, 1, 1]);
    expect(loads(8, 'v2.b32', '{%r5,%r6}')).toEqual([1, 2, 2]);
    expect(loads(16, 'v4.b32', '{%r5,%r6,%r7,%r8}')).toEqual([1, 4, 4]);
    expect(loads(128, 'v4.b32', '{%r5,%r6,%r7,%r8}')).toEqual([1, 32, 4]);
  });
  it('a cp.async that reads nothing, for lanes whose source size is 0, asks for no sector', () => {
    const copies = (size: string) => {
      const { global, shared } = counted(
        `mul.wide.u32 %d1, %r0, 16; add.s64 %d1, %d1, %d0; mad.lo.u32 %r2, %r0, 16, %r1; ${size} cp.async.cg.shared.global [%r2], [%d1], 16, %r3; cp.async.wait_all;`,
      );
      return [global.loads, shared.stores.bytes];
    };
    expect(copies('mov.u32 %r3, 16;')).toEqual([{ requests: 1, sectors: 16, bytes: 512 }, 512]);
    expect(copies('mov.u32 %r3, 0;')).toEqual([{ requests: 0, sectors: 0, bytes: 0 }, 512]);
    expect(copies('setp.lt.u32 %p0, %r0, 8; selp.b32 %r3, 16, 0, %p0;')).toEqual([
      { requests: 1, sectors: 4, bytes: 128 },
      512,
    ]);
  });
  it('atomics by themselves', () => {
    const none = { requests: 0, sectors: 0, bytes: 0 };
    const { global } = counted('atom.global.add.u32 %r5, [%d0], 1; red.global.add.u32 [%d0], 1;');
    expect(global).toEqual({ loads: none, stores: none, atomics: { requests: 2, sectors: 2, bytes: 256 } });
    const { shared } = counted(
      'mad.lo.u32 %r2, %r0, 4, %r1; mov.u32 %r4, 0; st.shared.b32 [%r2], %r4; atom.shared.add.u32 %r5, [%r2], 1;',
    );
    expect([shared.loads.requests, shared.stores.requests, shared.atomics]).toEqual([
      0,
      1,
      { requests: 1, wavefronts: 1, ideal: 1, bytes: 128 },
    ]);
  });
  it('instructions by class, with threads that are active', () => {
    const counts = counted(
      'setp.lt.u32 %p0, %r0, 8; @!%p0 bra E; add.s32 %r2, %r0, 1; mul.f32 %f0, %f1, %f2; E:',
      4,
      32,
    );
    expect(counts.byClass.get('f32')).toBe(1);
    expect(counts.byClass.get('control')).toBe(2);
    // Before the branch: ld.param, two movs, setp, bra; then two of 8 threads; then ret.
    expect(counts.warpInstructions).toBe(5 + 2 + 1);
    expect(counts.threadInstructions).toBe(5 * 32 + 2 * 8 + 32);
  });
});

describe('PTX that is refused', () => {
  const load =
    (ptx: string, options = {}) =>
    () =>
      openSimulator({ memoryBytes: 2 ** 20, ...options })
        .loadModule(ptx, 'kernel.ptx')
        .getFunction('test');
  it.each([
    ['frobnicate.s32 %r0, %r1;', /line 8: unknown instruction frobnicate\.s32/],
    ['add.s32.fast %r0, %r1, %r2;', /line 8: add\.s32\.fast: modifier \.fast is not supported/],
    ['add.s128 %r0, %r1, %r2;', /add\.s128: needs one of/],
    ['add.s64 %r0, %r1, %r2;', /%r1 is not 64 bits wide/],
    ['mov.u32 %r0, %undeclared;', /special register %undeclared/],
    ['add.s32 %r0, %r1, nothing;', /line 8: unknown name nothing/],
    ['bra nowhere;', /unknown name nowhere/],
    [
      'mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3};',
      /m16n8k32/,
    ],
    ['wgmma.fence.sync.aligned;', /unknown instruction wgmma\.fence\.sync\.aligned/],
    ['cvt.f32.f64 %f0, %d0;', /needs a rounding modifier/],
    ['ld.global.b32 %r0, [%d0], %d1;', /line 8: ld\.global\.b32: 3 operands, expected 2/],
    ['add.s32 %r0, %r1;', /add\.s32: 2 operands, expected 3/],
    ['shfl.sync.bfly.b32 %r0, %r1, 1, 31;', /4 operands, expected 5/],
    ['setp.eq.s32 %p0, %r1;', /2 operands, expected 3/],
    // Modifiers and operands that the instruction has in other combinations.
    ['cvt.rn.sat.f16x2.f32 %r0, %f0, %f1;', /cvt\.rn\.sat\.f16x2\.f32: a combination that PTX does not have/],
    ['cvt.rzi.relu.s32.f32 %r0, %f0;', /cvt\.rzi\.relu\.s32\.f32: a combination/],
    ['cvt.rn.relu.f32.s32 %f0, %r0;', /a combination/],
    ['cvt.sat.u32.u16 %r0, %h0;', /a combination/],
    ['cvt.rn.sat.bf16.f32 %h0, %f0;', /a combination/],
    ['cvt.pack.sat.s16.s32 %r0, %r1, %r2, %r3;', /4 operands, expected 3/],
    ['add.relu.f16 %h0, %h1, %h2;', /a combination/],
    ['add.sat.bf16 %h0, %h1, %h2;', /a combination/],
    ['add.ftz.f64 %d0, %d1, %d2;', /a combination/],
    ['add.cc.u16 %h0, %h1, %h2;', /a combination/],
    ['mul.lo.cc.u32 %r0, %r1, %r2;', /a combination/],
    ['ex2.approx.ftz.f16 %h0, %h1;', /a combination/],
    ['min.s32 %r0, %r1, %r2, %r3;', /4 operands, expected 3/],
    ['max.f16x2 %r0, %r1, %r2, %r3;', /4 operands, expected 3/],
    ['setp.eq.s32 %p0, %r0, %r1, %p1;', /4 operands, expected 3/],
    ['setp.lo.s32 %p0, %r0, %r1;', /a combination|does not compare/],
    ['slct.ftz.u32.s32 %r0, %r1, %r2, %r3;', /a combination/],
    ['mov.u32 %r0, {%h0, %h1};', /a vector needs a \.b type/],
    ['ld.global.ca.L1::evict_first.b32 %r0, [%d0];', /a combination/],
    ['ld.volatile.global.cg.b32 %r0, [%d0];', /a combination/],
    ['ld.relaxed.global.b32 %r0, [%d0];', /a combination/],
    ['ld.global.v4.b64 {%d0, %d1, %d2, %d3}, [%d4];', /a vector of 32 bytes is not supported/],
    ['st.global.nc.b32 [%d0], %r0;', /a combination/],
    ['atom.global.add.f16 %h0, [%d0], %h1;', /a combination/],
    ['atom.global.exch.b16 %h0, [%d0], %h1;', /a combination/],
    ['atom.global.and.u32 %r0, [%d0], %r1;', /a combination/],
    ['red.acquire.gpu.global.add.u32 [%d0], %r1;', /a combination/],
    ['red.global.cas.b32 [%d0], %r1, %r2;', /a combination/],
    ['redux.sync.and.u32 %r0, %r1, -1;', /a combination/],
    ['match.any.sync.b32 %r0|%p0, %r1, -1;', /only \.all has a predicate/],
    ['bar.sync.aligned 0;', /a combination/],
    ['bar.arrive 0;', /1 operands, expected 2/],
    ['fence.sc;', /a combination/],
    ['membar.cta.gl;', /a combination/],
    ['ldmatrix.sync.aligned.m8n8.x1.b16 {%r0}, [%d0];', /a combination/],
    [
      'mma.sync.aligned.m16n8k16.col.row.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};',
      /a combination/,
    ],
    [
      'mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {_,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, {%r4,%r5}, {%f0,%f1,%f2,%f3};',
      /accumulators must be registers/,
    ],
    ['st.global.b32 [%d0] %r0;', /expected ,, found %r0/],
    ['mov.u32 %r0, "text";', /line 8: unexpected "text"/],
  ])('%s', (line, message) => {
    expect(load(entry(0, `${line}\nret;`))).toThrow(message);
    expect(load(entry(0, `${line}\nret;`))).toThrow(InvalidPtx);
  });
  it('a module for a newer architecture, and text that is no PTX', () => {
    expect(load(entry(0, 'ret;').replace('sm_80', 'sm_90'))).toThrow(/\.target sm_90, the simulated device is sm_80/);
    expect(load(entry(0, 'ret;').replace('sm_80', 'sm_90'), { computeCapability: [9, 0] })).not.toThrow();
    expect(load('hello world')).toThrow(InvalidPtx);
    expect(load('')).toThrow(/no \.version/);
  });
  it.each([
    ['redux.sync.add.u32 %r0, %r1, -1;', 'sm_75', '6.5', /needs PTX 7\.0 and sm_80; the module is PTX 6\.5 for sm_75/],
    ['add.bf16 %h0, %h1, %h2;', 'sm_80', '7.8', /add\.bf16 needs PTX 7\.8 and sm_90; the module is PTX 7\.8 for sm_80/],
    ['tanh.approx.f32 %f0, %f1;', 'sm_75', '6.5', /needs PTX 7\.0 and sm_75/],
    ['barrier.cta.sync 0;', 'sm_80', '7.0', /needs PTX 7\.8 and sm_75/],
    ['ld.shared::cta.b32 %r0, [%r1];', 'sm_80', '7.0', /needs PTX 7\.8/],
    ['ld.global.L1::no_allocate.b32 %r0, [%d0];', 'sm_80', '7.0', /needs PTX 7\.4/],
    ['max.f32 %f0, %f1, %f2, %f3;', 'sm_90', '8.0', /needs PTX 8\.8 and sm_100/],
  ])('%s for %s in PTX %s', (line, target, version, message) => {
    const ptx = entry(0, `${line}\nret;`).replace('.target sm_80', `.target ${target}`).replace('7.8', version);
    expect(load(ptx, { computeCapability: [12, 0] })).toThrow(message);
    expect(load(ptx, { computeCapability: [12, 0] })).toThrow(InvalidPtx);
  });
  it('recursion and calls of what is not there', () => {
    const header = '.func again() { call.uni again; ret; }';
    expect(load(entry(0, 'call.uni again; ret;', header))).toThrow(/recursive|unknown name again/);
    expect(load(entry(0, 'call.uni other; ret;', '.extern .func other();'))).toThrow(
      /call of other, which the module does not define/,
    );
  });
  it('the error carries its log', () => {
    try {
      load(entry(0, 'frobnicate;'))();
      expect.unreachable();
    } catch (error) {
      expect((error as InvalidPtx).log).toBe('line 8: unknown instruction frobnicate');
      expect((error as InvalidPtx).code).toBe('CUDA_ERROR_INVALID_PTX');
    }
  });
});
