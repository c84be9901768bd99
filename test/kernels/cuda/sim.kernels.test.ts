// Kernels that nvcc compiled (ptx/*.cu) against the same computation in float64.
import { describe, expect, it } from 'vitest';
import { fromHalf, toHalf } from '../../../kernels/cuda/runtime/src/sim/float.ts';
import { openSimulator } from '../../../kernels/cuda/runtime/src/sim/simulator.ts';
import { fromBfloat, launch, noise, nvccPtx, toBfloat } from './support/launch.ts';

const largest = (a: ArrayLike<number>, f: (i: number) => number) => {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - f(i)) / (1 + Math.abs(f(i))));
  return worst;
};

describe('elementwise.cu', () => {
  const ptx = nvccPtx('elementwise');
  it('axpy is exact fused multiply-add', () => {
    const [y, x] = [noise(500, 2), noise(500, 3)];
    const before = y.slice();
    expect(launch(ptx, 'axpy', [4, 1, 1], [128, 1, 1], [y, x, { f32: 0.37 }, 500]).reports).toEqual([]);
    // A product of two f32 is exact in double; the sum of it and an f32 of like size is, too.
    expect(largest(y, (i) => Math.fround(Math.fround(0.37) * x[i] + before[i]))).toBe(0);
  });
  it('softmax', () => {
    const [rows, n] = [3, 300];
    const [y, x] = [new Float32Array(rows * n), noise(rows * n, 5).map((v) => 6 * v)];
    expect(launch(ptx, 'softmax', [rows, 1, 1], [128, 1, 1], [y, x, n]).reports).toEqual([]);
    const sums = Array.from({ length: rows }, (_, r) => x.slice(r * n, r * n + n).reduce((s, v) => s + Math.exp(v), 0));
    expect(largest(y, (i) => Math.exp(x[i]) / sums[Math.floor(i / n)])).toBeLessThan(1e-6);
  });
  it('blockSum over a ragged end', () => {
    const x = noise(200, 7);
    const out = new Float32Array(2);
    expect(launch(ptx, 'blockSum', [2, 1, 1], [128, 1, 1], [out, x, 200], { shared: 512 }).reports).toEqual([]);
    const sum = (from: number, to: number) => x.slice(from, to).reduce((s, v) => s + v, 0);
    expect(largest(out, (i) => (i === 0 ? sum(0, 128) : sum(128, 200)))).toBeLessThan(1e-6);
  });
  it('half and bfloat arithmetic', () => {
    const n = 40;
    const values = noise(2 * n, 9);
    const x = Uint16Array.from(values, (v) => toHalf(v));
    const b = toBfloat(noise(2 * n, 11));
    const bf = fromBfloat(b);
    const [y, f] = [new Uint16Array(2 * n), new Float32Array(n)];
    expect(launch(ptx, 'halfOps', [1, 1, 1], [64, 1, 1], [y, x, b, f, n]).reports).toEqual([]);
    expect([...y]).toEqual(Array.from(x, (v) => toHalf(fromHalf(v) * fromHalf(v) + 0.5)));
    const rounded = (v: number) => fromBfloat(toBfloat(new Float32Array([v])))[0];
    expect(
      largest(
        f,
        (i) => bf[2 * i] * bf[2 * i + 1] + fromHalf(y[2 * i]) + rounded(Math.fround(bf[2 * i] + Math.fround(0.1))),
      ),
    ).toBeLessThan(1e-6);
  });
  it("CUDA's own exp, log, tanh, erf, pow, sin, cos, with slow paths in local memory", () => {
    const x = Float32Array.from({ length: 120 }, (_, i) => (i - 60) / 7);
    x[0] = 123456; // argument reduction of Payne and Hanek
    x[1] = -1e6;
    const y = new Float32Array(120);
    // expf overflows there: those two are compared through sin and cos alone.
    const ptxSmall = launch(ptx, 'transcendental', [1, 1, 1], [128, 1, 1], [y, x, 120]);
    expect(ptxSmall.reports).toEqual([]);
    const erf = (z: number) => {
      let sum = 0;
      for (let k = 0; k < 20000; k++) sum += Math.exp(-((((k + 0.5) / 20000) * z) ** 2));
      return ((2 / Math.sqrt(Math.PI)) * sum * z) / 20000;
    };
    const expected = (v: number) => {
      const a = Math.abs(v);
      return (
        Math.exp(v) +
        Math.log(a + 1) +
        Math.tanh(v) +
        Math.sqrt(a) +
        1 / Math.sqrt(a + 1) +
        v / (1 + v * v) +
        Math.sign(v) * erf(Math.min(a, 6)) +
        (a + 0.5) ** 1.5 +
        Math.sin(v) * Math.cos(v) +
        Math.floor(v) +
        (v % 1 === 0.5 || v % 1 === -0.5 ? 2 * Math.round(v / 2) : Math.round(v))
      );
    };
    expect(y[0]).toBe(Infinity);
    expect(y[1]).toBeCloseTo(expected(-1e6), -3);
    expect(largest(y.subarray(2), (i) => expected(x[i + 2]))).toBeLessThan(3e-6);
  });
});

