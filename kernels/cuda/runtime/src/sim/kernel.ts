import { LaunchError } from '../errors.ts';
import type { DeviceAttributes, Dim3, Kernel } from '../runtime.ts';
import { AsyncCopies } from './asyncCopy.ts';
import { blockMemory } from './blockMemory.ts';
import type { CompiledKernel } from './compile.ts';
import { AccessCounter, type LaunchCounts } from './counters.ts';
import { type DeviceMemory, views } from './deviceMemory.ts';
import { environment } from './environment.ts';
import type { Instrumentation } from './instrumentation.ts';
import { LocalMemory } from './localMemory.ts';
import type { Reporter } from './report.ts';
import type { Resource } from './resource.ts';
import { type BlockFunction, Scheduler } from './scheduler.ts';
import { SharedMemory } from './sharedMemory.ts';

/** What the kernels of one simulated device share. */
export interface Machine {
  readonly attributes: DeviceAttributes;
  readonly checks: Instrumentation;
  readonly global: DeviceMemory;
  readonly reporter: Reporter;
  readonly stepLimit: number;
}

const paramBytes = 4096;

/** A kernel of a simulated device: compiled PTX, and the memory that its blocks have for themselves. */
export class SimulatedKernel implements Kernel {
  readonly name: string;
  readonly registers: number | undefined;
  readonly sharedBytes: number;
  readonly localBytes: number;
  readonly maxThreads: number;
  readonly module: Resource;
  readonly #machine: Machine;
  readonly #compiled: CompiledKernel;
  #maxDynamicShared: number;
  #prepared: ReturnType<SimulatedKernel['prepare']> | undefined;

  constructor(module: Resource, machine: Machine, compiled: CompiledKernel, registers: number | undefined) {
    this.module = module;
    this.registers = registers;
    const { fn, layout } = compiled;
    this.name = fn.name;
    this.#machine = machine;
    this.#compiled = compiled;
    this.sharedBytes = layout.sharedBytes;
    this.localBytes = layout.local.reduce((sum, { variable }) => sum + variable.bytes, 0);
    this.maxThreads = Math.min(fn.maxThreads ?? Infinity, machine.attributes.maxThreadsPerBlock);
    this.#maxDynamicShared = machine.attributes.sharedMemoryPerBlock - this.sharedBytes;
  }

  setMaxDynamicShared(bytes: number): void {
    const limit = this.#machine.attributes.sharedMemoryPerBlockOptin - this.sharedBytes;
    if (bytes > limit) {
      throw new LaunchError(
        'CUDA_ERROR_INVALID_VALUE',
        `${this.name}: ${bytes} bytes of dynamic shared memory, the device allows ${limit}`,
      );
    }
    this.#maxDynamicShared = Math.max(bytes, this.#maxDynamicShared);
  }

  // Made at the first launch.
  private prepare() {
    const { checks, global, reporter, stepLimit } = this.#machine;
    const { layout, functions, sites } = this.#compiled;
    const warps = Math.ceil(this.maxThreads / 32);
    const memory = blockMemory(4 * layout.words * warps);
    const { file } = memory;
    const shared = new SharedMemory(memory, reporter, checks.races);
    const params = views(new ArrayBuffer(paramBytes + 16));
    const uniforms = new Int32Array(16);
    const local = new LocalMemory(layout, warps * 32, reporter, checks.uninitialised);
    const counter = new AccessCounter();
    const copies = new AsyncCopies(memory, global, shared, reporter, checks, counter);
    const scheduler = new Scheduler(file.ints, reporter, memory.clocks, checks.sync, stepLimit);
    const addresses = new Int32Array(32 * sites.length);
    const blockCounts = new Float64Array(2 * functions.length);
    const names = {
      checks,
      global,
      shared,
      local,
      params,
      memory,
      uniforms,
      copies,
      scheduler,
      reporter,
      counter,
      addresses,
      blockCounts,
    };
    const env = environment(names);
    const source = `'use strict';\nconst { ${Object.keys(env).join(', ')} } = env;\n${functions.join('\n')}\nreturn [${functions.map((_, i) => `block${i}`).join(', ')}];`;
    const blocks = new Function('env', source)(env) as BlockFunction[];
    return { file, shared, params, uniforms, local, copies, scheduler, counter, blockCounts, blocks };
  }

