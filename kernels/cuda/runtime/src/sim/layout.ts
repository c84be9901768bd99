import type { PtxFunction, Register, Variable } from './ptx.ts';
import { PtxError } from './ptx.ts';

/** Bytes at least between a kernel's shared variables that belong to none, so that running over an end is seen. */
const redZone = 128;
/** Shared variables keep their place modulo this, hence their banks and what swizzles by xor see of their address. */
const sharedModulus = 1024;

const alignUp = (n: number, to: number) => Math.ceil(n / to) * to;

/**
 * Where a kernel's registers, variables and parameters lie.
 *
 * A warp's register file is a run of 32-bit words: 32 for a 32-bit register (one a lane), 64 for a 64-bit one (low and high
 * word of lane 0, of lane 1, …), one for a predicate (bit l is lane l). Only registers that live across blocks get a place.
 */
export class Layout {
  /** Words at the start of each warp's file: tid.x, tid.y, tid.z, one row each. */
  static readonly tidRows = [0, 32, 64];
  #words = 96;
  readonly #rows = new Map<Register, number>();
  readonly #definedMasks = new Map<Register, number>();
  readonly #places = new Map<Variable, number>();
  readonly params = new Map<Variable, number>();
  readonly paramBytes: number;
  /** Static shared bytes as ptxas would count them. */
  readonly sharedBytes: number;
  /** Shared variables with their place in the simulated arena, which has red zones between them. */
  readonly shared: { readonly variable: Variable; readonly offset: number }[] = [];
  /** Where dynamic shared memory begins. */
  readonly dynamicShared: number;
  readonly localBytes: number;
  /** Local variables of a thread that may be accessed. */
  readonly local: { readonly variable: Variable; readonly offset: number }[] = [];

  constructor(fn: PtxFunction, moduleVariables: readonly Variable[], globals: ReadonlyMap<Variable, number>) {
    let param = 0;
    for (const variable of fn.params) {
      param = alignUp(param, variable.align);
      this.params.set(variable, param);
      param += variable.bytes;
    }
    this.paramBytes = param;
    const used = usedVariables(fn);
    let real = 0;
    let simulated = redZone;
    let dynamicAlign = 16;
    const dynamic: Variable[] = [];
    let local = 0;
    for (const variable of new Set([...moduleVariables, ...fn.variables])) {
      if (!used.has(variable) || this.params.has(variable)) continue;
      if (variable.space === 'shared' && variable.extern) {
        dynamic.push(variable);
        dynamicAlign = Math.max(dynamicAlign, variable.align);
      } else if (variable.space === 'shared') {
        real = alignUp(real, variable.align);
        simulated = alignUp(simulated, sharedModulus) + (real % sharedModulus);
        this.#places.set(variable, simulated);
        this.shared.push({ variable, offset: simulated });
        simulated += variable.bytes + redZone;
        real += variable.bytes;
      } else if (variable.space === 'local' || variable.space === 'param') {
        local = alignUp(local + 16, Math.max(variable.align, 4));
        this.#places.set(variable, local);
        this.local.push({ variable, offset: local });
        local += variable.bytes;
      }
    }
    for (const [variable, address] of globals) this.#places.set(variable, address);
    this.sharedBytes = real;
    this.dynamicShared = alignUp(simulated, sharedModulus) + (alignUp(real, dynamicAlign) % sharedModulus);
    // The arena holds 512 KiB, and a launch may add 227 KiB behind this.
    if (this.dynamicShared > 2 ** 18)
      throw new PtxError(fn.line, `${fn.name}: ${real} bytes of static shared memory are too many`);
    for (const variable of dynamic) this.#places.set(variable, this.dynamicShared);
    this.localBytes = local === 0 ? 0 : alignUp(local + 16, 16);
  }

  /** Offset of a variable within its space (from the arena's start for .global and .const). */
  place(variable: Variable, line: number): number {
    const place = this.#places.get(variable);
    if (place === undefined) throw new PtxError(line, `variable ${variable.name} has no storage`);
    return place;
  }

  /** Words of register file that a warp needs; even, so that f64 views start on a word pair. */
  get words(): number {
    return alignUp(this.#words, 32);
  }

  /** Word offset of a register in its warp's file. */
  row(register: Register): number {
    let row = this.#rows.get(register);
    if (row === undefined) {
      const words = register.bits === 1 ? 1 : register.bits === 64 ? 64 : 32;
      if (words === 64) this.#words = alignUp(this.#words, 2);
      row = this.#words;
      this.#words += words;
      this.#rows.set(register, row);
    }
    return row;
  }

  /** Word offset of the mask of lanes in which a register that is not always assigned has a value. */
  definedMask(register: Register): number {
    let offset = this.#definedMasks.get(register);
    if (offset === undefined) {
      offset = this.#words++;
      this.#definedMasks.set(register, offset);
    }
    return offset;
  }

  get definedMasks(): Iterable<number> {
    return this.#definedMasks.values();
  }
}

function usedVariables(fn: PtxFunction): Set<Variable> {
  const used = new Set<Variable>();
  const visit = (operand: import('./ptx.ts').Operand | undefined): void => {
    if (operand === undefined) return;
    if (operand.kind === 'variable') used.add(operand.variable);
    else if (operand.kind === 'address') visit(operand.base);
    else if (operand.kind === 'vector' || operand.kind === 'list') operand.elements.forEach(visit);
  };
  for (const instruction of fn.body ?? []) instruction.operands.forEach(visit);
  return used;
}
