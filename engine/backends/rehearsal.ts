import type { Backend, BufferRef, Work } from '../backend.ts';

/** How a device takes memory. */
export interface MemoryModel {
  /** Bytes that tensors and scratch memory can have together. */
  readonly capacity: number;
  /** Bytes that a tensor of so many takes. */
  granted(bytes: number): number;
  /** Scratch memory of a launch. @throws MissingKernelError */
  scratchBytes(kernel: string, ints: readonly number[], work: Work): number;
}

/**
 * A backend that holds nothing and computes nothing, but counts what a device would need: a computation is run on it to know
 * its memory before there is any. Every number read from it is 0.
 */
export class Rehearsal implements Backend {
  readonly name = 'rehearsal';
  readonly #model: MemoryModel;
  #bytes = 0;
  #peakBytes = 0;
  #scratchBytes = 0;

  constructor(model: MemoryModel) {
    this.#model = model;
  }

  /** Bytes in tensors now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Most bytes in tensors at any time. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** The largest launch's scratch memory. */
  get scratchBytes(): number {
    return this.#scratchBytes;
  }

  alloc(bytes: number): number {
    const granted = this.#model.granted(bytes);
    this.#bytes += granted;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return granted;
  }

  free(granted: number): void {
    this.#bytes -= granted;
  }

  write(): void {}

  async read(_: unknown, bytes: number): Promise<Uint8Array> {
    return new Uint8Array(bytes);
  }

  launch(kernel: string, _: readonly BufferRef[], ints: readonly number[], __: readonly number[], work: Work): void {
    this.#scratchBytes = Math.max(this.#scratchBytes, this.#model.scratchBytes(kernel, ints, work));
  }

  async sync(): Promise<void> {}
}
