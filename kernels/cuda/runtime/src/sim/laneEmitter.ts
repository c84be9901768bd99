import { bitsOf, fromBits } from './float.ts';
import type { Layout } from './layout.ts';
import { type Instruction, type Operand, opcode, PtxError, type PtxFunction, type Register } from './ptx.ts';

/** What the generated code checks and counts; fixed when a device is opened, because it changes the code. */
export interface Instrumentation {
  /** Bounds, alignment and lifetime of every access. */
  readonly memory: boolean;
  /** Reads of memory and registers that nobody wrote (memory needs `memory`). */
  readonly uninitialised: boolean;
  /** Shared-memory races between warps and within one (needs `memory`). */
  readonly races: boolean;
  /** Divergent barriers and wrong member masks. */
  readonly sync: boolean;
  /** Instruction, sector and wavefront counts. */
  readonly counters: boolean;
}

// Names of the JavaScript variables that hold a register's value within the run, by representation. Any subset may be valid.
interface Value {
  int?: string;
  float?: string;
  lo?: string;
  hi?: string;
  double?: string;
  bool?: string;
  dirty: boolean;
}

/** A 64-bit integer as expressions of its i32 halves. */
export type Pair = readonly [lo: string, hi: string];

/** Stores a number as f32 or f64, a NaN as PTX's canonical one: what a JavaScript NaN's bits are is the engine's business. */
export function storeFloat(letter: string, index: string, value: string): string {
  return `if (${value} === ${value}) ${letter}F[${index}] = ${value}; else ${letter}I[${index}] = 0x7fffffff;`;
}
export function storeDouble(letter: string, index: string, word: string, value: string): string {
  const nan = `{ ${letter}I[${word}] = 0; ${letter}I[${word} + 1] = 0x7ff80000; }`;
  return `if (${value} === ${value}) ${letter}D[${index}] = ${value}; else ${nan}`;
}

const literal32 = (value: bigint) => String(BigInt.asIntN(32, value));
const numberLiteral = (x: number) => (Object.is(x, -0) ? '-0' : String(x));

/**
 * Writes the JavaScript of a run of lane-local instructions: the body of a loop over the active lanes in which registers are
 * JavaScript constants, loaded from the warp's register file where first read and stored back once if still live afterwards.
 *
 * Every assignment makes a new constant; a guarded one makes a variable that starts as the old value. A register is kept in
 * the representation that its instruction produced (i32, number, pair) and converted when another is asked for.
 */
export class LaneEmitter {
  readonly fn: PtxFunction;
  readonly layout: Layout;
  readonly checks: Instrumentation;
  /** Registers that some path reads unassigned: their lanes with a value are tracked at run time. */
  readonly tracked: ReadonlySet<Register>;
  /** Registers whose value was needed (a guarded write needs the old one), that instructions read, and that they wrote. */
  readonly uses = new Set<Register>();
  readonly reads = new Set<Register>();
  readonly defs = new Set<Register>();
  /** Registers read or written as floating point: an untyped load prefers that representation. */
  readonly floats: Set<Register>;
  /** Statements before and after the loop, and in it. */
  readonly head: string[] = [];
  readonly tail: string[] = [];
  readonly body: string[] = [];
  #inner: string[] | undefined;
  readonly #values = new Map<Register, Value>();
  readonly #shared = new Map<string, string>();
  readonly #masks = new Map<Register, string>();
  #names = 0;
  instruction!: Instruction;
  #site: (instruction: Instruction) => number;

  constructor(
    fn: PtxFunction,
    layout: Layout,
    checks: Instrumentation,
    tracked: ReadonlySet<Register>,
    floats: Set<Register>,
    site: (instruction: Instruction) => number,
  ) {
    this.fn = fn;
    this.layout = layout;
    this.checks = checks;
    this.tracked = tracked;
    this.floats = floats;
    this.#site = site;
  }

  /** Number that reports of this instruction carry. */
  site(): number {
    return this.#site(this.instruction);
  }

  error(message: string): PtxError {
    return new PtxError(this.instruction.line, `${opcode(this.instruction)}: ${message}`);
  }

  name(): string {
    return `v${this.#names++}`;
  }

