import { bitsOf, fromBits } from './float.ts';
import type { Instrumentation } from './instrumentation.ts';
import type { Layout } from './layout.ts';
import { type Instruction, type Operand, opcode, PtxError, type Register } from './ptx.ts';
import { type Pair, type Parts, RegisterCache } from './registerCache.ts';
import { RunText } from './runText.ts';
import { specialRegister } from './specialRegisters.ts';

const literal32 = (value: bigint) => String(BigInt.asIntN(32, value));
const numberLiteral = (x: number) => (Object.is(x, -0) ? '-0' : String(x));

/**
 * Writes the JavaScript of a run of lane-local instructions. What an instruction means is written in terms of this class:
 * operands are read as expressions of the type that is wanted, and destinations assigned.
 */
export class LaneEmitter {
  readonly layout: Layout;
  readonly checks: Instrumentation;
  /** Registers that some path reads unassigned: their lanes with a value are tracked at run time. */
  readonly #tracked: ReadonlySet<Register>;
  /** Registers that take part in floating-point arithmetic, here or elsewhere: collected, and what loads prefer. */
  readonly #floats: Set<Register>;
  /** Registers that instructions read. */
  readonly reads = new Set<Register>();
  readonly text = new RunText();
  readonly #cache: RegisterCache;
  readonly #masks = new Map<Register, string>();
  readonly #site: (instruction: Instruction) => number;
  #carry: string | undefined;
  instruction!: Instruction;

  constructor(
    layout: Layout,
    checks: Instrumentation,
    tracked: ReadonlySet<Register>,
    floats: Set<Register>,
    site: (instruction: Instruction) => number,
  ) {
    this.layout = layout;
    this.checks = checks;
    this.#tracked = tracked;
    this.#floats = floats;
    this.#site = site;
    this.#cache = new RegisterCache(this.text, layout);
  }

  /** Registers whose value was needed (a guarded write needs the old one), and that were written. */
  get uses(): ReadonlySet<Register> {
    return this.#cache.uses;
  }
  get defs(): ReadonlySet<Register> {
    return this.#cache.defs;
  }

  /** Number that reports of this instruction carry. */
  site(): number {
    return this.#site(this.instruction);
  }

  error(message: string): PtxError {
    return new PtxError(this.instruction.line, `${opcode(this.instruction)}: ${message}`);
  }

  name(): string {
    return this.text.name();
  }
  line(text: string): void {
    this.text.line(text);
  }
  temp(expression: string): string {
    return this.text.temp(expression);
  }
  uniform(expression: string): string {
    return this.text.uniform(expression);
  }

  begin(instruction: Instruction): void {
    this.instruction = instruction;
    if (instruction.guard === undefined) return;
    const { register, negated } = instruction.guard;
    const condition = this.#cache.bool(register);
    this.#checkAssigned(register);
    this.text.beginGuard(negated ? `!${condition}` : condition);
  }

  end(): void {
    this.text.endGuard();
  }

  // ---- reading ----

  /** Operand as an i32 expression. Narrower registers hold their value zero-extended. */
  int(operand: Operand): string {
    switch (operand.kind) {
      case 'register':
        this.#checkAssigned(operand.register);
        return this.#cache.int(operand.register);
      case 'integer':
        return literal32(operand.value);
      case 'float':
        return String(operand.bits ?? bitsOf(Math.fround(operand.value)));
      case 'variable':
      case 'special':
        return this.pair(operand)[0];
      default:
        throw this.error(`unexpected ${operand.kind} operand`);
    }
  }

  /** Low 16 bits, zero-extended or sign-extended. */
  int16(operand: Operand, signed: boolean): string {
    if (operand.kind === 'integer')
      return String(signed ? BigInt.asIntN(16, operand.value) : BigInt.asUintN(16, operand.value));
    const value = this.int(operand);
    return signed ? `(${value} << 16 >> 16)` : `(${value} & 65535)`;
  }

  float(operand: Operand): string {
    if (operand.kind === 'register') {
      if (operand.register.bits !== 32) throw this.error(`${operand.register.name} is not 32 bits wide`);
      this.#checkAssigned(operand.register);
      this.#floats.add(operand.register);
      return this.#cache.float(operand.register);
    }
    if (operand.kind === 'float')
      return numberLiteral(operand.bits === undefined ? Math.fround(operand.value) : operand.value);
    if (operand.kind === 'integer') return numberLiteral(fromBits(Number(BigInt.asIntN(32, operand.value))));
    throw this.error(`unexpected ${operand.kind} operand`);
  }

  double(operand: Operand): string {
    if (operand.kind === 'register') {
      if (operand.register.bits !== 64) throw this.error(`${operand.register.name} is not 64 bits wide`);
      this.#checkAssigned(operand.register);
      this.#floats.add(operand.register);
      return this.#cache.double(operand.register);
    }
    if (operand.kind === 'float') return numberLiteral(operand.value);
    throw this.error(`unexpected ${operand.kind} operand`);
  }

  pair(operand: Operand): Pair {
    switch (operand.kind) {
      case 'register':
        if (operand.register.bits !== 64) throw this.error(`${operand.register.name} is not 64 bits wide`);
        this.#checkAssigned(operand.register);
        return this.#cache.pair(operand.register);
      case 'integer':
        return [literal32(operand.value), literal32(operand.value >> 32n)];
      case 'float': {
        const words = new Int32Array(new Float64Array([operand.value]).buffer);
        return [String(words[0]), String(words[1])];
      }
      case 'variable':
        return this.#symbol(operand);
      case 'special':
        return this.#special(operand.name);
      default:
        throw this.error(`unexpected ${operand.kind} operand`);
    }
  }

