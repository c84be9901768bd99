import { readFileSync } from 'node:fs';
import { families } from '../../kernels/cuda/kernels.ts';
import {
  ArgumentBlock,
  type Device,
  type DevicePointer,
  type HostBuffer,
  type Module,
  OutOfMemory,
  openDriver,
  openSimulator,
  type Kernel as PtxKernel,
  PtxVersionUnsupported,
} from '../../kernels/cuda/runtime/src/index.ts';
import type { Kernel, Phase, Target } from '../../kernels/cuda/table.ts';
import { inBlocks, Planes } from '../../kernels/cuda/weight.ts';
import { type BufferRef, MissingKernelError, OutOfMemoryError, type Work } from '../backend.ts';
import { type ComputeDType, computeDTypes, type DType } from '../dtype.ts';
import type { DeviceBackend, MemoryModel } from './rehearsal.ts';
import { Uploads } from './uploads.ts';

export interface CudaOptions {
  /** A GPU ('cuda' is the first one), the simulator, or a device of @cuda-js/runtime, which then belongs to the backend. */
  device?: 'cuda' | `cuda:${number}` | 'cuda-sim' | Device;
}

/** Closing it releases the device and all its memory. */
export interface CudaBackend extends DeviceBackend {
  readonly device: Device;
}

interface CudaHandle {
  readonly pointer: DevicePointer;
  readonly bytes: number;
  /** Of quantised blocks. */
  readonly planes?: Planes;
}

/** A kernel's table entry, and the .cu file that its entries are in. */
interface Located extends Kernel {
  readonly file: string;
}

/** Targets that modules are compiled for, newest first: a device takes the newest that it can run. */
const TARGETS: readonly Target[] = [80, 75];
/** Modules, the context's own needs, what the pool rounds up to, and what other programs take in the meantime. */
const RESERVED_BYTES = 2 ** 28;

/**
 * Opens a CUDA device, or its simulator, as a backend. Kernels are PTX that the driver compiles when the first kernel of a
 * file is launched.
 * @throws NoDriver, NoDevice saying what was found; PtxVersionUnsupported for a GPU older than sm_75
 */
export async function createCudaBackend({ device = 'cuda' }: CudaOptions = {}): Promise<CudaBackend> {
  if (typeof device !== 'string') return new Cuda(device, device.simulated ? 'cuda-sim' : 'cuda');
  if (device === 'cuda-sim') return new Cuda(openSimulator(), device);
  const ordinal = device === 'cuda' ? 0 : Number(device.slice('cuda:'.length));
  return new Cuda(openDriver().open(ordinal), `cuda:${ordinal}`);
}

class Cuda implements CudaBackend {
  readonly name: string;
  readonly computes: readonly ComputeDType[];
  readonly device: Device;
  readonly #kernels = new Map<string, Located>();
  readonly #target: Target;
  readonly #modules = new Map<string, Module>();
  readonly #entries = new Map<string, PtxKernel>();
  readonly #args = new ArgumentBlock();
  #scratch: CudaHandle = { pointer: 0, bytes: 0 };
  readonly #uploads: Uploads;
  /** Pinned memory of reads that are over, for the next ones. */
  readonly #staging: HostBuffer[] = [];
  #closed = false;

  constructor(device: Device, name: string) {
    this.device = device;
    this.name = name;
    this.#uploads = new Uploads(device);
    const { computeCapability } = device.attributes;
    const capability = 10 * computeCapability[0] + computeCapability[1];
    const target = TARGETS.find((t) => t <= capability);
    if (target === undefined) {
      device[Symbol.dispose]();
      const message = `${device.name} is sm_${capability}; the kernels need sm_${TARGETS.at(-1)} or newer`;
      throw new PtxVersionUnsupported('CUDA_ERROR_NO_BINARY_FOR_GPU', message);
    }
    this.#target = target;
    this.computes = target >= 80 ? computeDTypes : ['f32'];
    for (const [file, family] of Object.entries(families)) {
      for (const [kernel, entry] of Object.entries(family)) {
        if (target >= 80 || kernel.split('_')[1] !== 'bf16') this.#kernels.set(kernel, { ...entry, file });
      }
    }
  }

