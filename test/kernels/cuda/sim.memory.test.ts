// Loads, stores, atomics and copies in every space, and module variables.
import { describe, expect, it } from 'vitest';
import { ArgumentBlock, openSimulator } from '../../../kernels/cuda/runtime/src/index.ts';
import { entry, launch } from './support/launch.ts';

const single = (body: string, inputs: (Uint32Array | BigInt64Array | Float32Array)[], threads = 1, header = '') => {
  const loads = inputs.map((_, k) => `ld.param.u64 %d${k}, [p${k}];`).join(' ');
  const device = launch(
    entry(inputs.length, `${loads} ${body} ret;`, header),
    'test',
    [1, 1, 1],
    [threads, 1, 1],
    inputs,
  );
  expect(device.reports).toEqual([]);
};

describe('loads and stores', () => {
  const bytes = () => new Uint32Array([0x89abcdef, 0x01234567, 0xfedcba98, 0x76543210]);
  it.each([
    ['ld.global.u8 %r0, [%d0+3];', 0x89],
    ['ld.global.s8 %r0, [%d0+3];', 0xffffff89],
    ['ld.global.u16 %r0, [%d0+2];', 0x89ab],
    ['ld.global.s16 %r0, [%d0+2];', 0xffff89ab],
    ['ld.global.b8 %h0, [%d0]; mov.b32 %r0, {%h0, 0};', 0xef],
    ['ld.global.v2.u32 {%r1, %r0}, [%d0+8];', 0x76543210],
    ['ld.global.v4.u32 {%r1, %r2, %r0, _}, [%d0];', 0xfedcba98],
    ['ld.global.v4.u16 {%h0, %h1, %h2, %h3}, [%d0+8]; mov.b32 %r0, {%h3, %h0};', 0xba987654],
    ['ld.global.v2.u64 {%d8, %d9}, [%d0]; mov.b64 {%r0, %r1}, %d9;', 0xfedcba98],
    ['ld.global.nc.L1::no_allocate.L2::128B.b32 %r0, [%d0+4];', 0x01234567],
    ['ld.volatile.global.b32 %r0, [%d0+4];', 0x01234567],
    ['ld.relaxed.gpu.global.b32 %r0, [%d0+4];', 0x01234567],
    ['ld.global.cs.b32 %r0, [%d0+4];', 0x01234567],
    ['ld.b32 %r0, [%d0+4];', 0x01234567],
    ['ld.global.s32 %d8, [%d0+8]; shr.u64 %d8, %d8, 32; cvt.u32.u64 %r0, %d8;', 0xffffffff],
  ])('%s', (load, expected) => {
    const out = new Uint32Array(1);
    single(`${load} st.global.b32 [%d1], %r0;`, [bytes(), out]);
    expect(out[0]).toBe(expected);
  });
  it.each([
    ['st.global.u8 [%d0+1], %r0;', 0xffff88ff],
    ['st.global.b16 [%d0+2], %r0;', 0x7788ffff],
    ['st.global.u32 [%d0], %r0;', 0x55667788],
    ['st.b16 [%d0], %r0;', 0xffff7788],
    ['st.global.cs.b32 [%d0], 5;', 5],
    ['st.global.f32 [%d0], 0f3F800000;', 0x3f800000],
    ['cvt.u64.u32 %d5, %r0; st.global.u32 [%d0], %d5;', 0x55667788],
  ])('%s', (store, expected) => {
    const out = new Uint32Array([0xffffffff, 0]);
    single(`mov.u32 %r0, 0x55667788; ${store}`, [out]);
    expect(out[0]).toBe(expected);
  });
  it.each([
    ['u32', 0xffffffffn],
    ['s32', -1n],
    ['u16', 0xffffn],
    ['s16', -1n],
    ['u8', 0xffn],
    ['s8', -1n],
  ])('ld.param.%s widens into a 64-bit register', (type, expected) => {
    const ptx = `.version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 x) { .reg .b64 %d<2>;
      ld.param.u64 %d0, [p]; ld.param.${type} %d1, [x]; st.global.b64 [%d0], %d1; ret; }`;
    using device = openSimulator();
    using module = device.loadModule(ptx);
    const [out, found] = [device.alloc(8), new BigInt64Array(1)];
    const args = new ArgumentBlock().pointer(out).i32(-1).bytes;
    device.launch(module.getFunction('k'), [1, 1, 1], [1, 1, 1], 0, args);
    device.readAsync(new Uint8Array(found.buffer), out);
    expect(found[0]).toBe(expected);
  });
  it('generic addresses reach shared, local and global memory', () => {
    const out = new Uint32Array(4);
    single(
      `.shared .align 4 .b8 s[16]; .local .align 4 .b8 q[16]; mov.u64 %d1, s; cvta.shared.u64 %d1, %d1; mov.u64 %d2, q; cvta.local.u64 %d2, %d2;
       mov.u32 %r0, 11; mov.u32 %r1, 22; st.u32 [%d1+4], %r0; st.u32 [%d2+8], %r1; ld.u32 %r2, [%d1+4]; ld.u32 %r3, [%d2+8]; ld.shared.u32 %r4, [s+4]; ld.local.u32 %r5, [q+8];
       st.u32 [%d0], %r2; st.global.v2.u32 [%d0+8], {%r4, %r5}; st.u32 [%d0+4], %r3;`,
      [out],
    );
    expect([...out]).toEqual([11, 22, 11, 22]);
  });
  it('module variables: initial values, zeros, constants, addresses of other variables', () => {
    const out = new Uint32Array(6);
    const header = `.global .align 4 .u32 table[3] = {7, 8, 9}; .const .align 4 .f32 factor = 0f40000000; .global .align 8 .b8 zeros[8];
      .global .align 8 .u64 pointer = generic(table)+4; .global .align 2 .b8 bytes[4] = {1, 255, 0x7f};`;
    single(
      `ld.global.u32 %r0, [table+8]; ld.const.f32 %f0, [factor]; cvt.rzi.u32.f32 %r1, %f0; ld.global.u32 %r2, [zeros+4]; ld.global.u64 %d1, [pointer]; ld.u32 %r3, [%d1];
       mov.u64 %d2, table; cvta.global.u64 %d2, %d2; ld.u32 %r4, [%d2]; ld.global.u32 %r5, [bytes];
       st.global.v4.u32 [%d0], {%r0, %r1, %r2, %r3}; st.global.v2.u32 [%d0+16], {%r4, %r5};`,
      [out],
      1,
      header,
    );
    expect([...out]).toEqual([9, 2, 0, 8, 7, 0x007fff01]);
  });
  it('a device function with a struct argument and its own local memory', () => {
    const header = `.func (.param .b32 r) swap(.param .align 4 .b8 s[8]) { .reg .b32 %a<4>; .local .align 4 .b8 t[8];
      ld.param.b32 %a1, [s]; ld.param.b32 %a2, [s+4]; st.local.b32 [t], %a2; st.local.b32 [t+4], %a1; ld.local.b32 %a3, [t]; mad.lo.u32 %a3, %a3, 1000, %a1; st.param.b32 [r], %a3; ret; }`;
    const out = new Uint32Array(2);
    const call = (x: number, y: number, at: number) =>
      `{ .param .align 4 .b8 s[8]; .param .b32 r; mov.u32 %r0, ${x}; mov.u32 %r1, ${y}; st.param.b32 [s], %r0; st.param.b32 [s+4], %r1; call.uni (r), swap, (s); ld.param.b32 %r2, [r]; st.global.b32 [%d0+${at}], %r2; }`;
    single(call(3, 4, 0) + call(5, 6, 4), [out], 1, header);
    expect([...out]).toEqual([4003, 6005]);
  });
});