  /** Predicate operand (`%p`, `!%p`, 0 or 1) as a boolean expression. */
  bool(operand: Operand): string {
    if (operand.kind === 'not') return `!${this.bool(operand.operand)}`;
    if (operand.kind === 'integer') return operand.value === 0n ? 'false' : 'true';
    if (operand.kind !== 'register' || operand.register.bits !== 1) throw this.error('expected a predicate');
    this.#checkAssigned(operand.register);
    return this.#cache.bool(operand.register);
  }

  /** The carry flag that `.cc` instructions leave for the next one of the run. */
  carry(): string {
    if (this.#carry === undefined)
      throw this.error('reads the carry flag, which no instruction before it in its block wrote');
    return this.#carry;
  }

  setCarry(expression: string): void {
    if (this.text.guarded) throw this.error('a guarded write of the carry flag is not supported');
    this.#carry = this.temp(expression);
  }

  // Address of a variable within its state space; .global and .const addresses are generic ones.
  #symbol(operand: Operand & { kind: 'variable' }): Pair {
    const { variable, offset } = operand;
    const param = this.layout.params.get(variable);
    if (param !== undefined) return [String(param + offset), '0'];
    const place = this.layout.place(variable, this.instruction.line) + offset;
    return [String(place | 0), variable.space === 'global' || variable.space === 'const' ? 'GLOBAL' : '0'];
  }

  #special(name: string): Pair {
    const pair = specialRegister(this.text, name);
    if (pair === undefined) throw this.error(`special register ${name} is not supported`);
    return pair;
  }

  // ---- writing ----

  /** Assigns an i32 expression; registers narrower than 32 bits must get it zero-extended. */
  setInt(operand: Operand, expression: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits === 64 || register.bits === 1) throw this.error(`${register.name} is not 32 bits wide`);
    this.#assign(register, { int: expression });
  }

  /** Assigns the low 16 bits of an i32 expression. */
  setInt16(operand: Operand, expression: string): void {
    this.setInt(operand, `(${expression}) & 65535`);
  }

  setFloat(operand: Operand, expression: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits !== 32) throw this.error(`${register.name} is not 32 bits wide`);
    this.#floats.add(register);
    this.#assign(register, { float: expression });
  }

  setDouble(operand: Operand, expression: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits !== 64) throw this.error(`${register.name} is not 64 bits wide`);
    this.#floats.add(register);
    this.#assign(register, { double: expression });
  }

  setPair(operand: Operand, lo: string, hi: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits !== 64) throw this.error(`${register.name} is not 64 bits wide`);
    this.#assign(register, { lo, hi });
  }

  setBool(operand: Operand, expression: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits !== 1) throw this.error(`${register.name} is not a predicate`);
    this.#assign(register, { bool: expression });
  }

  /** A helper call that returns the low half and leaves the high half in `high[0]`. */
  setPairCall(operand: Operand, call: string): void {
    const lo = this.temp(call);
    this.setPair(operand, lo, this.temp('high[0]'));
  }

  /**
   * Assigns 32 or 64 bits that a load brings, as integer and as number: whichever nobody uses costs nothing, and bits that are
   * only passed on stay what they were (a NaN's payload does not survive being a number).
   */
  setLoaded32(operand: Operand, int: string, float: string): void {
    const register = this.#destination(operand);
    if (register !== undefined) this.#assign(register, this.#floats.has(register) ? { int, float } : { int });
  }

  setLoaded64(operand: Operand, lo: string, hi: string, double: string): void {
    const register = this.#destination(operand);
    if (register !== undefined) this.#assign(register, this.#floats.has(register) ? { lo, hi, double } : { lo, hi });
  }

  /** Whether an operand is known only as a number that an instruction of this run computed. */
  isComputed(operand: Operand): boolean {
    if (operand.kind !== 'register') return false;
    return this.#cache.isComputed(operand.register);
  }

  /** Whether an untyped value for this register is better produced as a number. */
  prefersFloat(operand: Operand): boolean {
    return operand.kind === 'register' && this.#floats.has(operand.register);
  }

  #destination(operand: Operand): Register | undefined {
    if (operand.kind === 'sink') return undefined;
    if (operand.kind !== 'register') throw this.error(`cannot write to a ${operand.kind} operand`);
    return operand.register;
  }

  #assign(register: Register, parts: Parts): void {
    this.#cache.assign(register, parts);
    if (this.#tracked.has(register)) this.line(`${this.#mask(register)} |= bit;`);
  }

  // `mov` copies an unassigned value without complaint, as compilers do with halves that nobody reads.
  #checkAssigned(register: Register): void {
    this.reads.add(register);
    if (!this.#tracked.has(register) || this.instruction.name === 'mov') return;
    this.line(
      `if ((${this.#mask(register)} & bit) === 0) unassigned(${this.site()}, w, l, ${JSON.stringify(register.name)});`,
    );
  }

  #mask(register: Register): string {
    let name = this.#masks.get(register);
    if (name === undefined) {
      name = this.text.name();
      const offset = this.layout.definedMask(register);
      this.text.head.push(`let ${name} = I[base + ${offset}];`);
      this.text.tail.push(`I[base + ${offset}] = ${name};`);
      this.#masks.set(register, name);
    }
    return name;
  }

  /** Ends the run: stores what it wrote of the registers in `live`, and returns its statements. */
  finish(live: ReadonlySet<Register>): string[] {
    this.#cache.flush(live);
    return this.text.code();
  }
}
