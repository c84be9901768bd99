// On a real GPU: the driver half does what it says, and the simulator computes what the hardware does. Skipped without one.
import { afterAll, describe, expect, it } from 'vitest';
import { openDriver } from '../../../kernels/cuda/runtime/src/driver/driver.ts';
import {
  ArgumentBlock,
  CudaError,
  type Device,
  type Dim3,
  InvalidPtx,
  LaunchError,
  OutOfMemory,
  PtxVersionUnsupported,
} from '../../../kernels/cuda/runtime/src/runtime.ts';
import { openSimulator } from '../../../kernels/cuda/runtime/src/sim/simulator.ts';
import { conformance } from './support/conformance.ts';
import { kernelOf, type OperandKind, queueRows } from './support/instruction.ts';
import { entry, noise, nvccPtx, toBfloat } from './support/launch.ts';

function openGpu(): Device | CudaError {
  try {
    return openDriver().open();
  } catch (error) {
    if (error instanceof CudaError) return error;
    throw error;
  }
}
const opened = openGpu();
const reason = opened instanceof CudaError ? ` (skipped: ${opened.message})` : '';
const gpu = opened as Device;

// What nvcc writes is newer than most drivers; nothing in these kernels is newer than 7.8.
const portable = (ptx: string) => ptx.replace(/^\.version .*$/m, '.version 7.8');

type Data = Float32Array | Int32Array | Uint32Array | Uint16Array | BigInt64Array;

/** Runs a kernel with copies of the arrays in `args` (numbers are i32) and returns their bytes afterwards. */
async function run(
  device: Device,
  ptx: string,
  name: string,
  grid: Dim3,
  block: Dim3,
  args: (Data | number | { f32: number })[],
  shared = 0,
): Promise<Uint8Array[]> {
  using module = device.loadModule(portable(ptx), name);
  const packed = new ArgumentBlock();
  const arrays: { bytes: Uint8Array; pointer: number }[] = [];
  for (const arg of args) {
    if (typeof arg === 'number') packed.i32(arg);
    else if ('f32' in arg) packed.f32(arg.f32);
    else {
      const bytes = new Uint8Array(arg.buffer, arg.byteOffset, arg.byteLength).slice();
      const pointer = device.alloc(bytes.length);
      device.writeAsync(pointer, bytes);
      arrays.push({ bytes, pointer });
      packed.pointer(pointer);
    }
  }
  device.launch(module.getFunction(name), grid, block, shared, packed.bytes);
  for (const { bytes, pointer } of arrays) device.readAsync(bytes, pointer);
  await device.synchronize();
  for (const { pointer } of arrays) device.free(pointer);
  return arrays.map(({ bytes }) => bytes);
}

