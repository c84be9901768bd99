import { views } from './deviceMemory.ts';
import { mmaModule, placeFile, placeSums } from './mma.ts';

/** The registers of a block's warps, and the matrix products that work on them. */
export interface RegisterFile {
  readonly data: ReturnType<typeof views>;
  /** See mma.ts. */
  readonly products: Record<string, (...rows: number[]) => void>;
  /** What the products sum up, by register of C and lane. */
  readonly sums: Float64Array;
}

const pageBytes = 65536;
const leastBytes = 2 ** 22;

function compileMma(): WebAssembly.Module {
  const relaxed = mmaModule(true);
  return new WebAssembly.Module(WebAssembly.validate(relaxed) ? relaxed : mmaModule(false));
}

let module: WebAssembly.Module | undefined;
let current: RegisterFile | undefined;

/**
 * A register file of at least `bytes`, whose contents are anything. It is the same one for all kernels of all devices: a launch
 * runs to its end before anything else does, and engines set gigabytes of address space aside for each WebAssembly memory.
 */
export function registerFile(bytes: number): RegisterFile {
  if (current === undefined || current.data.bytes.length < bytes) {
    const size = Math.max(leastBytes, 2 * bytes) + placeFile;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(size / pageBytes) });
    module ??= compileMma();
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    current = {
      data: views(memory.buffer, placeFile),
      products: exports as RegisterFile['products'],
      sums: new Float64Array(memory.buffer, placeSums, 4 * 32),
    };
  }
  return current;
}
