// How a launch of an op becomes launches of PTX entries. README.md states the rules.
import type { Dim3 } from './runtime/src/runtime.ts';
import { blockTypes } from './weight.ts';

/** What modules are compiled for: ptx/sm_75, ptx/sm_80. */
export type Target = 75 | 80;

/** A launch as ops state it (`Backend.launch`), without its buffers. */
export interface Call {
  readonly ints: readonly number[];
  readonly floats: readonly number[];
  readonly work: Dim3;
  /** Of the module that it runs in. */
  readonly target: Target;
}

/** One entry over a grid. It gets buffers, the scratch memory where the kernel has any, ints and floats. */
export interface Phase {
  readonly entry: string;
  /** An extent of 0 skips the phase. Only x may exceed 65535. */
  readonly grid: Dim3;
  readonly block: Dim3;
  /** Dynamic shared memory. */
  readonly sharedBytes?: number;
  /** In place of the call's ints. */
  readonly ints?: readonly number[];
  /** In place of its floats. */
  readonly floats?: readonly number[];
  /** Which buffers it gets, of which the scratch memory is the last one; default: all. */
  readonly buffers?: readonly number[];
}

export interface Kernel {
  /** Scratch memory; where this is present, every phase has a pointer to it after its buffers (null for 0 bytes). */
  readonly scratchBytes?: (call: Call) => number;
  /**
   * Run one after another: each sees what those before it wrote. `alignment` is the largest power of two, at most 256, that all
   * buffers' addresses are multiples of; the order in which a kernel sums must not depend on it.
   */
  phases(call: Call, alignment: number): readonly Phase[];
}

/** The kernels of a .cu file by their names in ops' launches, `op_compute[_weight]`. */
export type Family = Readonly<Record<string, Kernel>>;

/** Types that activations come in; sm_75 knows f32 alone, which its products round to f16. */
export const computeTypes = ['f32', 'bf16'] as const;
export type Compute = (typeof computeTypes)[number];

/** Types that weights are stored in. */
export const weightTypes = ['f32', 'f16', 'bf16', ...blockTypes] as const;

/** `op_type` for all ops and types. */
export function each(ops: readonly string[], types: readonly string[], make: (name: string) => Kernel): Family {
  const names = ops.flatMap((op) => types.map((type) => `${op}_${type}`));
  return Object.fromEntries(names.map((name) => [name, make(name)]));
}

export const ceilDiv = (n: number, d: number): number => Math.ceil(n / d);

/** A phase of `count` threads in blocks of 256. */
export function threads(entry: string, count: number, ints?: readonly number[]): Phase {
  return { entry, grid: [ceilDiv(count, 256), 1, 1], block: [256, 1, 1], ints };
}

/** A kernel of one phase, named as its entry. */
export const single =
  (phase: (name: string, call: Call) => Phase) =>
  (name: string): Kernel => ({ phases: (call) => [phase(name, call)] });

/** A kernel of flat.cuh: 16 bytes of elements a thread. */
export const flat: (name: string) => Kernel = single((name, { work }) =>
  threads(name, ceilDiv(work[0], name.endsWith('_bf16') ? 8 : 4)),
);

/** A kernel of rows.cuh, by its ints rows and columns: a warp for each row, or a block where it is long. */
export const rowwise: (name: string) => Kernel = single((name, { ints: [rows, columns] }) =>
  columns <= 256
    ? { entry: `${name}_warp`, grid: [ceilDiv(rows, 4), 1, 1], block: [128, 1, 1] }
    : { entry: `${name}_block`, grid: [rows, 1, 1], block: [128, 1, 1] },
);

/** MAX_RANK of broadcast.cuh. */
const MAX_RANK = 6;

/** Values in the last places of an array of MAX_RANK. @throws RangeError when there are more */
function rightAligned(values: readonly number[], filler: number): number[] {
  if (values.length > MAX_RANK) {
    throw new RangeError(`${values.length} axes that cannot be joined: CUDA kernels take up to ${MAX_RANK}`);
  }
  return [...new Array<number>(MAX_RANK - values.length).fill(filler), ...values];
}

/** broadcast.cuh's `Broadcast`, from each input's strides. */
export const packBroadcast = (extents: readonly number[], ...strides: (readonly number[])[]): number[] => [
  extents.length,
  ...rightAligned(extents, 1),
  ...strides.flatMap((own) => rightAligned(own, 0)),
];

/** A broadcast kernel whose threads have `run` elements each. ints: rank, extents, each input's strides */
export const broadcast = (run: number): ((name: string) => Kernel) =>
  single((name, { ints: [rank, ...rest], work }) => {
    const arrays = Array.from({ length: rest.length / rank }, (_, k) => rest.slice(k * rank, (k + 1) * rank));
    const [extents, ...strides] = arrays;
    return threads(name, ceilDiv(work[0], run), packBroadcast(extents, ...strides));
  });
