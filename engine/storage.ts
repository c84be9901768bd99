import type { Backend, Handle } from './backend.ts';
import type { DType } from './dtype.ts';

const live = { tensors: 0, bytes: 0, peakBytes: 0 };

/** Tensors and device bytes alive now, and the most bytes since `resetPeak`. Over all backends. */
export const memory = (): {
  tensors: number;
  bytes: number;
  peakBytes: number;
} => ({ ...live });

export function resetPeak(): void {
  live.peakBytes = live.bytes;
}

export function countTensors(delta: 1 | -1): void {
  live.tensors += delta;
}

/** Device memory shared by the tensors that view it; freed with the last of them. */
export class Storage {
  readonly backend: Backend;
  readonly bytes: number;
  readonly handle: Handle;
  #references = 1;

  constructor(backend: Backend, bytes: number, dtype?: DType) {
    this.backend = backend;
    this.bytes = bytes;
    this.handle = backend.alloc(bytes, dtype);
    live.bytes += bytes;
    live.peakBytes = Math.max(live.peakBytes, live.bytes);
  }

  /** True when one tensor alone views this memory, so that it may be overwritten unseen. */
  get exclusive(): boolean {
    return this.#references === 1;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references > 0) return;
    this.backend.free(this.handle);
    live.bytes -= this.bytes;
  }
}
