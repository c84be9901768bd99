import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { OutOfMemoryError } from '../../../engine/backend.ts';
import { createWasmBackend, type WasmBackend } from '../../../engine/backends/wasm.ts';
import { launch } from './launcher.ts';

const substitute = vi.hoisted(() => ({ script: undefined as URL | undefined }));
vi.mock('node:worker_threads', async (original) => {
  const actual = await original<typeof import('node:worker_threads')>();
  class Substituted extends actual.Worker {
    constructor(script: string | URL, options: object) {
      super(substitute.script ?? script, options);
    }
  }
  return { ...actual, Worker: Substituted };
});
afterEach(() => {
  substitute.script = undefined;
});

const CHUNK = 8192;

/**
 * A launch of two long chunks, the second of which reads beyond the end of the memory: the main thread takes the first
 * and, unless the system holds all workers back, a worker the second. @returns what the launch threw
 */
function launchTrap(backend: WasmBackend): Error {
  const x = backend.alloc(4 * CHUNK);
  const out = backend.alloc(8 * CHUNK);
  const buffers = [out, x, x].map((handle) => ({ handle, byteOffset: 0 }));
  const everyOther = 2 ** 29; // elements: 2 GiB further
  try {
    backend.launch('pow_f32', buffers, [2, 2, CHUNK, everyOther, 1, 0, 1], [], [2 * CHUNK, 1, 1]);
  } catch (error) {
    return error as Error;
  }
  throw new Error('the launch did not fail');
}

/** Repeats until it was a worker that trapped, and gives that backend and error. */
async function trapInWorker(): Promise<{ backend: WasmBackend; error: Error }> {
  for (let attempt = 0; attempt < 30; attempt++) {
    const backend = await createWasmBackend({ threads: 3 });
    expect(backend.threads).toBe(3);
    const error = launchTrap(backend);
    if (!error.message.includes('kernel pow_f32 failed')) return { backend, error };
    expect(() => backend.alloc(4)).toThrow(/refuses further calls: kernel pow_f32 failed: memory access out of bounds/);
    await backend.close();
  }
  throw new Error('no worker ever got the chunk');
}

async function expectRefusal(backend: WasmBackend, reason: RegExp): Promise<void> {
  expect(() => backend.alloc(4)).toThrow(reason);
  expect(() => backend.launch('exp_f32', [], [0], [], [0, 0, 0])).toThrow(reason);
  await expect(backend.sync()).rejects.toThrow(reason);
  await backend.close();
}

describe('a worker', () => {
  test('that traps in mid-launch is named, with its reason, and the backend refuses further calls', async () => {
    const { backend, error } = await trapInWorker();
    expect(error.message).toMatch(/^backend wasm: worker [12] failed: memory access out of bounds \(kernel pow_f32\)$/);
    await expectRefusal(backend, /refuses further calls: worker [12] failed: memory access out of bounds/);
  });

  test('that dies in mid-launch without a word is found by looking, and named', async () => {
    substitute.script = new URL('silent-worker.mjs', import.meta.url);
    const { backend, error } = await trapInWorker();
    expect(error.message).toMatch(/^backend wasm: worker [12] died during a launch \(kernel pow_f32\)$/);
    await expectRefusal(backend, /refuses further calls: worker [12] died during a launch/);
  });

  test('that is terminated at any moment neither hangs nor falsifies a launch', async () => {
    for (let attempt = 0; attempt < 5; attempt++) {
      const workers: Worker[] = [];
      const collect = (worker: Worker) => workers.push(worker);
      process.on('worker', collect);
      const backend = await createWasmBackend({ threads: 2 });
      process.off('worker', collect);
      expect(workers.length).toBe(1);
      const x = Float32Array.from({ length: 50 * CHUNK }, (_, i) => i / CHUNK);
      const expected = await launch(backend, 'exp_f32', new Float32Array(x.length), [x]);
      const ended = workers[0].terminate();
      try {
        expect(await launch(backend, 'exp_f32', new Float32Array(x.length), [x])).toEqual(expected);
      } catch (error) {
        expect((error as Error).message).toMatch(/worker 1 (died|ended)/);
      }
      await ended;
      await expectRefusal(backend, /worker 1 (died during a launch|ended \(exit code 1\))/);
    }
  });

  test('that cannot start leaves the backend with one thread, and the reason', async () => {
    substitute.script = new URL('no-such-file.mjs', import.meta.url);
    const backend = await createWasmBackend({ threads: 3 });
    expect(backend.threads).toBe(1);
    expect(backend.info.threadsReason).toMatch(/threads cannot start: .*no-such-file/);
    const y = await launch(backend, 'neg_f32', new Float32Array(3 * CHUNK), [new Float32Array(3 * CHUNK).fill(2)]);
    expect(y).toEqual(new Float32Array(3 * CHUNK).fill(-2));
    await backend.close();
  });
});

