import { type Instruction, opcode, PtxError } from './ptx.ts';

/** Consumes an instruction's modifiers; what nobody asked for is an error, so that no modifier is ever ignored by accident. */
export class Modifiers {
  readonly #instruction: Instruction;
  readonly #left: string[];

  constructor(instruction: Instruction) {
    this.#instruction = instruction;
    this.#left = [...instruction.modifiers];
  }

  /** Takes the first of `options` that is present. */
  take<T extends string>(...options: readonly T[]): T | undefined {
    const found = options.find((option) => this.#left.includes(option));
    if (found !== undefined) this.#left.splice(this.#left.indexOf(found), 1);
    return found;
  }

  flag(name: string): boolean {
    return this.take(name) !== undefined;
  }

  need<T extends string>(...options: readonly T[]): T {
    const found = this.take(...options);
    if (found === undefined) throw this.error(`needs one of .${options.join(' .')}`);
    return found;
  }

  /** Takes the first modifier left, which must be one of `options`: for types that may repeat, as in cvt. */
  next<T extends string>(...options: readonly T[]): T {
    const first = this.#left[0] as T | undefined;
    if (first === undefined || !options.includes(first)) throw this.error(`expected one of .${options.join(' .')}`);
    this.#left.shift();
    return first;
  }

  end(): void {
    if (this.#left.length > 0) throw this.error(`modifier .${this.#left[0]} is not supported`);
  }

  error(message: string): PtxError {
    return new PtxError(this.#instruction.line, `${opcode(this.#instruction)}: ${message}`);
  }
}