describe('integer.cu', () => {
  const ptx = nvccPtx('integer');
  const corners = [0, 1, -1, 2, 7, -7, 0x7fffffff, -0x80000000, 0x12345678, 255, -256, 65535];
  it('32-bit arithmetic', () => {
    const pairs = corners.flatMap((x) => corners.map((y) => [x, y]));
    const [a, b] = [Int32Array.from(pairs, ([x]) => x), Int32Array.from(pairs, ([, y]) => y)];
    const out = new Int32Array(16 * pairs.length);
    expect(launch(ptx, 'narrow', [2, 1, 1], [96, 1, 1], [out, a, b, pairs.length]).reports).toEqual([]);
    const byte = (x: number, y: number, k: number) => ((k & 4 ? y : x) >>> (8 * (k & 3))) & 255;
    for (const [i, [x, y]] of pairs.entries()) {
      const [X, Y] = [BigInt(x), BigInt(y)];
      const [ux, uy] = [x >>> 0, y >>> 0];
      const s = x & 0x7777;
      const shiftBy = BigInt(x & 31);
      const ffs = x === 0 ? 0 : 32 - Math.clz32(x & -x);
      const popcount = [...ux.toString(2)].filter((c) => c === '1').length;
      const expected = [
        y && !(y === -1 && x === -0x80000000) ? (x / y) | 0 : 0,
        y && y !== -1 ? (x % y) | 0 : 0,
        uy ? Math.floor(ux / uy) | 0 : 0,
        uy ? (ux % uy) | 0 : 0,
        Number((X * Y) >> 32n),
        Number(BigInt.asIntN(32, (BigInt(ux) * BigInt(uy)) >> 32n)),
        Number(BigInt.asIntN(32, (((BigInt(uy) << 32n) | BigInt(ux)) << shiftBy) >> 32n)),
        byte(x, y, s & 7) |
          (byte(x, y, (s >> 4) & 7) << 8) |
          (byte(x, y, (s >> 8) & 7) << 16) |
          (byte(x, y, (s >> 12) & 7) << 24),
        (popcount + Math.clz32(y) + ffs) | 0,
        Number.parseInt([...ux.toString(2).padStart(32, '0')].reverse().join(''), 2) | 0,
        [0, 8, 16, 24].reduce((sum, k) => sum + ((x << (24 - k)) >> 24) * ((y << (24 - k)) >> 24), x) | 0,
        (Math.abs(x - y) + 7) | 0,
        (((x << 24) >> 24) * (y & 255) + ((x << 16) >> 16)) | 0,
        (x & y) ^ (~x | y),
        (Math.min(x, y) - Math.max(ux, uy)) | 0,
        x >> (y & 31),
      ];
      expect([...out.subarray(16 * i, 16 * i + 16)], `${x}, ${y}`).toEqual(expected.map((v) => v + 0));
    }
  });
  it('64-bit arithmetic', () => {
    const wide = [
      0n,
      1n,
      -1n,
      5n,
      -5n,
      1n << 31n,
      1n << 32n,
      (1n << 62n) + 12345n,
      -(1n << 63n),
      (1n << 63n) - 1n,
      0x123456789abcdefn,
    ];
    const pairs = wide.flatMap((x) => wide.map((y) => [x, y])).filter(([x, y]) => !(y === -1n && x === -(1n << 63n)));
    const [a, b] = [BigInt64Array.from(pairs, ([x]) => x), BigInt64Array.from(pairs, ([, y]) => y)];
    const out = new BigInt64Array(16 * pairs.length);
    expect(launch(ptx, 'wide', [2, 1, 1], [96, 1, 1], [out, a, b, pairs.length]).reports).toEqual([]);
    const u = (x: bigint) => BigInt.asUintN(64, x);
    const s = (x: bigint) => BigInt.asIntN(64, x);
    for (const [i, [x, y]] of pairs.entries()) {
      const by = y & 63n;
      const ones = BigInt([...u(x).toString(2)].filter((c) => c === '1').length);
      const zeros = BigInt(y === 0n ? 64 : 64 - u(y).toString(2).length);
      const half = Number(x) * 0.5;
      const expected = [
        x + y,
        x - y,
        x * y,
        y ? x / y : 0n,
        y ? x % y : 0n,
        y ? u(x) / u(y) : 0n,
        y ? u(x) % u(y) : 0n,
        x << by,
        x >> by,
        u(x) >> by,
        (x * y) >> 64n,
        (u(x) * u(y)) >> 64n,
        BigInt.asIntN(32, x) * BigInt.asIntN(32, y),
        ones + zeros,
        // biome-ignore lint/complexity/useMathMinMax: these are bigints
        x < y ? x : y,
        BigInt(Math.trunc(half)) + BigInt(Math.fround(Number(BigInt.asIntN(32, y)))),
      ].map(s);
      expect([...out.subarray(16 * i, 16 * i + 16)], `${x}, ${y}`).toEqual(expected);
    }
  });
  it('atomics in shared and global memory', () => {
    const keys = Int32Array.from({ length: 300 }, (_, i) => (i * 7919) % 1000);
    const [bins, total] = [new Uint32Array(65), new Float32Array(1)];
    expect(launch(ptx, 'histogram', [3, 1, 1], [128, 1, 1], [bins, total, keys, 300]).reports).toEqual([]);
    const expected = new Uint32Array(65);
    for (const key of keys) expected[key & 63]++;
    expected[64] = Math.max(...keys);
    expect([...bins]).toEqual([...expected]);
    expect(total[0]).toBe(keys.reduce((a, b) => a + b, 0));
  });
  it('a called function with divergent loops', () => {
    const out = new Int32Array(100);
    expect(launch(ptx, 'steps', [1, 1, 1], [128, 1, 1], [out, 100]).reports).toEqual([]);
    const collatz = (n: number): number => (n === 1 ? 0 : 1 + collatz(n & 1 ? 3 * n + 1 : n / 2));
    expect([...out]).toEqual(Array.from(out, (_, i) => collatz(i + 1) + (i & 1 ? collatz(i + 7) : 0)));
  });
  it('a dynamically indexed array in local memory', () => {
    const input = Int32Array.from(noise(16 * 50), (v) => v * 1000);
    const out = new Int32Array(16 * 50);
    expect(launch(ptx, 'localSort', [1, 1, 1], [64, 1, 1], [out, input, 50]).reports).toEqual([]);
    expect([...out]).toEqual(Array.from({ length: 50 }, (_, i) => [...input.slice(16 * i, 16 * i + 16).sort()]).flat());
  });
});

