import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MissingKernelError } from '../../../engine/backend.ts';
import { createWasmBackend, type WasmBackend } from '../../../engine/backends/wasm.ts';
import { bytesOf, launch } from './launcher.ts';

const CHUNK = 8192;
const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);

describe.each(['relaxed', 'simd128'] as const)('results are bit-equal on 1, 2 and 3 threads (%s)', (build) => {
  let backends: WasmBackend[];
  beforeAll(async () => {
    backends = await Promise.all([1, 2, 3].map((threads) => createWasmBackend({ threads, build })));
    expect(backends.map(({ info }) => info.threads)).toEqual([1, 2, 3]);
  });
  afterAll(() => Promise.all(backends.map((backend) => backend.close())));

  const same = async (run: (backend: WasmBackend) => Promise<Float32Array>) => {
    const [one, ...others] = await Promise.all(backends.map(run));
    for (const other of others) expect(Buffer.compare(bytesOf(one), bytesOf(other))).toBe(0);
  };

  // 0, 1, around one chunk, and enough chunks for all.
  test.each([0, 1, 3, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 7])('elementwise, %i elements', async (n) => {
    const x = numbers(n, 1);
    for (const kernel of ['exp_f32', 'gelu_f32', 'tanh_f32']) {
      await same((backend) => launch(backend, kernel, new Float32Array(n), [x]));
    }
    await same((backend) =>
      launch(backend, 'div_f32', new Float32Array(n), [x, numbers(n, 2)], { ints: [1, n, 1, 1] }),
    );
  });

  test('a kernel with several phases and scratch memory', async () => {
    for (const [M, N, K] of [
      [1, 64, 64],
      [7, 40, 33],
      [100, 600, 300],
      [257, 129, 1000],
    ]) {
      const [a, b] = [numbers(M * K, 3), numbers(K * N, 4)];
      const ints = [1, M, N, K, 0, 0, 0, 0];
      await same((backend) => launch(backend, 'matmul_f32', new Float32Array(M * N), [a, b], { ints }));
    }
  });

  test('thousands of launches of changing size, back to back and after pauses', async () => {
    await same(async (backend) => {
      const size = 4 * CHUNK;
      const [x, y] = [backend.alloc(4 * size), backend.alloc(4 * size)];
      backend.write(x, bytesOf(numbers(size, 5)));
      backend.write(y, new Uint8Array(4 * size));
      const at = (handle: unknown) => ({ handle, byteOffset: 0 });
      for (let i = 0; i < 3000; i++) {
        const n = (i * 7919) % size;
        backend.launch('accumulate_f32', [at(y), at(x)], [n], [], [n, 1, 1]);
        // Long enough for the workers to fall asleep now and then.
        if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const bytes = await backend.read(y, 4 * size);
      return new Float32Array(bytes.buffer);
    });
  });
});

describe('createWasmBackend', () => {
  test('the build is chosen by what the engine accepts', async () => {
    const backend = await createWasmBackend({ threads: 1 });
    expect(backend.info).toEqual({
      build: 'relaxed',
      threads: 1,
      threadsReason: undefined,
      revectorize: false,
      revectorizeInt16: false,
      revectorizeReason: 'not asked for',
      products: 'f32',
    });
    await backend.close();
    expect(() => backend.alloc(1)).toThrow('refuses further calls: it was closed');
  });

  test('a kernel that does not exist, and more arguments than fit', async () => {
    const backend = await createWasmBackend({ threads: 1 });
    const ints = new Array<number>(33).fill(0);
    expect(() => backend.launch('foo_f32', [], [], [], [0, 0, 0])).toThrow(MissingKernelError);
    expect(() => backend.launch('exp_f32', [], ints, [], [0, 0, 0])).toThrow(/kernel exp_f32: 33 ints, at most 32/);
    await backend.close();
  });

  test('idle workers sleep', async () => {
    const backend = await createWasmBackend({ threads: 3 });
    await launch(backend, 'exp_f32', new Float32Array(5 * CHUNK), [numbers(5 * CHUNK, 1)]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { user, system } = process.cpuUsage(before);
    // Two spinning workers would take 600,000 us.
    expect(user + system).toBeLessThan(100_000);
    await backend.close();
  });
});
