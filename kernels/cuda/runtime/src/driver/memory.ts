import { CudaError, OutOfMemory } from '../errors.ts';
import { checkSize } from '../refusals.ts';
import type { DevicePointer, HostBuffer, MemoryInfo } from '../runtime.ts';
import { type Context, Resource } from './context.ts';
import { CUresult, check, describe, failure, poisons } from './result.ts';

const releaseThreshold = 4;
const reservedNow = 5;
const usedNow = 7;
const portable = 1;

/** Device memory of one context: the stream-ordered pool where the device has one, plain allocation elsewhere. */
export class Memory {
  readonly #context: Context;
  /** Pool handle; undefined without pools. */
  readonly #pool: number | undefined;
  readonly #previousThreshold = new BigUint64Array(1);
  readonly #live = new Map<DevicePointer, number>();

  constructor(context: Context, pooled: boolean) {
    this.#context = context;
    if (!pooled) return;
    this.#pool = context.get('cuDeviceGetDefaultMemPool', context.device);
    // By default a pool returns its unused memory to the system at every synchronisation, and the next step pays for it.
    context.call('cuMemPoolGetAttribute', this.#pool, releaseThreshold, this.#previousThreshold);
    context.call('cuMemPoolSetAttribute', this.#pool, releaseThreshold, new BigUint64Array([2n ** 64n - 1n]));
  }

  alloc(bytes: number, stream: number): DevicePointer {
    checkSize(bytes, 'alloc');
    const word = new BigUint64Array(1);
    // The driver refuses an empty allocation; an empty tensor still wants an address.
    const size = Math.max(bytes, 1);
    let result = this.#take(word, size, stream);
    if (result === CUresult.outOfMemory && this.#pool !== undefined) {
      // What is freed in the stream's order comes back when the work is done, and what the pool keeps, when it is told to.
      this.#context.try('cuCtxSynchronize');
      this.#context.try('cuMemPoolTrimTo', this.#pool, 0);
      result = this.#take(word, size, stream);
    }
    if (result !== 0) throw this.#refused(result, `alloc of ${bytes} bytes on ${this.#context.label}`);
    const pointer = Number(word[0]);
    this.#live.set(pointer, size);
    return pointer;
  }

  free(pointer: DevicePointer, stream: number): void {
    this.#context.enter();
    if (!this.#live.delete(pointer)) {
      throw new CudaError(
        'CUDA_ERROR_INVALID_VALUE',
        `free of 0x${pointer.toString(16)}, which alloc did not return or which is free already`,
      );
    }
    const result =
      this.#pool === undefined
        ? this.#context.try('cuMemFree_v2', pointer)
        : this.#context.try('cuMemFreeAsync', pointer, stream);
    // The memory went with its context; freeing it on the way out must not stand before the failure that led there.
    if (!poisons(result)) check(this.#context.library, result, `free of 0x${pointer.toString(16)}`);
  }

  allocHost(bytes: number): HostBuffer {
    checkSize(bytes, 'allocHost');
    const word = new BigUint64Array(1);
    const result = this.#context.try('cuMemHostAlloc', word, Math.max(bytes, 1), portable);
    if (result !== 0) throw this.#refused(result, `${bytes} bytes of page-locked host memory`);
    return new DriverHostBuffer(this.#context, word[0], bytes);
  }

  /** Memory that the pool holds and nobody uses counts as free. */
  info(): MemoryInfo {
    const words = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#context.call('cuMemGetInfo_v2', words[0], words[1]);
    return { freeBytes: Number(words[0][0]) + this.#unusedInPool(), totalBytes: Number(words[1][0]) };
  }

  /** Frees what was not freed; the context is idle. */
  release(): void {
    for (const pointer of this.#live.keys()) this.#context.try('cuMemFree_v2', pointer);
    this.#live.clear();
    if (this.#pool === undefined) return;
    this.#context.try('cuMemPoolTrimTo', this.#pool, 0);
    this.#context.try('cuMemPoolSetAttribute', this.#pool, releaseThreshold, this.#previousThreshold);
  }

  #take(word: BigUint64Array, bytes: number, stream: number): number {
    return this.#pool === undefined
      ? this.#context.try('cuMemAlloc_v2', word, bytes)
      : this.#context.try('cuMemAllocAsync', word, bytes, stream);
  }

  #unusedInPool(): number {
    if (this.#pool === undefined) return 0;
    const reserved = new BigUint64Array(1);
    const used = new BigUint64Array(1);
    // Both came with CUDA 11.3, a version after the pools themselves.
    if (this.#context.try('cuMemPoolGetAttribute', this.#pool, reservedNow, reserved) !== 0) return 0;
    if (this.#context.try('cuMemPoolGetAttribute', this.#pool, usedNow, used) !== 0) return 0;
    return Number(reserved[0] - used[0]);
  }

  #refused(result: number, doing: string): CudaError {
    const { library } = this.#context;
    if (result !== CUresult.outOfMemory) return failure(library, result, doing);
    const { freeBytes, totalBytes } = this.info();
    const held = [...this.#live.values()].reduce((sum, bytes) => sum + bytes, 0);
    return new OutOfMemory(
      describe(library, result).code,
      `${doing}: out of memory; of the device's ${totalBytes} bytes ${freeBytes} are free, ${held} are allocated here`,
      { result },
    );
  }
}

class DriverHostBuffer extends Resource implements HostBuffer {
  readonly bytes: Uint8Array;

  constructor(context: Context, pointer: bigint, bytes: number) {
    super(context, Number(pointer), 'host buffer');
    this.bytes = new Uint8Array(context.library.koffi.view(pointer, Math.max(bytes, 1)), 0, bytes);
  }

  protected release(handle: number): void {
    // Detached views read as empty instead of reading freed memory. (`transfer` came with Node 22.)
    const buffer: ArrayBufferLike & { transfer?(): unknown } = this.bytes.buffer;
    buffer.transfer?.();
    this.context.try('cuMemFreeHost', handle);
  }
}
