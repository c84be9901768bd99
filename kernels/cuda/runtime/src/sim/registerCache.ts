import type { Layout } from './layout.ts';
import type { Register } from './ptx.ts';
import type { RunText } from './runText.ts';

/** A value as JavaScript expressions, by representation; any subset that agrees. */
export interface Parts {
  int?: string;
  float?: string;
  lo?: string;
  hi?: string;
  double?: string;
  bool?: string;
}

// Names that hold a register's value within the run, and whether the run assigned it.
interface Value extends Parts {
  readonly dirty: boolean;
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

/**
 * Registers within a run as JavaScript constants, loaded from the warp's register file where first read and stored back once
 * if still live afterwards.
 *
 * Every assignment makes a new constant; a guarded one makes a variable that starts as the old value. A register is kept in
 * the representation that its instruction produced (i32, number, pair) and converted when another is asked for.
 */
export class RegisterCache {
  /** Registers whose value was needed (a guarded write needs the old one), and that were written. */
  readonly uses = new Set<Register>();
  readonly defs = new Set<Register>();
  readonly #text: RunText;
  readonly #layout: Layout;
  readonly #values = new Map<Register, Value>();

  constructor(text: RunText, layout: Layout) {
    this.#text = text;
    this.#layout = layout;
  }

  /** Whether a register is known only as a number that an instruction of this run computed. */
  isComputed(register: Register): boolean {
    const value = this.#values.get(register);
    if (value === undefined || !value.dirty) return false;
    return register.bits === 64 ? value.lo === undefined : value.int === undefined;
  }

  assign(register: Register, assigned: Parts): void {
    this.defs.add(register);
    const parts = !this.#text.guarded ? assigned : this.#likeOld(register, assigned);
    const value: { dirty: boolean } & Parts = { dirty: true };
    const old = !this.#text.guarded ? undefined : this.#oldParts(register, parts);
    for (const part of ['int', 'float', 'lo', 'hi', 'double', 'bool'] as const) {
      const expression = parts[part];
      if (expression === undefined) continue;
      const name = this.#text.name();
      if (old === undefined) this.#text.body.push(`const ${name} = ${expression};`);
      else {
        this.#text.body.push(`let ${name} = ${old[part]};`);
        this.#text.line(`${name} = ${expression};`);
      }
      value[part] = name;
    }
    this.#values.set(register, value);
  }

  // A guarded write joins the old value: as a number only if that is one, or else its bits would pass through a number.
  #likeOld(register: Register, parts: Parts): Parts {
    const old = this.#values.get(register);
    const { float, double, int, lo } = parts;
    if (int === undefined && float !== undefined && (old?.float === undefined || old.int !== undefined || !old.dirty)) {
      const x = this.#text.temp(float);
      return { int: `${x} === ${x} ? (TF[0] = ${x}, TI[0]) : 0x7fffffff` };
    }
    if (lo === undefined && double !== undefined && (old?.double === undefined || old.lo !== undefined || !old.dirty)) {
      const x = this.#text.temp(double);
      this.#text.line(`TD[0] = ${x};`);
      return { lo: `${x} === ${x} ? TI[0] : 0`, hi: `${x} === ${x} ? TI[1] : 0x7ff80000` };
    }
    return parts;
  }

  // Reading the old value is no use of it by the program, but it must be live: liveness sees a guarded write as a use.
  #oldParts(register: Register, parts: Parts): Parts {
    const old: Parts = {};
    if (parts.int !== undefined) old.int = this.int(register);
    if (parts.float !== undefined) old.float = this.float(register);
    if (parts.double !== undefined) old.double = this.double(register);
    if (parts.bool !== undefined) old.bool = this.bool(register);
    if (parts.lo !== undefined) [old.lo, old.hi] = this.pair(register);
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

  int(register: Register): string {
    const value = this.#value(register);
    if (value.int === undefined) {
      const name = this.#text.name();
      if (!value.dirty) this.#text.body.push(`const ${name} = I[b + ${this.#layout.row(register)}];`);
      else
        this.#text.body.push(
          `const ${name} = ${value.float} === ${value.float} ? (TF[0] = ${value.float}, TI[0]) : 0x7fffffff;`,
        );
      value.int = name;
    }
    return value.int;
  }

  float(register: Register): string {
    const value = this.#value(register);
    if (value.float === undefined) {
      const name = this.#text.name();
      if (!value.dirty) this.#text.body.push(`const ${name} = F[b + ${this.#layout.row(register)}];`);
      else this.#text.body.push(`TI[0] = ${value.int}; const ${name} = TF[0];`);
      value.float = name;
    }
    return value.float;
  }

  pair(register: Register): Pair {
    const value = this.#value(register);
    if (value.lo === undefined || value.hi === undefined) {
      value.lo = this.#text.name();
      value.hi = this.#text.name();
      if (value.dirty) {
        const nan = `${value.double} !== ${value.double}`;
        this.#text.body.push(`TD[0] = ${value.double};`);
        this.#text.body.push(`const ${value.lo} = ${nan} ? 0 : TI[0], ${value.hi} = ${nan} ? 0x7ff80000 : TI[1];`);
      } else {
        const row = this.#layout.row(register);
        this.#text.body.push(`const ${value.lo} = I[b2 + ${row}], ${value.hi} = I[b2 + ${row + 1}];`);
      }
    }
    return [value.lo, value.hi];
  }

  double(register: Register): string {
    const value = this.#value(register);
    if (value.double === undefined) {
      const name = this.#text.name();
      if (!value.dirty) this.#text.body.push(`const ${name} = D[bd + ${this.#layout.row(register) / 2}];`);
      else this.#text.body.push(`TI[0] = ${value.lo}; TI[1] = ${value.hi}; const ${name} = TD[0];`);
      value.double = name;
    }
    return value.double;
  }

  bool(register: Register): string {
    const value = this.#value(register);
    if (value.bool === undefined) {
      const mask = this.#text.uniform(`I[base + ${this.#layout.row(register)}]`);
      value.bool = this.#text.name();
      this.#text.body.push(`const ${value.bool} = (${mask} & bit) !== 0;`);
    }
    return value.bool;
  }

  /** Stores the registers in `live` that this run wrote. */
  flush(live: ReadonlySet<Register>): void {
    for (const [register, value] of this.#values) {
      if (!value.dirty || !live.has(register)) continue;
      const row = this.#layout.row(register);
      if (value.bool !== undefined) {
        const mask = this.#text.name();
        this.#text.head.push(`let ${mask} = I[base + ${row}] & ~mask;`);
        this.#text.body.push(`if (${value.bool}) ${mask} |= bit;`);
        this.#text.tail.push(`I[base + ${row}] = ${mask};`);
      } else if (value.int !== undefined) this.#text.body.push(`I[b + ${row}] = ${value.int};`);
      else if (value.float !== undefined) this.#text.body.push(storeFloat('', `b + ${row}`, value.float));
      else if (value.lo !== undefined)
        this.#text.body.push(`I[b2 + ${row}] = ${value.lo}; I[b2 + ${row + 1}] = ${value.hi};`);
      else this.#text.body.push(storeDouble('', `bd + ${row / 2}`, `b2 + ${row}`, value.double!));
    }
  }
}