describe.skipIf(reason !== '')(`on a GPU${reason}`, { timeout: 120_000 }, () => {
  afterAll(() => gpu[Symbol.dispose]());

  it('gives the values of the PTX manual that the simulator is tested with', async () => {
    const differences: string[] = [];
    for (const { name, signature, body, rows } of conformance) {
      const [sources, results] = signature.split('->').map((side) => side.trim().split(' ') as OperandKind[]);
      const ptx = kernelOf(body, sources, results);
      // Some instructions are newer than the GPU.
      const [major, minor] = gpu.attributes.computeCapability;
      if (Number(/\.target sm_(\d+)/.exec(ptx)![1]) > 10 * major + minor) continue;
      const read = queueRows(gpu, ptx, sources, results, rows);
      await gpu.synchronize();
      for (const [i, found] of read().entries()) {
        for (const [k, value] of rows[i].slice(sources.length).entries()) {
          const expected = results[k] === 'f' ? Math.fround(Number(value)) : value;
          const distance = Math.abs(Number(found[k]) - Number(expected));
          const close = body.includes('.approx') && distance < 2 ** -20 * (1 + Math.abs(Number(expected)));
          if (!close && !Object.is(found[k], expected))
            differences.push(`${name}(${rows[i].slice(0, sources.length)}): ${found[k]}, expected ${expected}`);
        }
      }
    }
    expect(differences).toEqual([]);
    // The driver compiles some 4,600 modules.
  }, 600_000);

  describe('hardware and simulator agree on kernels that nvcc compiled', () => {
    const corners = [0, 1, -1, 2, 7, -7, 0x7fffffff, -0x80000000, 0x12345678, 255, -256, 65535];
    const random = (n: number, seed: number) => Int32Array.from(noise(n, seed), (v) => v * 2 ** 31);
    const ints = (seed: number) => Int32Array.from([...corners, ...random(200, seed)]);
    const wide = (seed: number) => BigInt64Array.from(ints(seed), (v, i) => BigInt(v) ** BigInt(1 + (i % 2)) * 77n);
    const n = ints(1).length;
    const keys = Int32Array.from({ length: 300 }, (_, i) => (i * 7919) % 1000);
    const halves = (k: number, seed: number) => Uint16Array.from(noise(k, seed), (v) => 0x3c00 + v * 0x300);
    const floats = (k: number, seed: number) => noise(k, seed).map((v) => 8 * v);
    const zeros = (k: number) => new Float32Array(k);

    // file, kernel, grid, block, arguments, dynamic shared bytes; `tolerance` where the PTX approximates or, for mma, where
    // the manual leaves the order and rounding of the sum open.
    const cases: {
      at: [string, string];
      grid: Dim3;
      block: Dim3;
      args: Parameters<typeof run>[5];
      shared?: number;
      tolerance?: number;
    }[] = [
      {
        at: ['elementwise', 'axpy'],
        grid: [4, 1, 1],
        block: [128, 1, 1],
        args: [noise(500, 2), noise(500, 3), { f32: 0.37 }, 500],
      },
      {
        at: ['elementwise', 'softmax'],
        grid: [3, 1, 1],
        block: [128, 1, 1],
        args: [zeros(900), floats(900, 5), 300],
        tolerance: 1e-6,
      },
      {
        at: ['elementwise', 'blockSum'],
        grid: [2, 1, 1],
        block: [128, 1, 1],
        args: [zeros(2), noise(200, 7), 200],
        shared: 512,
      },
      {
        at: ['elementwise', 'halfOps'],
        grid: [1, 1, 1],
        block: [64, 1, 1],
        args: [new Uint16Array(80), halves(80, 9), toBfloat(noise(80, 11)), zeros(40), 40],
      },
      {
        at: ['elementwise', 'transcendental'],
        grid: [2, 1, 1],
        block: [64, 1, 1],
        args: [zeros(120), floats(120, 13), 120],
        tolerance: 1e-6,
      },
      {
        at: ['integer', 'narrow'],
        grid: [2, 1, 1],
        block: [128, 1, 1],
        args: [new Int32Array(16 * n), ints(3), ints(4), n],
      },
      {
        at: ['integer', 'wide'],
        grid: [2, 1, 1],
        block: [128, 1, 1],
        args: [new BigInt64Array(16 * n), wide(5), wide(6), n],
      },
      {
        at: ['integer', 'histogram'],
        grid: [3, 1, 1],
        block: [128, 1, 1],
        args: [new Uint32Array(65), zeros(1), keys, 300],
      },
      {
        at: ['integer', 'warpOps'],
        grid: [1, 1, 1],
        block: [32, 1, 1],
        args: [new Uint32Array(256), random(32, 8).map((v) => v >> 28)],
      },
      { at: ['integer', 'steps'], grid: [2, 1, 1], block: [64, 1, 1], args: [new Int32Array(100), 100] },
      {
        at: ['integer', 'localSort'],
        grid: [1, 1, 1],
        block: [32, 1, 1],
        args: [new Int32Array(480), random(480, 9), 30],
      },
      {
        at: ['gemm', 'sgemm'],
        grid: [3, 2, 1],
        block: [16, 16, 1],
        args: [zeros(32 * 48), noise(32 * 64, 1), noise(64 * 48, 2), 32, 48, 64],
      },
      {
        at: ['gemm', 'hgemm'],
        grid: [2, 1, 1],
        block: [128, 1, 1],
        args: [zeros(64 * 128), toBfloat(noise(64 * 96, 1)), toBfloat(noise(128 * 96, 2)), 64, 128, 96],
        tolerance: 1e-5,
      },
    ];
    for (const { at, grid, block, args, shared, tolerance } of cases) {
      it(`${at.join('.cu: ')}${tolerance === undefined ? ', bit for bit' : `, to ${tolerance}`}`, async () => {
        using simulator = openSimulator({ memoryBytes: 2 ** 24 });
        const ptx = nvccPtx(at[0]);
        const expected = await run(simulator, ptx, at[1], grid, block, args, shared);
        const actual = await run(gpu, ptx, at[1], grid, block, args, shared);
        if (tolerance === undefined) expect(actual).toEqual(expected);
        else {
          const [a, b] = [actual, expected].map(([bytes]) => new Float32Array(bytes.buffer));
          const scale = Math.max(1, ...b.map(Math.abs));
          expect(b.filter((v) => v !== 0).length).toBeGreaterThan(b.length / 2);
          for (const [i, v] of b.entries()) expect(Math.abs(a[i] - v), `element ${i}`).toBeLessThan(tolerance * scale);
        }
      });
    }
  });

  // y[i] += 1 for 32 words.
  const increment = entry(
    1,
    'ld.param.u64 %d0, [p0]; mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d0, %d0, %d1; ' +
      'ld.global.u32 %r1, [%d0]; add.s32 %r1, %r1, 1; st.global.u32 [%d0], %r1; ret;',
  );

  it('tells what a kernel takes, and the log of its compilation', () => {
    using module = gpu.loadModule(increment);
    const kernel = module.getFunction('test');
    expect(kernel.registers).toBeGreaterThan(0);
    expect(kernel).toMatchObject({ sharedBytes: 0, localBytes: 0, maxThreads: 1024 });
    expect(() => kernel.setMaxDynamicShared(gpu.attributes.sharedMemoryPerBlockOptin)).not.toThrow();
    expect(() => kernel.setMaxDynamicShared(gpu.attributes.sharedMemoryPerBlockOptin + 1)).toThrow(LaunchError);
  });

  it('copies through page-locked memory and between device addresses', async () => {
    const bytes = 2 ** 20 + 13;
    const [a, b] = [gpu.alloc(bytes), gpu.alloc(bytes)];
    using to = gpu.allocHost(bytes);
    using from = gpu.allocHost(bytes);
    to.bytes.set(Uint8Array.from({ length: bytes }, (_, i) => i * 31 + (i >> 8)));
    gpu.writeAsync(a, to.bytes);
    gpu.copyAsync(b, a, bytes);
    gpu.memsetAsync(b + 100, 7, 50);
    gpu.readAsync(from.bytes, b);
    await gpu.synchronize();
    to.bytes.fill(7, 100, 150);
    expect(Buffer.compare(from.bytes, to.bytes)).toBe(0);
    gpu.free(a);
    gpu.free(b);
  });

  it('replays a graph, copies included, and times it', async () => {
    using stream = gpu.createStream();
    using module = gpu.loadModule(increment);
    const pointer = gpu.alloc(128, stream);
    const result = new Uint32Array(32);
    const args = new ArgumentBlock().pointer(pointer).bytes;
    const kernel = module.getFunction('test');
    using graph = gpu.capture(stream, () => {
      for (let k = 0; k < 10; k++) gpu.launch(kernel, [1, 1, 1], [32, 1, 1], 0, args, stream);
    });
    gpu.writeAsync(pointer, new Uint8Array(new Uint32Array(32).fill(5).buffer), stream);
    using start = gpu.createEvent();
    using end = gpu.createEvent();
    start.record(stream);
    for (let k = 0; k < 7; k++) graph.launch();
    end.record(stream);
    gpu.readAsync(new Uint8Array(result.buffer), pointer, stream);
    await stream.synchronize();
    expect([...result]).toEqual(Array(32).fill(75));
    expect(end.elapsedSince(start)).toBeGreaterThan(0);
    gpu.free(pointer, stream);
  });

  it('orders streams by events', async () => {
    using first = gpu.createStream();
    using second = gpu.createStream();
    using ready = gpu.createEvent();
    const bytes = 2 ** 26;
    const pointer = gpu.alloc(bytes, first);
    for (let value = 0; value < 20; value++) gpu.memsetAsync(pointer, value, bytes, first);
    ready.record(first);
    second.wait(ready);
    const last = new Uint8Array(4);
    gpu.readAsync(last, pointer + bytes - 4, second);
    await second.synchronize();
    expect([...last]).toEqual([19, 19, 19, 19]);
    gpu.free(pointer, second);
  });

  it('says what is wrong in its own classes', () => {
    const { totalBytes, freeBytes } = gpu.memoryInfo();
    expect(freeBytes).toBeLessThanOrEqual(totalBytes);
    expect(() => gpu.alloc(2 * totalBytes)).toThrow(OutOfMemory);
    expect(() => gpu.loadModule(increment.replace('.version 7.8', '.version 99.0'))).toThrow(PtxVersionUnsupported);
    expect(() => gpu.loadModule(increment.replace('add.s32', 'frobnicate.s32'))).toThrow(InvalidPtx);
    using module = gpu.loadModule(increment);
    const kernel = module.getFunction('test');
    expect(() => module.getFunction('tset')).toThrow(/no kernel tset; its kernels: test/);
    expect(() => gpu.launch(kernel, [1, 1, 1], [2048, 1, 1], 0, new Uint8Array(8))).toThrow(/2048/);
  });
});