describe('atomics', () => {
  const M = 0xffffffff;
  it.each([
    ['add.u32', M, 5, 4],
    ['and.b32', 0xff, 0x3c, 0x3c],
    ['or.b32', 0xf0, 0x0f, 0xff],
    ['xor.b32', 0xff, 0x0f, 0xf0],
    ['exch.b32', 1, 9, 9],
    ['min.s32', 1, M, M],
    ['min.u32', 1, M, 1],
    ['max.s32', 1, M, 1],
    ['max.u32', 1, M, M],
    ['inc.u32', 5, 5, 0],
    ['inc.u32', 4, 5, 5],
    ['dec.u32', 0, 5, 5],
    ['dec.u32', 9, 5, 5],
    ['dec.u32', 3, 5, 2],
    ['add.noftz.f16x2', 0x3c003c00, 0x40003c00, 0x42004000],
  ])('%s of %i with %i gives %i and returns the old value', (op, old, operand, expected) => {
    for (const space of ['.global', '']) {
      const cell = new Uint32Array([old]);
      const out = new Uint32Array(1);
      single(`mov.b32 %r1, ${operand}; atom${space}.${op} %r0, [%d0], %r1; st.global.b32 [%d1], %r0;`, [cell, out]);
      expect([cell[0], out[0]]).toEqual([expected, old]);
    }
  });
  it('cas, in shared memory and with memory order', () => {
    const out = new Uint32Array(4);
    single(
      `.shared .b32 s; mov.u32 %r0, 7; st.shared.b32 [s], %r0; atom.acq_rel.cta.shared.cas.b32 %r1, [s], 7, 9; atom.relaxed.gpu.shared.cas.b32 %r2, [s], 7, 11; ld.shared.b32 %r3, [s]; st.global.v4.b32 [%d0], {%r1, %r2, %r3, %r0};`,
      [out],
    );
    expect([...out.slice(0, 3)]).toEqual([7, 9, 9]);
  });
  it('64 bits and doubles', () => {
    const cells = new BigInt64Array([-1n, 1n << 40n, 5n, 0n]);
    new Float64Array(cells.buffer)[3] = 1.5;
    single(
      `mov.u64 %d1, 2; atom.global.add.u64 %d2, [%d0], %d1; atom.global.max.s64 %d3, [%d0+8], %d1; atom.global.cas.b64 %d4, [%d0+16], 5, 77; .reg .f64 q; mov.f64 q, 0d3FE0000000000000; red.global.add.f64 [%d0+24], q;`,
      [cells],
    );
    expect([...cells.slice(0, 3)]).toEqual([1n, 1n << 40n, 77n]);
    expect(new Float64Array(cells.buffer)[3]).toBe(2);
  });
  it('float additions of a warp go in lane order', () => {
    const cell = new Float32Array([2 ** 24]);
    single('mov.f32 %f0, 0f3F800000; red.global.add.f32 [%d0], %f0;', [cell], 32);
    // Each 1 is lost in rounding to even.
    expect(cell[0]).toBe(2 ** 24);
  });
});