describe('gemm.cu', () => {
  const ptx = nvccPtx('gemm');
  it('f32 with shared tiles', () => {
    const [M, N, K] = [32, 48, 64];
    const [c, a, b] = [new Float32Array(M * N), noise(M * K, 2), noise(K * N, 4)];
    expect(launch(ptx, 'sgemm', [N / 16, M / 16, 1], [16, 16, 1], [c, a, b, M, N, K]).reports).toEqual([]);
    const dot = (i: number) => {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += a[Math.floor(i / N) * K + k] * b[k * N + (i % N)];
      return sum;
    };
    expect(largest(c, dot)).toBeLessThan(2e-6);
  });
  it('bf16 with mma, ldmatrix and a cp.async pipeline; wavefronts are ideal because tiles are swizzled', () => {
    const [M, N, K] = [64, 128, 96];
    const [a, b] = [toBfloat(noise(M * K, 2)), toBfloat(noise(N * K, 4))];
    const [A, B] = [fromBfloat(a), fromBfloat(b)];
    const c = new Float32Array(M * N);
    const device = launch(ptx, 'hgemm', [N / 64, M / 64, 1], [128, 1, 1], [c, a, b, M, N, K], {
      checks: { counters: true },
    });
    expect(device.reports).toEqual([]);
    const dot = (i: number) => {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += A[Math.floor(i / N) * K + k] * B[(i % N) * K + k];
      return sum;
    };
    expect(largest(c, dot)).toBeLessThan(2e-6);
    const { byClass, shared, global } = device.counts;
    // One mma does 16·8·16 products.
    expect(byClass.get('mma')).toBe((M * N * K) / (16 * 8 * 16));
    expect(shared.loads.wavefronts).toBe(shared.loads.ideal);
    // Each block reads its rows of A and B once, in full sectors.
    expect(global.loads.bytes).toBe((N / 64) * (M / 64) * 2 * 64 * K * 2);
    expect(global.loads.sectors * 32).toBe(global.loads.bytes);
    expect(global.stores.bytes).toBe(4 * M * N);
  });
});