  /** Runs the whole grid. Findings go to the machine's reporter. Throws LaunchError for a launch that a device would refuse. */
  run(grid: Dim3, block: Dim3, dynamicShared: number, args: Uint8Array): LaunchCounts | undefined {
    const { attributes, checks, reporter } = this.#machine;
    const { layout, sites } = this.#compiled;
    const threads = block[0] * block[1] * block[2];
    const refuse = (message: string) => new LaunchError('CUDA_ERROR_INVALID_VALUE', `${this.name}: ${message}`);
    for (let axis = 0; axis < 3; axis++) {
      if (!(grid[axis] >= 1 && grid[axis] <= attributes.maxGrid[axis]))
        throw refuse(`grid (${grid}) is outside (${attributes.maxGrid})`);
      if (!(block[axis] >= 1 && block[axis] <= attributes.maxBlock[axis]))
        throw refuse(`block (${block}) is outside (${attributes.maxBlock})`);
    }
    if (threads > this.maxThreads) throw refuse(`${threads} threads a block, the kernel allows ${this.maxThreads}`);
    if (dynamicShared > this.#maxDynamicShared) {
      throw refuse(
        `${dynamicShared} bytes of dynamic shared memory, allowed are ${this.#maxDynamicShared} (see setMaxDynamicShared)`,
      );
    }
    if (args.length !== layout.paramBytes)
      throw refuse(`${args.length} bytes of arguments, its parameters take ${layout.paramBytes}`);

    this.#prepared ??= this.prepare();
    const { file, shared, params, uniforms, local, copies, scheduler, counter, blockCounts, blocks } = this.#prepared;
    params.bytes.set(args);
    const warps = Math.ceil(threads / 32);
    uniforms.set([...block, 0, 0, 0, ...grid, warps, dynamicShared, this.sharedBytes + dynamicShared]);
    const words = layout.words;
    for (let t = 0; t < warps * 32; t++) {
      const at = Math.floor(t / 32) * words + (t % 32);
      file.ints[at] = t % block[0];
      file.ints[at + 32] = Math.floor(t / block[0]) % block[1];
      file.ints[at + 64] = Math.floor(t / (block[0] * block[1]));
    }
    const ranges = layout.shared.map(({ variable, offset }) => ({
      name: variable.name,
      offset,
      bytes: variable.bytes,
    }));
    if (dynamicShared > 0) ranges.push({ name: 'dynamic', offset: layout.dynamicShared, bytes: dynamicShared });
    reporter.position.kernel = this.name;
    reporter.position.sites = sites;
    reporter.position.blockDim = block;
    scheduler.begin();
    blockCounts.fill(0);
    const masks = [...layout.definedMasks];
    for (let z = 0; z < grid[2]; z++) {
      for (let y = 0; y < grid[1]; y++) {
        for (let x = 0; x < grid[0]; x++) {
          uniforms[3] = x;
          uniforms[4] = y;
          uniforms[5] = z;
          reporter.position.block = [x, y, z];
          shared.begin(ranges, warps, checks.uninitialised);
          local.begin(warps * 32);
          copies.begin(warps);
          for (const mask of masks) for (let w = 0; w < warps; w++) file.ints[w * words + mask] = 0;
          try {
            scheduler.run(blocks, threads, words);
          } finally {
            shared.end();
          }
        }
      }
    }
    if (!checks.counters) return undefined;
    return this.#collect(counter, blockCounts);
  }

  #collect(counter: AccessCounter, blockCounts: Float64Array): LaunchCounts {
    const counts = counter.take();
    for (const [b, classes] of this.#compiled.classes.entries()) {
      const [runs, lanes] = [blockCounts[2 * b], blockCounts[2 * b + 1]];
      for (const [name, n] of classes) {
        counts.byClass.set(name, (counts.byClass.get(name) ?? 0) + n * runs);
        counts.warpInstructions += n * runs;
        counts.threadInstructions += n * lanes;
      }
    }
    return counts;
  }
}
