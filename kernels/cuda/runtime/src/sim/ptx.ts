// The syntax tree of PTX: what parser.ts makes and everything else reads.

/** Width of a register in bits; 1 is a predicate. */
export type RegisterBits = 1 | 8 | 16 | 32 | 64;

export interface Register {
  readonly name: string;
  readonly bits: RegisterBits;
  /** Index within its function, dense from 0. */
  readonly id: number;
}

export type VariableSpace = 'global' | 'const' | 'shared' | 'local' | 'param';

export interface Variable {
  readonly name: string;
  readonly space: VariableSpace;
  readonly align: number;
  /** Size; 0 for `.extern .shared x[]`, which is the launch's dynamic shared memory. */
  readonly bytes: number;
  readonly extern: boolean;
  /** Initial bytes; undefined when the declaration has no initialiser. */
  readonly initial: Uint8Array | undefined;
  /** Places of `initial` that hold the address of another variable. */
  readonly relocations: readonly { readonly offset: number; readonly symbol: string; readonly addend: number }[];
}

export type Operand =
  | { readonly kind: 'register'; readonly register: Register }
  | { readonly kind: 'integer'; readonly value: bigint }
  | {
      readonly kind: 'float';
      readonly value: number /** Bits of a 0f literal, whose NaN payload a number loses. */;
      readonly bits?: number;
    }
  | { readonly kind: 'special'; readonly name: string }
  | { readonly kind: 'variable'; readonly variable: Variable; readonly offset: number }
  | { readonly kind: 'label'; readonly name: string }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'address'; readonly base: Operand | undefined; readonly offset: number }
  | { readonly kind: 'vector'; readonly elements: readonly Operand[] }
  | { readonly kind: 'list'; readonly elements: readonly Operand[] }
  | { readonly kind: 'pair'; readonly first: Operand; readonly second: Operand }
  | { readonly kind: 'not'; readonly operand: Operand }
  | { readonly kind: 'sink' };

/** A line of the CUDA source, from `.loc`. */
export interface SourceLine {
  readonly file: string;
  readonly line: number;
}

export interface Instruction {
  /** First part of the opcode: `ld` of `ld.global.v2.f32`. */
  readonly name: string;
  readonly modifiers: readonly string[];
  readonly guard: { readonly register: Register; readonly negated: boolean } | undefined;
  readonly operands: readonly Operand[];
  /** Line in the PTX text, from 1. */
  readonly line: number;
  readonly source: SourceLine | undefined;
}

export interface PtxFunction {
  readonly name: string;
  readonly entry: boolean;
  readonly line: number;
  readonly params: readonly Variable[];
  readonly returns: readonly Variable[];
  /** Undefined for a declaration without body. */
  readonly body: readonly Instruction[] | undefined;
  /** Label → index in `body` of the instruction it stands before. */
  readonly labels: ReadonlyMap<string, number>;
  /** `.branchtargets` lists by their label. */
  readonly branchTargets: ReadonlyMap<string, readonly string[]>;
  readonly registers: readonly Register[];
  /** Its own `.shared`, `.local`, `.const`, `.global` and call `.param` variables. */
  readonly variables: readonly Variable[];
  /** From `.maxntid`/`.reqntid`: threads per block at most. */
  readonly maxThreads: number | undefined;
}

export interface PtxModule {
  readonly version: readonly [major: number, minor: number];
  readonly target: string;
  readonly functions: ReadonlyMap<string, PtxFunction>;
  readonly variables: readonly Variable[];
}

/** A refusal of the PTX text: `line N: …`. */
export class PtxError extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = 'PtxError';
    this.line = line;
  }
}

/** The instruction's opcode as written. */
export function opcode(instruction: Instruction): string {
  return [instruction.name, ...instruction.modifiers].join('.');
}
