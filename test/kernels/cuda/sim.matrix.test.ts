// mma.sync and ldmatrix. Fragments are laid out by the manual's index formulas, written here a second time as maps from
// (register, lane) to (row, column); products are summed in double.
import { describe, expect, it } from 'vitest';
import { fromHalf, toHalf } from '../../../kernels/cuda/runtime/src/sim/float.ts';
import { entry, fromBfloat, launch, noise, toBfloat } from './support/launch.ts';

type Place = (register: number, half: number, lane: number) => [row: number, column: number];
const group = (lane: number) => lane >> 2;
const inGroup = (lane: number) => lane % 4;
// "row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise; col = (threadID_in_group * 2) + (i & 0x1) for i < 4, + 8 beyond"
const a16: Place = (r, h, lane) => {
  const i = 2 * r + h;
  return [group(lane) + (i < 2 || (i >= 4 && i < 6) ? 0 : 8), inGroup(lane) * 2 + (i & 1) + (i < 4 ? 0 : 8)];
};
const b16: Place = (r, h, lane) => {
  const i = 2 * r + h;
  return [inGroup(lane) * 2 + (i & 1) + (i < 2 ? 0 : 8), group(lane)];
};
// tf32, m16n8k8: "row = groupID for a0 and a2, groupID + 8 for a1 and a3; col = threadID_in_group for a0 and a1, + 4 for a2 and a3"
const aTf32: Place = (r, _h, lane) => [group(lane) + (r % 2 === 0 ? 0 : 8), inGroup(lane) + (r < 2 ? 0 : 4)];
const bTf32: Place = (r, _h, lane) => [inGroup(lane) + 4 * r, group(lane)];
// "row = groupID for ci where i < 2, groupID + 8 for i >= 2; col = (threadID_in_group * 2) + (i & 0x1)"
const c32 = (i: number, lane: number) => [group(lane) + (i < 2 ? 0 : 8), inGroup(lane) * 2 + (i & 1)];

interface Case {
  shape: string;
  types: string;
  k: number;
  packed: boolean;
  registersA: number;
  registersB: number;
  a: Place;
  b: Place;
  encode(values: Float32Array): number[];
  decode(bits: number): number;
  half?: true;
}
const bfloat = {
  encode: (v: Float32Array) => [...toBfloat(v)],
  decode: (bits: number) => fromBfloat(new Uint16Array([bits]))[0],
};
const f16 = { encode: (v: Float32Array) => [...v].map((x) => toHalf(x)), decode: (bits: number) => fromHalf(bits) };
const tf32 = {
  encode: (v: Float32Array) => [...new Int32Array(v.buffer)].map((bits) => bits & ~0x1fff),
  decode: (bits: number) => new Float32Array(new Int32Array([bits]).buffer)[0],
};
const cases: Case[] = [
  {
    shape: 'm16n8k16',
    types: 'f32.bf16.bf16.f32',
    k: 16,
    packed: true,
    registersA: 4,
    registersB: 2,
    a: a16,
    b: b16,
    ...bfloat,
  },
  {
    shape: 'm16n8k16',
    types: 'f32.f16.f16.f32',
    k: 16,
    packed: true,
    registersA: 4,
    registersB: 2,
    a: a16,
    b: b16,
    ...f16,
  },
  {
    shape: 'm16n8k8',
    types: 'f32.bf16.bf16.f32',
    k: 8,
    packed: true,
    registersA: 2,
    registersB: 1,
    a: a16,
    b: b16,
    ...bfloat,
  },
  {
    shape: 'm16n8k8',
    types: 'f32.f16.f16.f32',
    k: 8,
    packed: true,
    registersA: 2,
    registersB: 1,
    a: a16,
    b: b16,
    ...f16,
  },
  {
    shape: 'm16n8k8',
    types: 'f32.tf32.tf32.f32',
    k: 8,
    packed: false,
    registersA: 4,
    registersB: 2,
    a: aTf32,
    b: bTf32,
    ...tf32,
  },
  {
    shape: 'm16n8k4',
    types: 'f32.tf32.tf32.f32',
    k: 4,
    packed: false,
    registersA: 2,
    registersB: 1,
    a: aTf32,
    b: bTf32,
    ...tf32,
  },
  {
    shape: 'm16n8k16',
    types: 'f16.f16.f16.f16',
    k: 16,
    packed: true,
    registersA: 4,
    registersB: 2,
    a: a16,
    b: b16,
    ...f16,
    half: true,
  },
  {
    shape: 'm16n8k8',
    types: 'f16.f16.f16.f16',
    k: 8,
    packed: true,
    registersA: 2,
    registersB: 1,
    a: a16,
    b: b16,
    ...f16,
    half: true,
  },
];