  get kernels(): readonly string[] {
    return [...this.#kernels.keys()];
  }

  alloc(bytes: number, dtype?: DType): CudaHandle {
    try {
      // A storage of no bytes has an address like any other.
      const pointer = this.device.alloc(Math.max(1, bytes));
      return { pointer, bytes, planes: dtype && inBlocks(dtype) ? new Planes(dtype, bytes) : undefined };
    } catch (error) {
      if (error instanceof OutOfMemory) throw new OutOfMemoryError(`${this.name}: ${error.message}`, { cause: error });
      throw error;
    }
  }

  free({ pointer }: CudaHandle): void {
    // With the device went all its memory.
    if (!this.#closed) this.device.free(pointer);
  }

  write(handle: CudaHandle, bytes: Uint8Array, byteOffset = 0): void {
    if (bytes.length === 0) return;
    const { pointer, planes } = handle;
    this.#assertInside(handle, bytes.length, byteOffset);
    for (const part of planes?.split(bytes, byteOffset) ?? [{ begin: byteOffset, bytes }]) {
      this.#uploads.write(pointer + part.begin, part.bytes);
    }
  }

  /** The bytes as the work queued so far leaves them; what is queued later neither changes nor delays them. */
  async read(handle: CudaHandle, bytes: number, byteOffset = 0): Promise<Uint8Array> {
    if (bytes === 0) return new Uint8Array(0);
    const { pointer, planes } = handle;
    this.#assertInside(handle, bytes, byteOffset);
    const ranges = planes?.ranges(byteOffset, bytes) ?? [{ begin: byteOffset, bytes }];
    const fitting = this.#staging.findIndex((b) => b.bytes.length >= bytes);
    const staging = fitting < 0 ? this.device.allocHost(stagingBytes(bytes)) : this.#staging.splice(fitting, 1)[0];
    const arriving = staging.bytes.subarray(0, bytes);
    using arrived = this.device.createEvent();
    let at = 0;
    for (const range of ranges) {
      this.device.readAsync(arriving.subarray(at, at + range.bytes), pointer + range.begin);
      at += range.bytes;
    }
    arrived.record();
    await arrived.synchronize();
    const copy = planes?.join(arriving) ?? arriving.slice();
    if (staging.bytes.length > KEPT_STAGING || this.#closed) staging[Symbol.dispose]();
    else this.#staging.push(staging);
    return copy;
  }

  sync(): Promise<void> {
    return this.device.synchronize();
  }

  launch(
    kernel: string,
    buffers: readonly BufferRef[],
    ints: readonly number[],
    floats: readonly number[],
    work: Work,
  ): void {
    const located = this.#locate(kernel);
    const call = { ints, floats, work, target: this.#target };
    const pointers = buffers.map(({ handle, byteOffset }) => (handle as CudaHandle).pointer + byteOffset);
    const alignment = pointers.reduce(commonAlignment, 256);
    const phases = located.phases(call, alignment);
    const numbers = [work[0], ...ints, ...phases.flatMap((phase) => phase.ints ?? [])];
    if (numbers.some((n) => n !== (n | 0))) {
      throw new RangeError(
        `kernel ${kernel}: work ${work}, ints ${ints} or its phases' ints (${numbers}) exceed 32 bits`,
      );
    }
    const scratch = located.scratchBytes && this.#scratchFor(located.scratchBytes(call));
    if (scratch !== undefined) pointers.push(scratch);
    for (const phase of phases) {
      const own = phase.buffers?.map((i) => pointers[i]) ?? pointers;
      this.#run(located.file, phase, own, phase.ints ?? ints, phase.floats ?? floats);
    }
  }

  get memoryModel(): MemoryModel {
    return {
      capacity: this.device.memoryInfo().freeBytes - (this.device.simulated ? 0 : RESERVED_BYTES),
      scratchBytes: (kernel, ints, work) =>
        this.#locate(kernel).scratchBytes?.({ ints, floats: [], work, target: this.#target }) ?? 0,
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.device[Symbol.dispose]();
  }

  #locate(kernel: string): Located {
    const located = this.#kernels.get(kernel);
    if (located === undefined) throw new MissingKernelError(kernel, this.name);
    return located;
  }

  #run(
    file: string,
    { entry, grid, block, sharedBytes = 0 }: Phase,
    pointers: readonly DevicePointer[],
    ints: readonly number[],
    floats: readonly number[],
  ): void {
    if (grid.includes(0)) return;
    const args = this.#args.reset();
    for (const pointer of pointers) args.pointer(pointer);
    for (const i of ints) args.i32(i);
    for (const x of floats) args.f32(x);
    this.device.launch(this.#entry(file, entry, sharedBytes), grid, block, sharedBytes, args.bytes);
  }

  #entry(file: string, name: string, sharedBytes: number): PtxKernel {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = this.#module(file).getFunction(name);
      this.#entries.set(name, entry);
    }
    entry.setMaxDynamicShared(sharedBytes);
    return entry;
  }

  #module(file: string): Module {
    let module = this.#modules.get(file);
    if (module === undefined) {
      const url = new URL(`../../kernels/cuda/ptx/sm_${this.#target}/${file}.ptx`, import.meta.url);
      module = this.device.loadModule(readFileSync(url, 'utf8'), `${file}.ptx`);
      this.#modules.set(file, module);
    }
    return module;
  }

  /**
   * Scratch memory for the next launch, null where it needs none; launches run in order, so that they can share it. It only
   * grows on a GPU. On the simulator every launch gets fresh memory of exactly its size, so that the checks see each unwritten
   * or foreign byte.
   */
  #scratchFor(bytes: number): DevicePointer {
    if (bytes === 0) return 0;
    if (bytes > this.#scratch.bytes || this.device.simulated) {
      if (this.#scratch.bytes > 0) this.free(this.#scratch);
      this.#scratch = { pointer: 0, bytes: 0 };
      this.#scratch = this.alloc(bytes);
    }
    return this.#scratch.pointer;
  }

  #assertInside({ bytes: all }: CudaHandle, bytes: number, byteOffset: number): void {
    if (byteOffset + bytes > all) {
      throw new RangeError(`bytes ${byteOffset} to ${byteOffset + bytes} of a storage of ${all} bytes`);
    }
  }
}

/** Pinned buffers up to this size are kept: losses and norms are read every step. */
const KEPT_STAGING = 2 ** 20;
const stagingBytes = (bytes: number): number => (bytes > KEPT_STAGING ? bytes : 2 ** Math.ceil(Math.log2(bytes)));

/** The largest power of two that both `alignment`, itself one, and the address are multiples of. */
function commonAlignment(alignment: number, address: DevicePointer): number {
  while (address % alignment !== 0) alignment /= 2;
  return alignment;
}
