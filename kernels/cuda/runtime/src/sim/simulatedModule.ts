import { CudaError, InvalidPtx } from '../errors.ts';
import type { DevicePointer, Kernel, Module } from '../runtime.ts';
import { compileKernel } from './compile.ts';
import { globalBase, shadow, windows } from './deviceMemory.ts';
import { type Machine, SimulatedKernel } from './kernel.ts';
import { PtxError, type PtxFunction, type PtxModule, type Variable } from './ptx.ts';
import type { Assembly } from './ptxas.ts';
import { type Owner, Resource } from './resource.ts';

/** A module of a simulated device: its variables in device memory, its kernels, each compiled when it is first asked for. */
export class SimulatedModule extends Resource implements Module {
  readonly infoLog: string;
  readonly #machine: Machine;
  readonly #name: string;
  readonly #parsed: PtxModule;
  readonly #assembly: Assembly | undefined;
  readonly #entries: ReadonlyMap<string, PtxFunction>;
  readonly #kernels = new Map<string, SimulatedKernel>();
  readonly #globals = new Map<Variable, number>();

  constructor(owner: Owner, machine: Machine, parsed: PtxModule, name: string, assembly: Assembly | undefined) {
    super(owner, `module (${name})`);
    this.infoLog = assembly?.log ?? '';
    this.#machine = machine;
    this.#name = name;
    this.#parsed = parsed;
    this.#assembly = assembly;
    const own = [...parsed.functions.values()].flatMap((fn) => fn.variables);
    const variables = [...parsed.variables, ...own].filter(({ space }) => space === 'global' || space === 'const');
    for (const variable of variables) this.#globals.set(variable, machine.global.alloc(Math.max(variable.bytes, 1)));
    for (const variable of variables) this.#initialise(variable, variables);
    const entries = [...parsed.functions.values()].filter((fn) => fn.entry && fn.body !== undefined);
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
  }

  // Module variables without initialiser are zero, as the driver makes them.
  #initialise(variable: Variable, all: readonly Variable[]): void {
    const { data, shadow: state } = this.#machine.global;
    const offset = this.#globals.get(variable)!;
    data.bytes.fill(0, offset, offset + variable.bytes);
    if (variable.initial !== undefined) data.bytes.set(variable.initial, offset);
    for (const relocation of variable.relocations) {
      const target = all.find((other) => other.name === relocation.symbol);
      if (target === undefined)
        throw new InvalidPtx('CUDA_ERROR_INVALID_PTX', `${this.#name}: unknown name ${relocation.symbol}`, '');
      data.ints[(offset + relocation.offset) >>> 2] = this.#globals.get(target)! + relocation.addend;
      data.ints[((offset + relocation.offset) >>> 2) + 1] = windows.GLOBAL;
    }
    state.bytes.fill(shadow.written, offset, offset + variable.bytes);
  }

  getFunction(name: string): Kernel {
    this.check();
    let kernel = this.#kernels.get(name);
    if (kernel === undefined) {
      kernel = this.#compile(name);
      this.#kernels.set(name, kernel);
    }
    return kernel;
  }

  // Modules have a kernel for each type of weight, of which a program uses few, and compiling takes longer than running.
  #compile(name: string): SimulatedKernel {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      throw new CudaError(
        'CUDA_ERROR_NOT_FOUND',
        `${this.#name} has no kernel ${name}; it has ${[...this.#entries.keys()].join(', ') || 'none'}`,
      );
    }
    const { checks } = this.#machine;
    const compiled = attempt(this.#name, () => compileKernel(this.#parsed, entry, this.#globals, checks));
    return new SimulatedKernel(this, this.#machine, compiled, this.#assembly?.registers.get(name));
  }

  getGlobal(name: string): { pointer: DevicePointer; bytes: number } {
    this.check();
    for (const [variable, offset] of this.#globals) {
      if (variable.name === name) return { pointer: globalBase + offset, bytes: variable.bytes };
    }
    throw new CudaError('CUDA_ERROR_NOT_FOUND', `${this.#name} has no variable ${name}`);
  }

  protected override release(): void {
    for (const offset of this.#globals.values()) this.#machine.global.free(offset);
    this.#globals.clear();
  }
}

/** Runs `work`; a refusal of the PTX becomes InvalidPtx naming the module. */
export function attempt<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PtxError)) throw error;
    throw new InvalidPtx('CUDA_ERROR_INVALID_PTX', `${name}: ${error.message}`, error.message, { cause: error });
  }
}
