import type { Work } from './backend.ts';
import type { ComputeDType, DType } from './dtype.ts';
import { execute } from './execute.ts';
import { Node } from './node.ts';
import { context } from './scope.ts';
import { type Shape, size } from './shape.ts';
import type { Tensor } from './tensor.ts';

export interface Spec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Draws the inputs of one test or benchmark case; fast-check in tests, a seeded generator in benchmarks. */
export interface Gen {
  /** Integer in [lo, hi]. */
  int(lo: number, hi: number): number;
  /** Real number in [lo, hi]. */
  real(lo: number, hi: number): number;
  /** A size that straddles what kernels treat specially (0, 1, SIMD and tile widths), at most `max`; at least 1 unless `zero`. */
  dim(max: number, options?: { zero?: boolean }): number;
  /** Values uniform in [lo, hi] (default −2, 2), at least `apart` away from 0, pairwise `distinct` by 1e-3 where asked. */
  tensor(
    shape: Shape,
    options?: {
      dtype?: DType;
      lo?: number;
      hi?: number;
      apart?: number;
      distinct?: boolean;
    },
  ): Tensor;
  /** i32 values in [lo, hi]. */
  ints(shape: Shape, lo: number, hi: number): Tensor;
  /** An i32 tensor with these values. */
  indices(values: ArrayLike<number>, shape: Shape): Tensor;
}

/** One kernel call of an op. Buffers are numbered in the op's own lists; an in-place op's outputs are inputs. */
export interface Launch {
  kernel: string;
  /** Indices into the op's outputs (for an in-place op: into its inputs). */
  outputs: number[];
  /** Indices into the op's inputs; `-1 − i` reads the op's output i, written by an earlier launch of the list. */
  inputs: number[];
  ints?: number[];
  floats?: number[];
  work: Work;
}

export interface VjpContext<A> {
  /** What `save` returned, in its order; undefined where it returned false. */
  saved: Tensor[];
  attrs: A;
  /** Specs of the inputs. */
  specs: Spec[];
}

/** An input of a benchmark. Without `values` floats are random and integers count up from 0. */
export interface BenchInput extends Spec {
  readonly values?: ArrayLike<number>;
}

export type Maybe<T> = T | false | undefined;

/** Everything the library knows about an operation. Tests, benchmarks and the README's table are derived from it. */
export interface OpDef<A = void> {
  readonly name: string;
  /** One line: what it computes. */
  readonly doc: string;
  /**
   * Specs of the outputs. Output 0 is the result; the others are auxiliaries that only `save` and `vjp` see.
   * @throws ShapeError naming op, shapes and axis
   */
  outputs(inputs: Spec[], attrs: A, needs: boolean[]): Spec[];
  /** The op's meaning, in plain loops over float64 (outputs start at zero). Quantised inputs arrive decoded. */
  reference?(outputs: Float64Array[], inputs: Float64Array[], specs: Spec[], attrs: A, needs: boolean[]): void;
  /**
   * A fused op's meaning in other ops: its specification, its fallback and its test oracle. An op that is made of others
   * returns all its outputs.
   */
  define?(inputs: Tensor[], attrs: A): Tensor | Tensor[];
  /** Where the output is a view of input 0, from which element on; undefined where it is computed. */
  view?(input: Spec, attrs: A): { element: number } | undefined;
  /** Exactly what `vjp` will read: some of the inputs and outputs. */
  save?(inputs: Tensor[], outputs: Tensor[], needs: boolean[]): Maybe<Tensor>[];
  /**
   * Cheaper to run again than to keep: where another op saves the result, what this one saved is kept in its place. Says
   * which of `saved` are its inputs.
   */
  again?: readonly number[];
  /** One gradient per input that needs one. Summing over broadcast axes is the engine's work. */
  vjp?(g: Tensor, ctx: VjpContext<A>, needs: boolean[]): Maybe<Tensor>[];
  launch?(specs: Spec[], attrs: A, needs: boolean[]): Launch[];
  /** Inputs that are never differentiated (tables, masks, loss weights). i32 and quantised inputs never are. */
  constants?: readonly number[];
  /** For contractions: how many products one output sums; sets the rounding that tests allow. */
  contraction?(specs: Spec[], attrs: A): number;
  /** Writes input 0 (and others it names as launch outputs): optimizer steps, accumulation, cache appends. Never recorded. */
  inPlace?: true;
  /** Combinations of input dtypes that tests, parity and benchmarks run. Integer inputs count too. */
  dtypes: DType[][];
  /**
   * Inputs that are activations: f32 in `dtypes`, and all bf16 in a model that computes in bf16. Without the field the op
   * knows f32 alone; an empty list says that only the output is an activation, whose type is an attribute.
   */
  activations?: readonly number[];
  /** A random case for one of `combinations`. Values stay 1e-3 away from kinks and ties. */
  sample(gen: Gen, dtypes: DType[], compute?: ComputeDType): [inputs: Tensor[], attrs: A];
  /** Sizes worth timing. */
  bench?(): [BenchInput[], A][];
  cost(specs: Spec[], attrs: A): { multiplyAdds: number; bytes: number };
}

