import { LaunchError } from '../errors.ts';
import type { DeviceAttributes, Dim3 } from '../runtime.ts';
import type { Context } from './context.ts';
import type { Entry } from './library.ts';
import type { DriverKernel } from './module.ts';
import { describe, failure, poisons } from './result.ts';

/** Most bytes of parameters any kernel has (PTX 8.1, sm_70). */
const maxArguments = 32764;

/**
 * cuLaunchKernel through its `extra` array: one block of argument bytes whose address is taken once, so that a launch
 * copies its arguments and makes one call. The driver has read them when that returns.
 */
export class Launcher {
  readonly #context: Context;
  readonly #attributes: DeviceAttributes;
  readonly #launch: Entry;
  readonly #args = new Uint8Array(maxArguments + 4);
  /** A size_t, low word first. */
  readonly #size = new Uint32Array(16);
  readonly #extra: BigUint64Array;

  constructor(context: Context, attributes: DeviceAttributes) {
    this.#context = context;
    this.#attributes = attributes;
    this.#launch = context.library.entry('cuLaunchKernel');
    const { koffi } = context.library;
    // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
    this.#extra = BigUint64Array.of(1n, koffi.address(this.#args), 2n, koffi.address(this.#size), 0n);
  }

  launch(kernel: DriverKernel, grid: Dim3, block: Dim3, shared: number, args: Uint8Array, stream: number): void {
    if (args.length > maxArguments) {
      throw new LaunchError(
        'CUDA_ERROR_INVALID_VALUE',
        `${kernel.name}: ${args.length} bytes of arguments, at most ${maxArguments}`,
      );
    }
    this.#args.set(args);
    this.#size[0] = args.length;
    this.#context.enter();
    const [gx, gy, gz] = grid;
    const [bx, by, bz] = block;
    const extra = args.length > 0 ? this.#extra : null;
    const result = this.#launch(kernel.handle, gx, gy, gz, bx, by, bz, shared, stream, null, extra);
    const { library } = this.#context;
    if (poisons(result)) throw failure(library, result, `launch of ${kernel.name}`);
    if (result !== 0) throw this.#refused(result, kernel, grid, block, shared, args.length);
    library.lastLaunch = kernel.name;
  }

  // The driver says no more than "invalid argument" or "too many resources requested": compare with what is known.
  #refused(result: number, kernel: DriverKernel, grid: Dim3, block: Dim3, shared: number, args: number): LaunchError {
    const { maxGrid, maxBlock } = this.#attributes;
    const threads = block[0] * block[1] * block[2];
    const reasons: string[] = [];
    for (let axis = 0; axis < 3; axis++) {
      if (!(grid[axis] >= 1 && grid[axis] <= maxGrid[axis])) reasons.push(`grid (${grid}) is outside (${maxGrid})`);
      if (!(block[axis] >= 1 && block[axis] <= maxBlock[axis]))
        reasons.push(`block (${block}) is outside (${maxBlock})`);
    }
    if (threads > kernel.maxThreads) reasons.push(`${threads} threads a block, the kernel allows ${kernel.maxThreads}`);
    if (shared > kernel.maxDynamicShared) {
      const allowed = `allowed are ${kernel.maxDynamicShared} (see setMaxDynamicShared)`;
      reasons.push(`${shared} bytes of dynamic shared memory, ${allowed}`);
    }
    if (reasons.length === 0) {
      reasons.push(
        `grid (${grid}), block (${block}), ${shared} bytes of dynamic shared memory, ${args} bytes of arguments`,
      );
    }
    const { code, text } = describe(this.#context.library, result);
    return new LaunchError(code, `${kernel.name}: ${reasons.join('; ')}: ${code} (${result}, ${text})`, { result });
  }
}