describe('language.cu', () => {
  const ptx = nvccPtx('language');
  it('structs by value, constant and global variables, dynamic shared memory, local arrays', () => {
    const device = openSimulator({ memoryBytes: 2 ** 20 });
    const module = device.loadModule(ptx);
    const pointer = device.alloc(128);
    const source = device.alloc(128);
    device.writeAsync(source, new Uint8Array(Float32Array.from({ length: 32 }, (_, i) => i / 2).buffer));
    const args = new DataView(new ArrayBuffer(68));
    args.setBigUint64(0, BigInt(pointer), true);
    for (const [i, value] of [1, 2, 3, 4].entries()) args.setFloat32(16 + 4 * i, value, true);
    for (const [i, value] of [10, 11, 12, 13, 14].entries()) args.setInt32(32 + 4 * i, value, true);
    args.setBigUint64(56, BigInt(source), true);
    args.setInt32(64, 3, true);
    device.launch(module.getFunction('structs'), [1, 1, 1], [32, 1, 1], 128, new Uint8Array(args.buffer));
    const out = new Float32Array(32);
    device.readAsync(new Uint8Array(out.buffer), pointer);
    const nested = (x: number, k: number): number => (k === 0 ? x : nested(x * 3 + k, k - 1));
    const expected = (t: number) => {
      const q = (t + 1) & 31;
      return q + 2 + 13 + q / 2 + ([1, 2, 3, 4][t] ?? 0) + 3 * q + nested(31 - t, 5) + ([3, 7, 0, 0][t] ?? 0);
    };
    expect([...out]).toEqual(Array.from(out, (_, t) => expected(t)));
    const counter = new Int32Array(1);
    device.readAsync(new Uint8Array(counter.buffer), module.getGlobal('counter').pointer);
    expect(counter[0]).toBe(32);
  });
  it('bytes, 64-bit atomics and a switch', () => {
    const a = Int8Array.from({ length: 100 }, (_, i) => i * 7);
    const b = Uint8Array.from({ length: 100 }, (_, i) => i * 5);
    const [out, sums] = [new Int8Array(100), new BigInt64Array(2)];
    expect(launch(ptx, 'bytes', [1, 1, 1], [128, 1, 1], [out, a, b, sums, 100]).reports).toEqual([]);
    const value = (i: number) => a[i] * (b[127 - i] ?? 0);
    const expected = Int8Array.from(out, (_, i) => {
      const r = Math.max(-128, Math.min(127, value(i) >> 4));
      return [r + 1, r ^ 3, r * 3, r - 9, b[3], 77, ~r, r][a[i] & 7];
    });
    expect([...out]).toEqual([...expected]);
    expect(sums[0]).toBe(BigInt(Array.from(a, (_, i) => value(i) & 255).reduce((x, y) => x + y)));
    expect(sums[1]).toBe(99n << 33n);
  });
  it('cooperative groups and block-wide votes', () => {
    const input = Int32Array.from({ length: 64 }, (_, i) => ((i * 37) % 11) - 3);
    const out = new Int32Array(68);
    expect(launch(ptx, 'groups', [1, 1, 1], [64, 1, 1], [out, input]).reports).toEqual([]);
    const parts = [0, 16, 32, 48].map((at) => input.slice(at, at + 16));
    expect([...out.slice(0, 4)]).toEqual(
      parts.map((part) => 2 * part.reduce((x, y) => x + y) + Number(part.some((v) => v > 3))),
    );
    const count = input.filter((v) => v > 0).length;
    expect([...out.slice(4)]).toEqual(Array.from(input, () => 4 * count + 2 * Number(input.includes(7)) + 1));
  });
  it("CUDA's double precision functions", () => {
    const x = Float64Array.from({ length: 90 }, (_, i) => (i - 40) / 3.7);
    const y = new Float64Array(90);
    expect(launch(ptx, 'doubles', [1, 1, 1], [96, 1, 1], [y, x, 90]).reports).toEqual([]);
    const expected = (v: number) => {
      const a = Math.abs(v);
      return (
        Math.exp(v) +
        Math.log(a + 1) +
        Math.sin(v) +
        Math.sqrt(a) +
        Math.tanh(v) +
        1 / Math.sqrt(a + 1) +
        Math.floor(v) +
        (v % 0.75) +
        1 / (v * v + 1)
      );
    };
    expect(largest(y, (i) => expected(x[i]))).toBeLessThan(1e-14);
  });
  it('half and bfloat intrinsics round every operation', () => {
    const n = 30;
    const x = Uint16Array.from(noise(2 * n, 3), (v) => toHalf(3 * v));
    const b = toBfloat(noise(2 * n, 4).map((v) => 3 * v));
    const [y, z] = [new Uint16Array(2 * n), new Uint16Array(2 * n)];
    expect(launch(ptx, 'halves', [1, 1, 1], [32, 1, 1], [y, z, x, b, n]).reports).toEqual([]);
    const h = (v: number) => fromHalf(toHalf(v));
    const bf = (v: number) => fromBfloat(toBfloat(new Float32Array([v])))[0];
    const half = (i: number) => {
      const pair = [fromHalf(x[i & ~1]), fromHalf(x[i | 1])];
      const v = pair[i & 1];
      const r = h(h(v * v) + h(v - Math.max(v, 0.25)));
      return Math.min(pair[0] > pair[1] ? -r : r, [2, 0.5][i & 1]);
    };
    expect(Array.from(y, (bits) => fromHalf(bits) + 0)).toEqual(Array.from(y, (_, i) => half(i) + 0));
    // The product of two bfloat numbers is exact in double, and so is its sum with one of like size.
    const q = fromBfloat(b);
    expect([...fromBfloat(z)]).toEqual(Array.from(q, (v, i) => Math.max(bf(Math.fround(v * v + v)), [1, 2][i & 1])));
  });
});
