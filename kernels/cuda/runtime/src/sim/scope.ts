import { PtxError, type Register, type RegisterBits, type Variable } from './ptx.ts';

/**
 * Names of one `{ … }` of a function. Registers must be declared before use; labels and variables may be used before, so
 * operands that name them are resolved when the function ends. Every name becomes unique within the function.
 */
export class Scope {
  readonly registers = new Map<string, Register>();
  readonly variables = new Map<string, Variable>();
  readonly labels = new Map<string, string>();
  /** Families declared as `%r<26>`: base name → width and count. */
  readonly families = new Map<string, { bits: RegisterBits; count: number }>();
  readonly parent: Scope | undefined;
  readonly depth: string;

  constructor(parent: Scope | undefined, depth: string) {
    this.parent = parent;
    this.depth = depth;
  }

  /** The register of that name, made on first use when it belongs to a declared family; undefined if there is none. */
  register(name: string, all: Register[]): Register | undefined {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      const known = scope.registers.get(name);
      if (known !== undefined) return known;
      const member = /^(.*?)(\d+)$/.exec(name);
      // A family's base name may itself end in digits, so every cut between base and index is tried.
      if (member !== null) {
        for (let cut = member[1].length; cut < name.length; cut++) {
          const family = scope.families.get(name.slice(0, cut));
          if (family !== undefined && Number(name.slice(cut)) < family.count) {
            return scope.declare(name, family.bits, all);
          }
        }
      }
    }
    return undefined;
  }

  declare(name: string, bits: RegisterBits, all: Register[]): Register {
    const register: Register = { name, bits, id: all.length };
    all.push(register);
    this.registers.set(name, register);
    return register;
  }

  variable(name: string): Variable | undefined {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      const known = scope.variables.get(name);
      if (known !== undefined) return known;
    }
    return undefined;
  }

  /** Unique name of a label that is visible here. */
  label(name: string): string | undefined {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      const known = scope.labels.get(name);
      if (known !== undefined) return known;
    }
    return undefined;
  }

  defineLabel(name: string, line: number): string {
    if (this.labels.has(name)) throw new PtxError(line, `label ${name} is defined twice`);
    const unique = this.parent === undefined ? name : `${name}@${this.depth}`;
    this.labels.set(name, unique);
    return unique;
  }
}