describe('mma.sync', () => {
  it.each(cases)(
    '$shape.row.col.$types',
    ({ shape, types, k, packed, registersA, registersB, a, b, encode, decode, half }) => {
      const A = encode(noise(16 * k, 3)); // row-major 16×k
      const B = encode(noise(k * 8, 5)); // row-major k×8
      const C = half ? f16.encode(noise(128, 7)) : [...noise(128, 7)];
      // All fragments of a lane behind one another: A, B, C.
      const accumulators = half ? 2 : 4;
      const words = registersA + registersB + accumulators;
      const input = new Uint32Array(32 * words);
      const floats = new Float32Array(input.buffer);
      const fragment = (matrix: number[], columns: number, place: Place, register: number, lane: number) =>
        [0, 1]
          .map((h) => (packed || h === 0 ? place(register, h, lane) : [0, 0]))
          .map(([row, column]) => matrix[row * columns + column]);
      for (let lane = 0; lane < 32; lane++) {
        for (let r = 0; r < registersA; r++) {
          const [low, high] = fragment(A, k, a, r, lane);
          input[lane * words + r] = packed ? low | (high << 16) : low;
        }
        for (let r = 0; r < registersB; r++) {
          const [low, high] = fragment(B, 8, b, r, lane);
          input[lane * words + registersA + r] = packed ? low | (high << 16) : low;
        }
        for (let i = 0; i < 4; i++) {
          const [row, column] = c32(i, lane);
          const at = lane * words + registersA + registersB;
          if (half) input[at + (i >> 1)] |= C[row * 8 + column] << (16 * (i & 1));
          else floats[at + i] = C[row * 8 + column];
        }
      }
      const names = (prefix: string, n: number) =>
        `{${Array.from({ length: n }, (_, i) => `%${prefix}${i}`).join(', ')}}`;
      const loads = (prefix: string, n: number, at: number) =>
        Array.from({ length: n }, (_, i) => `ld.global.b32 %${prefix}${i}, [%d0+${4 * (at + i)}];`).join(' ');
      const acc = half ? 'h' : 'f';
      const ptx = entry(
        2,
        `.reg .b32 %a<4>; .reg .b32 %b<2>; ${half ? '.reg .b32 %h<4>; .reg .b32 %h1<4>;' : ''}
       ld.param.u64 %d0, [p0]; ld.param.u64 %d1, [p1]; mov.u32 %r0, %tid.x; mul.wide.u32 %d2, %r0, ${4 * words}; add.s64 %d0, %d0, %d2; mul.wide.u32 %d2, %r0, ${4 * accumulators}; add.s64 %d1, %d1, %d2;
       ${loads('a', registersA, 0)} ${loads('b', registersB, registersA)} ${loads(acc, accumulators, registersA + registersB)}
       mma.sync.aligned.${shape}.row.col.${types} ${names(acc, accumulators)}, ${names('a', registersA)}, ${names('b', registersB)}, ${names(acc, accumulators)};
       ${Array.from({ length: accumulators }, (_, i) => `st.global.b32 [%d1+${4 * i}], %${acc}${i};`).join(' ')} ret;`.replace(
          '.reg .b32 %h1<4>;',
          '',
        ),
      ).replace(half ? '.reg .b16 %h<16>;' : '', '');
      const out = new Uint32Array(32 * accumulators);
      expect(launch(ptx, 'test', [1, 1, 1], [32, 1, 1], [input, out]).reports).toEqual([]);
      for (let lane = 0; lane < 32; lane++) {
        for (let i = 0; i < 4; i++) {
          const [row, column] = c32(i, lane);
          let sum = half ? fromHalf(C[row * 8 + column]) : C[row * 8 + column];
          for (let j = 0; j < k; j++) sum += decode(A[row * k + j]) * decode(B[j * 8 + column]);
          if (half) expect((out[2 * lane + (i >> 1)] >>> (16 * (i & 1))) & 0xffff).toBe(toHalf(sum));
          else expect(new Float32Array(out.buffer)[4 * lane + i]).toBeCloseTo(sum, 6);
        }
      }
    },
  );
});

describe('ldmatrix', () => {
  it.each([
    [1, false],
    [2, false],
    [4, false],
    [1, true],
    [2, true],
    [4, true],
  ])('x%i, transposed %s', (count, transposed) => {
    // Four 8×8 matrices of distinct halfwords, rows 48 bytes apart so that offsets cannot be right by accident.
    const store = `.shared .align 16 .b8 tile[1536]; mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 48, %r1; mul.lo.u32 %r3, %r0, 8;
      ${Array.from({ length: 8 }, (_, c) => `add.u32 %r4, %r3, ${c}; cvt.u16.u32 %h0, %r4; st.shared.b16 [%r2+${2 * c}], %h0;`).join(' ')} bar.sync 0;`;
    const registers = ['%r10', '%r11', '%r12', '%r13'].slice(0, count);
    const ptx = entry(
      1,
      `${store} ldmatrix.sync.aligned.m8n8.x${count}${transposed ? '.trans' : ''}.shared.b16 {${registers.join(', ')}}, [%r2];
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