describe('cp.async', () => {
  it.each([
    ['ca', 4, '', [1, 0, 0, 0]],
    ['ca', 8, '', [1, 2, 0, 0]],
    ['cg', 16, '', [1, 2, 3, 4]],
    ['cg', 16, ', 6', [1, 2 & 0xffff, 0, 0]],
    ['cg', 16, ', 0', [0, 0, 0, 0]],
  ])('.%s of %i bytes%s', (cache, bytes, size, expected) => {
    const source = new Uint32Array([1, 2, 3, 4]);
    const out = new Uint32Array(4).fill(9);
    const zeros = 'mov.u32 %r0, 0; st.shared.v4.b32 [s], {%r0, %r0, %r0, %r0};';
    const from = size === '' ? '' : `mov.u32 %r9${size};`;
    single(
      `.shared .align 16 .b8 s[16]; ${zeros} ${from} cp.async.${cache}.shared.global [s], [%d0], ${bytes}${size === '' ? '' : ', %r9'}; cp.async.wait_all; ld.shared.v4.b32 {%r1, %r2, %r3, %r4}, [s]; st.global.v4.b32 [%d1], {%r1, %r2, %r3, %r4};`,
      [source, out],
    );
    expect([...out]).toEqual(expected);
  });
  it('wait_group leaves the latest groups in flight', () => {
    const ptx = (allow: number) =>
      entry(
        1,
        `ld.param.u64 %d0, [p0]; .shared .align 16 .b8 s[32]; cp.async.ca.shared.global [s], [%d0], 4; cp.async.commit_group; cp.async.ca.shared.global [s+16], [%d0], 4; cp.async.commit_group; cp.async.wait_group ${allow}; ld.shared.b32 %r0, [s]; ld.shared.b32 %r1, [s+16]; ret;`,
      );
    const kinds = (allow: number) =>
      launch(ptx(allow), 'test', [1, 1, 1], [1, 1, 1], [new Uint32Array(1)]).reports.map((r) => [
        r.kind,
        r.address! % 32,
      ]);
    expect(kinds(0)).toEqual([]);
    expect(kinds(1)).toEqual([['missing-wait', 16]]);
    expect(kinds(2)).toEqual([
      ['missing-wait', 0],
      ['missing-wait', 16],
    ]);
  });
});
