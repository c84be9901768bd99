// What a CUDA device is to its users. The driver (src/driver) and the simulator (src/sim) both implement `Device`.
export {
  CudaError,
  InvalidPtx,
  LaunchError,
  NoDevice,
  NoDriver,
  OutOfMemory,
  PtxVersionUnsupported,
} from './errors.ts';

/** A 64-bit device address. CUDA's addresses lie below 2^53, so a number holds them exactly. */
export type DevicePointer = number;

/** Extent in x, y, z: of a grid in blocks, of a block in threads. */
export type Dim3 = readonly [x: number, y: number, z: number];

export interface DeviceAttributes {
  /** [major, minor], e.g. [8, 0] for sm_80. */
  readonly computeCapability: readonly [major: number, minor: number];
  readonly multiprocessors: number;
  readonly warpSize: number;
  readonly maxThreadsPerBlock: number;
  readonly maxThreadsPerMultiprocessor: number;
  readonly maxBlocksPerMultiprocessor: number;
  readonly maxRegistersPerBlock: number;
  readonly maxRegistersPerMultiprocessor: number;
  /** Bytes a block may use without opting in (48 KiB). */
  readonly sharedMemoryPerBlock: number;
  /** Bytes a block may use after `Kernel.setMaxDynamicShared`. */
  readonly sharedMemoryPerBlockOptin: number;
  readonly sharedMemoryPerMultiprocessor: number;
  readonly maxGrid: Dim3;
  readonly maxBlock: Dim3;
  readonly l2Bytes: number;
  readonly clockKHz: number;
  readonly memoryClockKHz: number;
  readonly memoryBusBits: number;
  readonly totalMemory: number;
  /** cuMemAllocAsync is available; without it alloc and free wait for the device. */
  readonly memoryPools: boolean;
}

/** A kernel of a loaded module. Valid until its module is disposed. */
export interface Kernel {
  readonly name: string;
  /** Registers per thread; undefined in a simulator without ptxas. */
  readonly registers: number | undefined;
  /** Bytes of statically declared shared memory. */
  readonly sharedBytes: number;
  /** Bytes of local memory (spills and stack) per thread. */
  readonly localBytes: number;
  /** Largest block it can be launched with. */
  readonly maxThreads: number;
  /** Allows launches with up to `bytes` of dynamic shared memory; throws LaunchError beyond the device's opt-in limit. */
  setMaxDynamicShared(bytes: number): void;
}

export interface Module extends Disposable {
  /**
   * Throws CudaError (CUDA_ERROR_NOT_FOUND) naming the kernel and the module's kernels. The simulator compiles a kernel here,
   * and throws InvalidPtx for one with an instruction that it does not know.
   */
  getFunction(name: string): Kernel;
  /** Address and size of a `.global` or `.const` variable; throws CudaError (CUDA_ERROR_NOT_FOUND). */
  getGlobal(name: string): { pointer: DevicePointer; bytes: number };
  /** The JIT's information log (ptxas -v style lines); empty when it said nothing. */
  readonly infoLog: string;
}

/** An in-order queue of work. */
export interface Stream extends Disposable {
  /** Waits until the work queued so far is done. Rejects with the device's error if that work failed. */
  synchronize(): Promise<void>;
  /** True when all queued work is done; throws if it failed. */
  query(): boolean;
  /** Work queued after this starts when `event` has happened. */
  wait(event: Event): void;
}

/** A point in a stream, with a time stamp. */
export interface Event extends Disposable {
  record(stream?: Stream): void;
  query(): boolean;
  synchronize(): Promise<void>;
  /** Milliseconds from `start` to this event; both must have happened. */
  elapsedSince(start: Event): number;
}

/** Page-locked host memory that the device copies to and from without staging. */
export interface HostBuffer extends Disposable {
  /** View of the memory; using it after dispose is an error of the caller. */
  readonly bytes: Uint8Array;
}

/** Work recorded from a stream, ready to be launched again and again with the same addresses. */
export interface Graph extends Disposable {
  launch(stream?: Stream): void;
}

