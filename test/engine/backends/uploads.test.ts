// What the CUDA backend writes, against a stub driver that takes the bytes of page-locked memory as late as a GPU may.
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { type CudaBackend, createCudaBackend } from '../../../engine/index.ts';
import { openDriver } from '../../../kernels/cuda/runtime/src/index.ts';
import { buildStub, type Stub, skipsStub } from '../../kernels/cuda/support/stub.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;

describe.skipIf(skipsStub)('writes of the CUDA backend', () => {
  let stub: Stub;
  let backend: CudaBackend;
  beforeEach(async () => {
    stub?.remove();
    stub = buildStub();
    backend = await createCudaBackend({ device: openDriver({ library: stub.path }).open() });
    stub.calls();
  });
  afterAll(() => stub.remove());

  const queued: { handle: ReturnType<CudaBackend['alloc']>; value: number; bytes: number }[] = [];
  /** Writes so many bytes of a value of their own and then changes them, as who queues the next step does. */
  function write(bytes: number): void {
    const handle = backend.alloc(bytes);
    const value = 1 + (queued.length % 255);
    const array = new Uint8Array(bytes).fill(value);
    backend.write(handle, array);
    array.fill(0);
    queued.push({ handle, value, bytes });
  }
  /** Waits for the device and compares what it has with what was written. */
  async function check(): Promise<void> {
    for (const { handle, value, bytes } of queued.splice(0)) {
      const found = await backend.read(handle, bytes);
      expect(Buffer.compare(found, new Uint8Array(bytes).fill(value))).toBe(0);
    }
  }
  const count = (calls: string[], name: string) => calls.filter((call) => call.startsWith(name)).length;
  /** Of each copy to the device, whether it was from page-locked memory. */
  const pinned = (calls: string[]) =>
    calls.filter((call) => call.startsWith('cuMemcpyHtoDAsync')).map((call) => call.endsWith(' pinned'));

  test('small ones leave page-locked memory, and the caller may change his bytes at once', async () => {
    for (const bytes of [1, 13, 4 * KIB, MIB]) write(bytes);
    write(MIB + 1);
    expect(pinned(stub.calls())).toEqual([true, true, true, true, false]);
    await check();
    await backend.close();
  });

  test('what is on its way is not overwritten; more memory is taken up to a bound', async () => {
    stub.notReady(1000);
    for (let i = 0; i < 40; i++) write(300 * KIB);
    const calls = stub.calls();
    // Three fit into each block of 1 MiB, and there are eight.
    expect(pinned(calls)).toEqual(Array.from({ length: 40 }, (_, i) => i < 24));
    expect(count(calls, 'cuMemHostAlloc')).toBe(8);
    expect(count(calls, 'cuEventRecord')).toBe(8);
    expect(count(calls, 'cuCtxSynchronize')).toBe(0);
    stub.notReady(0);
    await check();
    await backend.close();
  });

  test('what has arrived makes room for the next', async () => {
    for (let i = 0; i < 40; i++) write(300 * KIB);
    const calls = stub.calls();
    expect(pinned(calls)).toEqual(Array(40).fill(true));
    expect(count(calls, 'cuMemHostAlloc')).toBe(1);
    stub.notReady(2);
    for (let i = 0; i < 40; i++) write(300 * KIB);
    expect(count(stub.calls(), 'cuMemHostAlloc')).toBe(2);
    await check();
    await backend.close();
  });

  test('closing the backend releases everything', async () => {
    stub.notReady(1000);
    for (let i = 0; i < 10; i++) write(300 * KIB);
    queued.length = 0;
    await backend.close();
    expect(stub.used()).toBe(0);
    const calls = stub.calls();
    expect(count(calls, 'cuMemFreeHost')).toBe(count(calls, 'cuMemHostAlloc'));
    expect(count(calls, 'cuEventDestroy')).toBe(count(calls, 'cuEventCreate'));
  });
});
