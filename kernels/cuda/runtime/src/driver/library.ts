import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';
import { CudaError, NoDriver } from '../errors.ts';
import { libraryNames } from './libraryNames.ts';

// Parameters of the driver's functions. Handles are integers here, and what a call writes goes into typed arrays whose own
// memory is passed (`memory`): koffi then converts nothing. Suffixed names are the current ABI; an unsuffixed cuMemAlloc
// would be that of CUDA 3.
const [int, uint, size, handle, address, memory] = ['int', 'uint32_t', 'size_t', 'uintptr_t', 'uint64_t', 'void *'];
const functions = {
  cuInit: [uint],
  cuDriverGetVersion: [memory],
  cuGetErrorName: [int, memory],
  cuGetErrorString: [int, memory],
  cuDeviceGetCount: [memory],
  cuDeviceGet: [memory, int],
  cuDeviceGetName: [memory, int, int],
  cuDeviceGetAttribute: [memory, int, int],
  cuDeviceTotalMem_v2: [memory, int],
  cuDevicePrimaryCtxRetain: [memory, int],
  cuDevicePrimaryCtxRelease_v2: [int],
  cuCtxSetCurrent: [handle],
  cuCtxSynchronize: [],
  cuModuleLoadDataEx: [memory, memory, uint, memory, memory],
  cuModuleUnload: [handle],
  cuModuleGetFunction: [memory, handle, 'const char *'],
  cuModuleGetGlobal_v2: [memory, memory, handle, 'const char *'],
  cuFuncGetAttribute: [memory, int, handle],
  cuFuncSetAttribute: [handle, int, int],
  cuLaunchKernel: [handle, uint, uint, uint, uint, uint, uint, uint, handle, memory, memory],
  cuMemGetInfo_v2: [memory, memory],
  cuMemAlloc_v2: [memory, size],
  cuMemFree_v2: [address],
  cuMemAllocAsync: [memory, size, handle],
  cuMemFreeAsync: [address, handle],
  cuDeviceGetDefaultMemPool: [memory, int],
  cuMemPoolGetAttribute: [handle, int, memory],
  cuMemPoolSetAttribute: [handle, int, memory],
  cuMemPoolTrimTo: [handle, size],
  cuMemHostAlloc: [memory, size, uint],
  cuMemFreeHost: [address],
  cuMemcpyHtoDAsync_v2: [address, memory, size, handle],
  cuMemcpyDtoHAsync_v2: [memory, address, size, handle],
  cuMemcpyDtoDAsync_v2: [address, address, size, handle],
  cuMemsetD8Async: [address, 'uint8_t', size, handle],
  cuStreamCreate: [memory, uint],
  cuStreamDestroy_v2: [handle],
  cuStreamQuery: [handle],
  cuStreamWaitEvent: [handle, handle, uint],
  cuEventCreate: [memory, uint],
  cuEventDestroy_v2: [handle],
  cuEventRecord: [handle, handle],
  cuEventQuery: [handle],
  cuEventElapsedTime: [memory, handle, handle],
  cuStreamBeginCapture_v2: [handle, int],
  cuStreamEndCapture: [handle, memory],
  cuGraphInstantiateWithFlags: [memory, handle, address],
  cuGraphInstantiate_v2: [memory, handle, memory, memory, size],
  cuGraphDestroy: [handle],
  cuGraphExecDestroy: [handle],
  cuGraphLaunch: [handle, handle],
} satisfies Record<string, string[]>;

export type DriverFunction = keyof typeof functions;
type Argument = number | bigint | string | null | ArrayBufferView;
/** A function of the driver; returns its CUresult. */
export type Entry = (...args: Argument[]) => number;

/** The driver's library. Its functions are looked up when first used: an older driver lacks only the newer of them. */
export class Library {
  readonly name: string;
  readonly koffi: typeof Koffi;
  /** Context that is current on this thread; the driver's calls work on it. */
  current = 0;
  /** The kernel launched last without complaint, which is the one to suspect when a context turns out to be lost. */
  lastLaunch = 'none';
  readonly #handle: Koffi.LibraryHandle;
  readonly #entries = new Map<DriverFunction, Entry | undefined>();

  /** Opens `name`, or the first of the platform's names that exists. Throws NoDriver listing what was tried. */
  constructor(name?: string) {
    const names = name === undefined ? libraryNames(process.platform) : [name];
    if (names.length === 0) {
      throw new NoDriver(
        'CUDA_ERROR_SHARED_OBJECT_INIT_FAILED',
        `CUDA has no driver for ${process.platform}; Linux, Windows and WSL have one`,
      );
    }
    this.koffi = loadKoffi();
    const failures: string[] = [];
    for (const candidate of names) {
      try {
        this.#handle = this.koffi.load(candidate);
        this.name = candidate;
        return;
      } catch (error) {
        const reason = (error as Error).message.replace(/^Failed to load shared library: /, '');
        const absent = /No such file|could not be found/.test(reason);
        failures.push(absent ? candidate : `${candidate} (${reason})`);
      }
    }
    throw new NoDriver(
      'CUDA_ERROR_SHARED_OBJECT_INIT_FAILED',
      `no NVIDIA driver found: tried ${failures.join(', ')}. The NVIDIA driver is needed, the CUDA toolkit is not`,
    );
  }

  has(name: DriverFunction): boolean {
    return this.#find(name) !== undefined;
  }

  /** Throws CudaError (CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND) for a function that the driver is too old to have. */
  entry(name: DriverFunction): Entry {
    const found = this.#find(name);
    if (found !== undefined) return found;
    throw new CudaError(
      'CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND',
      `${this.name} has no ${name}; a newer NVIDIA driver is needed`,
    );
  }

  #find(name: DriverFunction): Entry | undefined {
    if (!this.#entries.has(name)) {
      let entry: Entry | undefined;
      try {
        entry = this.#handle.func(name, int, functions[name]) as Entry;
      } catch {
        entry = undefined;
      }
      this.#entries.set(name, entry);
    }
    return this.#entries.get(name);
  }
}

// Loaded late: the simulator, and who imports this package for it alone, need no native code.
function loadKoffi(): typeof Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as typeof Koffi;
  } catch (error) {
    throw new NoDriver(
      'CUDA_ERROR_SHARED_OBJECT_INIT_FAILED',
      `the CUDA driver is called through the package koffi, which has no binary for ${process.platform}-${process.arch} here`,
      { cause: error },
    );
  }
}
