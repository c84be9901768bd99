// WebAssembly written by hand: the few instructions that matrix products and rows of shared memory need, as nested expressions,
// and the binary format around them. Numbers are the opcodes of the core specification.

/** Bytes of an expression or statement. */
export type Code = readonly number[];

function unsigned(n: number): number[] {
  const bytes: number[] = [];
  for (let rest = n; ; ) {
    const low = rest & 127;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 128);
    if (rest === 0) return bytes;
  }
}

// Whether the sign bit of the last byte says the same as the number is what ends a signed one.
function signed(n: number): number[] {
  const bytes: number[] = [];
  for (let rest = n; ; ) {
    const low = rest & 127;
    rest >>= 7;
    const last = rest === (low & 64 ? -1 : 0);
    bytes.push(last ? low : low | 128);
    if (last) return bytes;
  }
}

const vectorOf = (items: readonly Code[]) => [...unsigned(items.length), ...items.flat()];
const sized = (bytes: Code) => [...unsigned(bytes.length), ...bytes];
const simd = (opcode: number) => [0xfd, ...unsigned(opcode)];
const unary = (opcode: number) => (x: Code) => [...x, ...simd(opcode)];
const binary = (opcode: number) => (x: Code, y: Code) => [...x, ...y, ...simd(opcode)];
const ternary = (opcode: number) => (x: Code, y: Code, z: Code) => [...x, ...y, ...z, ...simd(opcode)];
// Accesses say that they are aligned to bytes, which is always true and costs nothing.
const access = (opcode: number) => (address: Code, offset: number) => [
  ...address,
  ...simd(opcode),
  0,
  ...unsigned(offset),
];

export const local = (index: number): Code => [0x20, ...unsigned(index)];
export const setLocal = (index: number, value: Code): Code => [...value, 0x21, ...unsigned(index)];
export const i32 = (value: number): Code => [0x41, ...signed(value)];
export const call = (fn: number, ...args: readonly Code[]): Code => [...args.flat(), 0x10, ...unsigned(fn)];

// ---- control flow; `depth` counts the enclosing blocks, loops and conditions from the innermost on, 0 ----

const ofNothing = 0x40;
const end = 0x0b;
/** Leaving it goes behind it. */
export const block = (...body: readonly Code[]): Code => [0x02, ofNothing, ...body.flat(), end];
/** Leaving it begins it anew; its end is left by itself. */
export const loop = (...body: readonly Code[]): Code => [0x03, ofNothing, ...body.flat(), end];
export const when = (condition: Code, then: Code, otherwise: Code = []): Code => [
  ...condition,
  ...[0x04, ofNothing, ...then],
  ...(otherwise.length > 0 ? [0x05, ...otherwise] : []),
  end,
];
export const leave = (depth: number): Code => [0x0c, depth];
export const leaveIf = (depth: number, condition: Code): Code => [...condition, 0x0d, depth];

// ---- i32; comparisons are of unsigned numbers ----

const wordBinary = (opcode: number) => (x: Code, y: Code) => [...x, ...y, opcode];
export const loadWord = (address: Code, offset: number): Code => [...address, 0x28, 0, ...unsigned(offset)];
export const isZero = (x: Code): Code => [...x, 0x45];
export const equal = wordBinary(0x46);
export const notEqual = wordBinary(0x47);
export const atLeast = wordBinary(0x4f);
export const plus = wordBinary(0x6a);
export const andWord = wordBinary(0x71);
export const orWord = wordBinary(0x72);
export const xorWord = wordBinary(0x73);
export const shiftLeft = wordBinary(0x74);
export const shiftRight = wordBinary(0x76);

// ---- vectors of 128 bits ----

export const load = access(0x00);
/** Two copies of the 64 bits at an address. */
export const loadSplat64 = access(0x0a);
export const store = (address: Code, offset: number, value: Code): Code => [
  ...address,
  ...value,
  ...simd(0x0b),
  0,
  ...unsigned(offset),
];
/** Stores the low (0) or high (1) 64 bits. */
export const storeHalf = (address: Code, offset: number, value: Code, half: number): Code => [
  ...address,
  ...value,
  ...simd(0x5b),
  0,
  ...unsigned(offset),
  half,
];
/** Bytes of two vectors, 0 to 15 of `x` and 16 to 31 of `y`. */
export const shuffle = (x: Code, y: Code, bytes: readonly number[]): Code => [...x, ...y, ...simd(0x0d), ...bytes];
/** Four copies of an i32. */
export const splat = unary(0x11);
export const splat32 = (value: number): Code => splat(i32(value));
const shift = (opcode: number) => (x: Code, by: number) => [...x, ...i32(by), ...simd(opcode)];
export const shiftLeft32 = shift(0xab);
export const shiftRight32 = shift(0xad);
export const greater32 = binary(0x3b);
/** 0 if all bits are 0. */
export const anyBit = unary(0x53);
/** Whether all four of unsigned numbers are less. */
export const allLess = (x: Code, y: Code): Code => [...x, ...y, ...simd(0x3a), ...simd(0xa3)];
export const and = binary(0x4e);
export const or = binary(0x50);
export const xor = binary(0x51);
/** Bits of `x` where `mask` is 1, of `y` where it is 0. */
export const select = ternary(0x52);
export const equalF32 = binary(0x41);
export const mulF32 = binary(0xe6);
export const addF64 = binary(0xf0);
export const mulF64 = binary(0xf2);
/** x·y + z, rounded once or twice as the processor likes; part of relaxed SIMD, which not every engine knows. */
export const relaxedMultiplyAddF64 = ternary(0x107);
/** The lower two of four f32 as f64; two f64 rounded to f32, with zeros above. */
export const promoteLow = unary(0x5f);
export const demote = unary(0x5e);

/** A function of i32 parameters, which come first among its locals; further i32 and then vectors follow. */
export interface WasmFunction {
  readonly name: string;
  readonly params: number;
  readonly words?: number;
  readonly vectors: number;
  /** Whether it leaves an i32, its result. */
  readonly returns?: boolean;
  readonly body: Code;
}

/** Bytes of a module whose functions, all exported, work on the imported memory `env.memory`. */
export function wasmModule(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const [i32Type, v128Type] = [0x7f, 0x7b];
  const name = (text: string) => sized([...new TextEncoder().encode(text)]);
  const section = (id: number, items: readonly Code[]) => [id, ...sized(vectorOf(items))];
  const types = functions.map(({ params, returns }) => [
    ...[0x60, ...vectorOf(Array(params).fill([i32Type]))],
    ...vectorOf(returns ? [[i32Type]] : []),
  ]);
  const bodies = functions.map(({ words = 0, vectors, body }) => {
    const locals = [
      [...unsigned(words), i32Type],
      [...unsigned(vectors), v128Type],
    ];
    return sized([...vectorOf(locals), ...body, end]);
  });
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, [[...name('env'), ...name('memory'), 2, 0, 0]]),
    ...section(
      3,
      functions.map((_, i) => unsigned(i)),
    ),
    ...section(
      7,
      functions.map((fn, i) => [...name(fn.name), 0, ...unsigned(i)]),
    ),
    ...section(10, bodies),
  ]);
}
