// Devices that the CUDA backend takes for GPUs: scratch memory stays and grows, and what the host reads arrives some time later.
import { type Device, type Kernel, type Module, openSimulator } from '../../kernels/cuda/runtime/src/index.ts';

/** What cuMemAllocAsync rounds up to, as its users see it (github.com/NVIDIA/cudf/issues/10384). */
const POOL_ALIGNMENT = 512;

/** A device that the backend takes for a GPU, and that adds up what is taken of its memory. */
export interface Gpu {
  device: Device;
  /** Most bytes of the pool in use at any time. */
  readonly peakBytes: number;
}

function gpu(base: Device, replaced: Partial<Device>): Gpu {
  const live = new Map<number, number>();
  let [bytes, peakBytes] = [0, 0];
  const { alloc, free } = { alloc: base.alloc.bind(base), free: base.free.bind(base), ...replaced };
  const own: Partial<Device> = {
    ...replaced,
    simulated: false,
    memoryInfo: () => ({ freeBytes: 2 ** 34, totalBytes: 2 ** 34 }),
    alloc: (size) => {
      const pointer = alloc(size);
      live.set(pointer, POOL_ALIGNMENT * Math.ceil(size / POOL_ALIGNMENT));
      bytes += live.get(pointer) as number;
      peakBytes = Math.max(peakBytes, bytes);
      return pointer;
    },
    free: (pointer) => {
      free(pointer);
      bytes -= live.get(pointer) as number;
      live.delete(pointer);
    },
    createEvent: () => {
      const event = base.createEvent();
      event.synchronize = () => new Promise((happened) => setTimeout(happened, 2));
      return event;
    },
  };
  const device = new Proxy(base, {
    get(_, key) {
      if (key in own) return own[key as keyof Device];
      const value = Reflect.get(base, key);
      return typeof value === 'function' ? value.bind(base) : value;
    },
  });
  return {
    device,
    get peakBytes() {
      return peakBytes;
    },
  };
}

/** Computes. */
export const simulatedGpu = (): Gpu => gpu(openSimulator({ memoryBytes: 2 ** 28, checks: { races: false } }), {});

/** Has memory for anything, since nothing is kept in it: every number read is 0. */
export function emptyGpu(launch: Device['launch'] = () => {}): Gpu {
  let end = POOL_ALIGNMENT;
  const getFunction = (name: string): Kernel => ({
    ...{ name, registers: undefined, sharedBytes: 0, localBytes: 0, maxThreads: 1024 },
    setMaxDynamicShared() {},
  });
  return gpu(openSimulator({ memoryBytes: 2 ** 17 }), {
    alloc: (size) => {
      end += POOL_ALIGNMENT * Math.ceil(size / POOL_ALIGNMENT);
      return end;
    },
    free() {},
    writeAsync() {},
    readAsync: (destination) => void destination.fill(0),
    launch,
    loadModule: () => ({ getFunction, infoLog: '', [Symbol.dispose]() {} }) as Partial<Module> as Module,
  });
}