// biome-ignore lint/suspicious/noExplicitAny: the registry holds ops of every attribute type
export type AnyOp = OpDef<any>;

/**
 * The combinations of input dtypes of an op that computes in `compute`.
 * @internal for benchmarks and tests
 */
export function combinations({ dtypes, activations }: AnyOp, compute: ComputeDType): DType[][] {
  if (compute === 'f32') return dtypes;
  if (!activations) return [];
  const ofActivations = (d: DType[]): DType[] =>
    d.map((dtype, i) => (dtype === 'f32' && activations.includes(i) ? compute : dtype));
  return dtypes.map(ofActivations).filter((d, k) => activations.length === 0 || d.some((t, i) => t !== dtypes[k][i]));
}

/** All ops by name. */
export const registry = new Map<string, AnyOp>();

/**
 * Declares an op and returns the function that applies it (inputs, attrs) → output 0.
 * @throws when the name is taken
 */
export function op<A = void>(def: OpDef<A>): (inputs: Tensor[], attrs: A) => Tensor {
  if (registry.has(def.name)) throw new Error(`op ${def.name} is declared twice`);
  registry.set(def.name, def);
  return (inputs, attrs) => apply(def, inputs, attrs);
}

/**
 * Applies an op: runs it, and records it when an input needs a gradient. Output 0. Exported for tests of op objects.
 * @internal
 */
export function apply<A>(def: OpDef<A>, inputs: Tensor[], attrs: A): Tensor {
  const recording = context().grad;
  const needs = inputs.map((t) => recording && t.requiresGrad);
  const needed = needs.includes(true);
  if (needed && def.inPlace) {
    const lost = `the gradient of input ${needs.indexOf(true)} would be lost`;
    throw new Error(`${def.name} writes in place and is not recorded, so that ${lost}; detach it or use noGrad`);
  }
  for (const i of def.constants ?? []) {
    if (needs[i]) throw new Error(`${def.name}: input ${i} has no gradient; detach it`);
  }
  if (needed && !def.vjp) {
    if (def.define) return [def.define(inputs, attrs)].flat()[0];
    throw new Error(`${def.name} has no gradient; detach its inputs or use a differentiable op`);
  }
  const outputs = execute(def, inputs, attrs, needs);
  const [result, ...auxiliaries] = outputs;
  if (needed) {
    result.requiresGrad = true;
    result.node = new Node(def as AnyOp, attrs, inputs, needs, def.save?.(inputs, outputs, needs) ?? []);
  }
  for (const t of auxiliaries) t.dispose();
  return result;
}

/** `bytes` of a cost that is moving every input and output once. */
export const elementsOf = (...shapes: Shape[]): number => shapes.reduce((n, s) => n + size(s), 0);