  /** Emits a statement of the current instruction. */
  line(text: string): void {
    (this.#inner ?? this.body).push(text);
  }

  /** Names an expression, so that it is evaluated once. */
  temp(expression: string): string {
    const name = this.name();
    this.line(`const ${name} = ${expression};`);
    return name;
  }

  /** Names an expression that is the same in all lanes and evaluates it before the loop. */
  uniform(expression: string): string {
    let name = this.#shared.get(expression);
    if (name === undefined) {
      name = this.name();
      this.head.push(`const ${name} = ${expression};`);
      this.#shared.set(expression, name);
    }
    return name;
  }

  begin(instruction: Instruction): void {
    this.instruction = instruction;
    if (instruction.guard !== undefined) {
      const { register, negated } = instruction.guard;
      const condition = this.#bool(register);
      this.#checkAssigned(register);
      this.#inner = [];
      this.#guard = negated ? `!${condition}` : condition;
    }
  }

  #guard = '';

  end(): void {
    if (this.#inner === undefined) return;
    this.body.push(`if (${this.#guard}) {`, ...this.#inner, '}');
    this.#inner = undefined;
  }

  // ---- reading ----

  /** Operand as an i32 expression. Narrower registers hold their value zero-extended. */
  int(operand: Operand): string {
    switch (operand.kind) {
      case 'register':
        this.#checkAssigned(operand.register);
        return this.#int(operand.register);
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
      this.floats.add(operand.register);
      return this.#float(operand.register);
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
      this.floats.add(operand.register);
      return this.#double(operand.register);
    }
    if (operand.kind === 'float') return numberLiteral(operand.value);
    throw this.error(`unexpected ${operand.kind} operand`);
  }

  pair(operand: Operand): Pair {
    switch (operand.kind) {
      case 'register':
        if (operand.register.bits !== 64) throw this.error(`${operand.register.name} is not 64 bits wide`);
        this.#checkAssigned(operand.register);
        return this.#pair(operand.register);
      case 'integer':
        return [literal32(operand.value), literal32(operand.value >> 32n)];
      case 'float': {
        const words = new Int32Array(new Float64Array([operand.value]).buffer);
        return [String(words[0]), String(words[1])];
      }
      case 'variable':
        return this.#symbol(operand);
      case 'special':
        return this.special(operand.name);
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
    return this.#bool(operand.register);
  }

  /** The carry flag that `.cc` instructions leave for the next one of the run. */
  carry(): string {
    if (this.#carry === undefined)
      throw this.error('reads the carry flag, which no instruction before it in its block wrote');
    return this.#carry;
  }

  setCarry(expression: string): void {
    if (this.#inner !== undefined) throw this.error('a guarded write of the carry flag is not supported');
    this.#carry = this.temp(expression);
  }

  #carry: string | undefined;

  // Address of a variable within its state space; .global and .const addresses are generic ones.
  #symbol(operand: Operand & { kind: 'variable' }): Pair {
    const { variable, offset } = operand;
    const param = this.layout.params.get(variable);
    if (param !== undefined) return [String(param + offset), '0'];
    const place = this.layout.place(variable, this.instruction.line) + offset;
    return [String(place | 0), variable.space === 'global' || variable.space === 'const' ? 'GLOBAL' : '0'];
  }

  /** A special register; every one is readable as 32 bits and zero-extended to 64. */
  special(name: string): Pair {
    const [, base, axis] = /^%(\w+?)(?:\.([xyz]))?$/.exec(name) ?? [];
    const index = axis === undefined ? 0 : 'xyz'.indexOf(axis);
    if (axis !== undefined) {
      if (base === 'tid') return [this.#row(`I[b + ${32 * index}]`), '0'];
      if (base === 'ntid') return [this.uniform(`U[${index}]`), '0'];
      if (base === 'ctaid') return [this.uniform(`U[${3 + index}]`), '0'];
      if (base === 'nctaid') return [this.uniform(`U[${6 + index}]`), '0'];
    }
    switch (name) {
      case '%laneid':
        return ['l', '0'];
      case '%warpid':
        return ['w', '0'];
      case '%nwarpid':
        return [this.uniform('U[9]'), '0'];
      case '%dynamic_smem_size':
        return [this.uniform('U[10]'), '0'];
      case '%total_smem_size':
        return [this.uniform('U[11]'), '0'];
      case '%smid':
      case '%gridid':
        return ['0', '0'];
      case '%nsmid':
        return ['1', '0'];
      case '%lanemask_eq':
        return ['bit', '0'];
      case '%lanemask_lt':
        return ['(bit - 1)', '0'];
      case '%lanemask_le':
        return ['(bit - 1 | bit)', '0'];
      case '%lanemask_gt':
        return ['~(bit - 1 | bit)', '0'];
      case '%lanemask_ge':
        return ['~(bit - 1)', '0'];
      case '%clock':
      case '%clock64':
      case '%globaltimer':
      case '%globaltimer_lo':
        return [this.temp('clock(U)'), '0'];
      default:
        throw this.error(`special register ${name} is not supported`);
    }
  }

  #row(expression: string): string {
    const known = this.#shared.get(expression);
    if (known !== undefined) return known;
    const name = this.name();
    this.body.push(`const ${name} = ${expression};`);
    this.#shared.set(expression, name);
    return name;
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
    this.floats.add(register);
    this.#assign(register, { float: expression });
  }

  setDouble(operand: Operand, expression: string): void {
    const register = this.#destination(operand);
    if (register === undefined) return;
    if (register.bits !== 64) throw this.error(`${register.name} is not 64 bits wide`);
    this.floats.add(register);
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
    if (register !== undefined) this.#assign(register, this.floats.has(register) ? { int, float } : { int });
  }

  setLoaded64(operand: Operand, lo: string, hi: string, double: string): void {
    const register = this.#destination(operand);
    if (register !== undefined) this.#assign(register, this.floats.has(register) ? { lo, hi, double } : { lo, hi });
  }

  /** Whether an operand is known only as a number that an instruction of this run computed. */
  isComputed(operand: Operand): boolean {
    if (operand.kind !== 'register') return false;
    const value = this.#values.get(operand.register);
    if (value === undefined || !value.dirty) return false;
    return operand.register.bits === 64 ? value.lo === undefined : value.int === undefined;
  }

  /** Whether an untyped value for this register is better produced as a number. */
  prefersFloat(operand: Operand): boolean {
    return operand.kind === 'register' && this.floats.has(operand.register);
  }

  // ---- the register cache ----

  #destination(operand: Operand): Register | undefined {
    if (operand.kind === 'sink') return undefined;
    if (operand.kind !== 'register') throw this.error(`cannot write to a ${operand.kind} operand`);
    return operand.register;
  }

  #assign(register: Register, assigned: Omit<Value, 'dirty'>): void {
    this.defs.add(register);
    const parts = this.#inner === undefined ? assigned : this.#likeOld(register, assigned);
    const value: Value = { dirty: true };
    const old = this.#inner === undefined ? undefined : this.#oldParts(register, parts);
    for (const part of ['int', 'float', 'lo', 'hi', 'double', 'bool'] as const) {
      const expression = parts[part];
      if (expression === undefined) continue;
      const name = this.name();
      if (old === undefined) this.body.push(`const ${name} = ${expression};`);
      else {
        this.body.push(`let ${name} = ${old[part]};`);
        this.#inner!.push(`${name} = ${expression};`);
      }
      value[part] = name;
    }
    this.#values.set(register, value);
    if (this.tracked.has(register)) this.line(`${this.#mask(register)} |= bit;`);
  }

  // A guarded write joins the old value: as a number only if that is one, or else its bits would pass through a number.
  #likeOld(register: Register, parts: Omit<Value, 'dirty'>): Omit<Value, 'dirty'> {
    const old = this.#values.get(register);
    const { float, double, int, lo } = parts;
    if (int === undefined && float !== undefined && (old?.float === undefined || old.int !== undefined || !old.dirty)) {
      const x = this.temp(float);
      return { int: `${x} === ${x} ? (TF[0] = ${x}, TI[0]) : 0x7fffffff` };
    }
    if (lo === undefined && double !== undefined && (old?.double === undefined || old.lo !== undefined || !old.dirty)) {
      const x = this.temp(double);
      this.line(`TD[0] = ${x};`);
      return { lo: `${x} === ${x} ? TI[0] : 0`, hi: `${x} === ${x} ? TI[1] : 0x7ff80000` };
    }
    return parts;
  }

  // Reading the old value is no use of it by the program, but it must be live: liveness sees a guarded write as a use.
  #oldParts(register: Register, parts: Omit<Value, 'dirty'>): Omit<Value, 'dirty'> {
    const old: Omit<Value, 'dirty'> = {};
    if (parts.int !== undefined) old.int = this.#int(register);
    if (parts.float !== undefined) old.float = this.#float(register);
    if (parts.double !== undefined) old.double = this.#double(register);
    if (parts.bool !== undefined) old.bool = this.#bool(register);
    if (parts.lo !== undefined) [old.lo, old.hi] = this.#pair(register);
    return old;
  }

  #value(register: Register): Value {
    this.uses.add(register);
    let value = this.#values.get(register);
    if (value === undefined) {
      value = { dirty: false };
      this.#values.set(register, value);
    }
    return value;
  }