describe('memory', () => {
  test('tensors beyond 2 GiB compute as others do; beyond 4 GiB is an error with the numbers', async () => {
    const backend = await createWasmBackend({ threads: 2 });
    // Address space only: pages that nobody touches take no physical memory.
    const below = backend.alloc(2.2 * 2 ** 30) as { address: number };
    const x = Float32Array.from({ length: 3 * CHUNK + 5 }, (_, i) => i - 9);
    const probe = backend.alloc(4) as { address: number };
    expect(probe.address).toBeGreaterThan(2 ** 31);
    backend.free(probe);
    expect(await launch(backend, 'neg_f32', new Float32Array(x.length), [x])).toEqual(x.map((v) => -v));
    const matrix = { ints: [1, 40, 30, 20, 0, 0, 0, 0] };
    const [a, b] = [new Float32Array(800).fill(2), new Float32Array(600).fill(3)];
    expect(await launch(backend, 'matmul_f32', new Float32Array(1200), [a, b], matrix)).toEqual(
      new Float32Array(1200).fill(120),
    );
    const { rss } = process.memoryUsage();
    expect(rss).toBeLessThan(2 ** 30);
    expect(() => backend.alloc(2 ** 31)).toThrow(OutOfMemoryError);
    expect(() => backend.alloc(2 ** 31)).toThrow(/2147483648 bytes requested, \d{10} bytes in use/);
    backend.free(below);
    backend.free(backend.alloc(2 ** 31));
    await backend.close();
  });

  test('access beyond a storage is an error', async () => {
    const backend = await createWasmBackend({ threads: 1 });
    const handle = backend.alloc(16);
    expect(() => backend.write(handle, new Uint8Array(8), 12)).toThrow(/bytes 12 to 20 of a storage of 16 bytes/);
    await expect(backend.read(handle, 17)).rejects.toThrow(RangeError);
    await backend.close();
  });
});

describe('a process', () => {
  const run = (code: string) => {
    const source = `import { createWasmBackend } from ${JSON.stringify(new URL('../../../engine/backends/wasm.ts', import.meta.url))};
      const backend = await createWasmBackend({ threads: 2 });
      const x = backend.alloc(4e5);
      const launch = () => backend.launch('exp_f32', [0, 0].map(() => ({ handle: x, byteOffset: 0 })), [1e5], [], [1e5, 1, 1]);
      ${code}`;
    return spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  };

  test('ends by itself while workers sleep', async () => {
    const child = run('launch(); await backend.sync();');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('ends on Ctrl-C, and runs timers, while it computes without a pause', async () => {
    const child = run(`
      let ticks = 0;
      setInterval(() => ticks++, 1);
      process.on('SIGINT', () => { console.log(ticks); process.exit(42); });
      console.log('computing');
      for (;;) { for (let i = 0; i < 20; i++) launch(); await backend.sync(); }`);
    let output = '';
    child.stdout.on('data', (text) => {
      if (output === '') setTimeout(() => child.kill('SIGINT'), 300);
      output += text;
    });
    expect(await once(child, 'exit')).toEqual([42, null]);
    expect(Number(output.split('\n')[1])).toBeGreaterThan(5);
  });
});