export interface MemoryInfo {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/**
 * One device. Queued work runs on `stream`, or on `defaultStream` when none is given. Disposing releases everything that
 * was made from it; every other call afterwards throws CudaError.
 */
export interface Device extends Disposable {
  readonly name: string;
  /** True for the simulator: its clock says nothing about a GPU. */
  readonly simulated: boolean;
  readonly attributes: DeviceAttributes;
  readonly defaultStream: Stream;

  /** Compiles PTX text. Throws PtxVersionUnsupported or InvalidPtx with the JIT's log. `name` appears in messages. */
  loadModule(ptx: string, name?: string): Module;

  /** `bytes` of uninitialised memory, 256-byte aligned, ordered on the stream. Throws OutOfMemory. */
  alloc(bytes: number, stream?: Stream): DevicePointer;
  free(pointer: DevicePointer, stream?: Stream): void;
  allocHost(bytes: number): HostBuffer;
  memoryInfo(): MemoryInfo;

  /**
   * Host to device. `source` may be reused at once, for which the driver may wait for the stream; a HostBuffer's view only when
   * the stream got there, and nothing waits.
   */
  writeAsync(destination: DevicePointer, source: Uint8Array, stream?: Stream): void;
  /** Device to host. `destination` (best a HostBuffer's view) holds the bytes when the stream got there. */
  readAsync(destination: Uint8Array, source: DevicePointer, stream?: Stream): void;
  copyAsync(destination: DevicePointer, source: DevicePointer, bytes: number, stream?: Stream): void;
  /** Sets every byte to `value` (0..255). */
  memsetAsync(destination: DevicePointer, value: number, bytes: number, stream?: Stream): void;

  /**
   * Launches `kernel` over `grid` blocks of `block` threads with `sharedBytes` of dynamic shared memory. `args` holds the
   * parameters at their natural alignment in declaration order (see ArgumentBlock) and may be reused on return.
   * Throws LaunchError when the launch is refused; the simulator also when a checker reported.
   */
  launch(kernel: Kernel, grid: Dim3, block: Dim3, sharedBytes: number, args: Uint8Array, stream?: Stream): void;

  createStream(): Stream;
  createEvent(): Event;
  /** Waits for all streams. */
  synchronize(): Promise<void>;

  /** Records what is queued on `stream` by `record` instead of running it, and instantiates it. */
  capture(stream: Stream, record: () => void): Graph;
}

/**
 * Builder of a launch's parameter bytes. One block can be kept per call site: `reset()` starts over without allocating.
 * Every value goes to the next offset that is a multiple of its size, as PTX lays out `.param`s.
 */
export class ArgumentBlock {
  #view: DataView;
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** The parameters added since `reset()`: a view, overwritten by the next use. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  reset(): this {
    this.#length = 0;
    return this;
  }

  pointer(address: DevicePointer): this {
    const offset = this.#place(8);
    this.#view.setUint32(offset, address % 2 ** 32, true);
    this.#view.setUint32(offset + 4, Math.floor(address / 2 ** 32), true);
    return this;
  }

  i32(value: number): this {
    this.#view.setInt32(this.#place(4), value, true);
    return this;
  }

  /** An integer up to 2^53 in magnitude as s64. */
  i64(value: number): this {
    const offset = this.#place(8);
    this.#view.setBigInt64(offset, BigInt(value), true);
    return this;
  }

  f32(value: number): this {
    this.#view.setFloat32(this.#place(4), value, true);
    return this;
  }

  f64(value: number): this {
    this.#view.setFloat64(this.#place(8), value, true);
    return this;
  }

  #place(bytes: number): number {
    const offset = Math.ceil(this.#length / bytes) * bytes;
    if (offset + bytes > this.#bytes.length) {
      throw new RangeError(`ArgumentBlock: more than ${this.#bytes.length} bytes of kernel parameters`);
    }
    // The gap would hold bytes of an earlier use; zeros make equal arguments equal bytes.
    this.#bytes.fill(0, this.#length, offset);
    this.#length = offset + bytes;
    return offset;
  }
}
