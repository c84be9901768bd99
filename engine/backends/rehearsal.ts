import type { Backend, BufferRef, Work } from '../backend.ts';
import { computeDTypes } from '../dtype.ts';
import { Allocator } from './allocator.ts';

/** What a device has, and what its kernels take beside their tensors. */
export interface MemoryModel {
  /** Bytes that tensors and scratch memory can have together. */
  readonly capacity: number;
  /** Who has no more than that; default: the device. */
  readonly holder?: string;
  /** Scratch memory of a launch. @throws MissingKernelError */
  scratchBytes(kernel: string, ints: readonly number[], work: Work): number;
}

/** A backend with kernels and memory of its own. */
export interface DeviceBackend extends Backend {
  /** Names of all kernels that it can run. */
  readonly kernels: readonly string[];
  /** For a `Rehearsal` of what it is to compute. */
  readonly memoryModel: MemoryModel;
  /** Gives back what it holds; every later call but `free` throws. */
  close(): Promise<void>;
}

interface Block {
  address: number;
  bytes: number;
}

/**
 * A backend that holds nothing and computes nothing, but takes addresses as a device does: a computation is run on it to know
 * its memory before there is any. Every number read from it is 0.
 */
export class Rehearsal implements Backend {
  readonly name = 'rehearsal';
  readonly computes = computeDTypes;
  readonly #model: MemoryModel;
  readonly #allocator: Allocator;
  #bytes = 0;
  #peakBytes = 0;
  #scratch: Block | undefined;

  constructor(model: MemoryModel) {
    let end = 0;
    this.#model = model;
    this.#allocator = new Allocator((bytes) => {
      end += bytes;
      return { address: end - bytes, bytes };
    });
  }

  /** Bytes in tensors now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Most bytes in tensors at any time since `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** The largest launch's scratch memory. */
  get scratchBytes(): number {
    return this.#scratch?.bytes ?? 0;
  }

  /** All that was taken of the device: tensors, scratch memory and the gaps between them. */
  get totalBytes(): number {
    return this.#allocator.totalBytes;
  }

  /** Begins to look for the peak anew. */
  resetPeak(): void {
    this.#peakBytes = this.#bytes;
  }

  alloc(bytes: number): Block {
    const block = { address: this.#allocator.alloc(bytes), bytes };
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return block;
  }

  free({ address, bytes }: Block): void {
    this.#allocator.free(address);
    this.#bytes -= bytes;
  }

  write(): void {}

  async read(_: unknown, bytes: number): Promise<Uint8Array> {
    return new Uint8Array(bytes);
  }

  launch(kernel: string, _: readonly BufferRef[], ints: readonly number[], __: readonly number[], work: Work): void {
    const bytes = this.#model.scratchBytes(kernel, ints, work);
    if (bytes <= this.scratchBytes) return;
    if (this.#scratch) this.#allocator.free(this.#scratch.address);
    this.#scratch = { address: this.#allocator.alloc(bytes), bytes };
  }

  async sync(): Promise<void> {}
}
