import type { ComputeDType, DType, HostArray } from './dtype.ts';

/** A piece of a backend's memory; only its backend knows what is inside. */
export type Handle = unknown;

/** Elements or tiles of the problem; a backend turns them into chunks or thread blocks. */
export type Work = readonly [x: number, y: number, z: number];

export interface BufferRef {
  handle: Handle;
  byteOffset: number;
}

/** A device: six methods, and no knowledge of any op. */
export interface Backend {
  /** 'reference', 'wasm', 'cuda:0', 'cuda-sim'. */
  readonly name: string;
  /** Types that it takes activations in. */
  readonly computes: readonly ComputeDType[];
  /**
   * `dtype` says what will be in it. A backend may keep quantised blocks in an order of its own, which `write` and `read` hide:
   * they take and give them as a checkpoint has them, whole ones.
   * @throws OutOfMemoryError
   */
  alloc(bytes: number, dtype?: DType): Handle;
  free(handle: Handle): void;
  write(handle: Handle, bytes: Uint8Array, byteOffset?: number): void;
  /** The only method, with `sync`, that waits for the device. */
  read(handle: Handle, bytes: number, byteOffset?: number): Promise<Uint8Array>;
  /**
   * Runs `kernel(buffers…, ints…, floats…)`; outputs come before inputs. Launches take effect in order.
   * @throws MissingKernelError before anything is changed
   */
  launch(
    kernel: string,
    buffers: readonly BufferRef[],
    ints: readonly number[],
    floats: readonly number[],
    work: Work,
  ): void;
  sync(): Promise<void>;
}

/** The float64 backend: memory only, which ops' reference loops read and write in place. */
export interface ReferenceBackend extends Backend {
  readonly name: 'reference';
  view(handle: Handle, dtype: DType, byteOffset: number, elements: number): HostArray | Uint8Array;
}

export const isReference = (backend: Backend): backend is ReferenceBackend => backend.name === 'reference';

/** @throws TypeError naming the backend where it does not compute in `dtype` */
export function assertComputes({ name, computes }: Backend, dtype: ComputeDType): void {
  if (computes.includes(dtype)) return;
  throw new TypeError(
    `backend ${name} computes in ${computes.join(' and ')}, not in ${dtype}: that needs CUDA from sm_80 on`,
  );
}

export class MissingKernelError extends Error {
  override name = 'MissingKernelError';
  constructor(kernel: string, backend: string) {
    super(`backend ${backend} has no kernel ${kernel}`);
  }
}

export class OutOfMemoryError extends Error {
  override name = 'OutOfMemoryError';
}