  #int(register: Register): string {
    const value = this.#value(register);
    if (value.int === undefined) {
      const name = this.name();
      if (!value.dirty) this.body.push(`const ${name} = I[b + ${this.layout.row(register)}];`);
      else
        this.body.push(
          `const ${name} = ${value.float} === ${value.float} ? (TF[0] = ${value.float}, TI[0]) : 0x7fffffff;`,
        );
      value.int = name;
    }
    return value.int;
  }

  #float(register: Register): string {
    const value = this.#value(register);
    if (value.float === undefined) {
      const name = this.name();
      if (!value.dirty) this.body.push(`const ${name} = F[b + ${this.layout.row(register)}];`);
      else this.body.push(`TI[0] = ${value.int}; const ${name} = TF[0];`);
      value.float = name;
    }
    return value.float;
  }

  #pair(register: Register): Pair {
    const value = this.#value(register);
    if (value.lo === undefined || value.hi === undefined) {
      value.lo = this.name();
      value.hi = this.name();
      if (value.dirty) {
        const nan = `${value.double} !== ${value.double}`;
        this.body.push(`TD[0] = ${value.double};`);
        this.body.push(`const ${value.lo} = ${nan} ? 0 : TI[0], ${value.hi} = ${nan} ? 0x7ff80000 : TI[1];`);
      } else {
        const row = this.layout.row(register);
        this.body.push(`const ${value.lo} = I[b2 + ${row}], ${value.hi} = I[b2 + ${row + 1}];`);
      }
    }
    return [value.lo, value.hi];
  }

  #double(register: Register): string {
    const value = this.#value(register);
    if (value.double === undefined) {
      const name = this.name();
      if (!value.dirty) this.body.push(`const ${name} = D[bd + ${this.layout.row(register) / 2}];`);
      else this.body.push(`TI[0] = ${value.lo}; TI[1] = ${value.hi}; const ${name} = TD[0];`);
      value.double = name;
    }
    return value.double;
  }

  #bool(register: Register): string {
    const value = this.#value(register);
    if (value.bool === undefined) {
      const mask = this.uniform(`I[base + ${this.layout.row(register)}]`);
      value.bool = this.name();
      this.body.push(`const ${value.bool} = (${mask} & bit) !== 0;`);
    }
    return value.bool;
  }

  // `mov` copies an unassigned value without complaint, as compilers do with halves that nobody reads.
  #checkAssigned(register: Register): void {
    this.reads.add(register);
    if (!this.tracked.has(register) || this.instruction.name === 'mov') return;
    this.line(
      `if ((${this.#mask(register)} & bit) === 0) unassigned(${this.site()}, w, l, ${JSON.stringify(register.name)});`,
    );
  }

  #mask(register: Register): string {
    let name = this.#masks.get(register);
    if (name === undefined) {
      name = this.name();
      const offset = this.layout.definedMask(register);
      this.head.push(`let ${name} = I[base + ${offset}];`);
      this.tail.push(`I[base + ${offset}] = ${name};`);
      this.#masks.set(register, name);
    }
    return name;
  }

  /** Stores the registers in `live` that this run wrote. */
  flush(live: ReadonlySet<Register>): void {
    for (const [register, value] of this.#values) {
      if (!value.dirty || !live.has(register)) continue;
      const row = this.layout.row(register);
      if (value.bool !== undefined) {
        const mask = this.name();
        this.head.push(`let ${mask} = I[base + ${row}] & ~mask;`);
        this.body.push(`if (${value.bool}) ${mask} |= bit;`);
        this.tail.push(`I[base + ${row}] = ${mask};`);
      } else if (value.int !== undefined) this.body.push(`I[b + ${row}] = ${value.int};`);
      else if (value.float !== undefined) this.body.push(storeFloat('', `b + ${row}`, value.float));
      else if (value.lo !== undefined)
        this.body.push(`I[b2 + ${row}] = ${value.lo}; I[b2 + ${row + 1}] = ${value.hi};`);
      else this.body.push(storeDouble('', `bd + ${row / 2}`, `b2 + ${row}`, value.double!));
    }
  }

  /** The loop over the active lanes, with what stands before and after it; empty when the run is. */
  code(): string[] {
    if (this.body.length === 0) return [...this.head, ...this.tail];
    return [
      ...this.head,
      'for (let l = 0, bit = 1; l < 32; l++, bit <<= 1) {',
      'if ((mask & bit) === 0) continue;',
      'const b = base + l, b2 = b + l, bd = (base >> 1) + l;',
      ...this.body,
      '}',
      ...this.tail,
    ];
  }
}
