import { type Backend, type BufferRef, isReference, MissingKernelError, type Work } from './backend.ts';
import { type ComputeDType, type DType, isQuantized } from './dtype.ts';
import { dequantize } from './quant.ts';
import { context, scope, withContext } from './scope.ts';
import { type Shape, size } from './shape.ts';
import { empty, type Tensor } from './tensor.ts';

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

type Maybe<T> = T | false | undefined;

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
  /** A fused op's meaning in other ops: its specification, its fallback and its test oracle. */
  define?(inputs: Tensor[], attrs: A): Tensor;
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
    if (def.define) return def.define(inputs, attrs);
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

/** Runs an op without recording and returns all its outputs. In-place ops return their input 0. */
export function execute<A>(def: OpDef<A>, inputs: Tensor[], attrs: A, needs: boolean[], kernelsOnly = false): Tensor[] {
  const backend = commonBackend(def.name, inputs);
  const specs: Spec[] = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  assertDTypes(def, specs);
  const outSpecs = def.outputs(specs, attrs, needs);
  const { observer } = context();
  const started = observer ? performance.now() : 0;
  let outputs: Tensor[];
  const view = def.view?.(specs[0], attrs);
  if (view) {
    outputs = [inputs[0].view(outSpecs[0].shape, view.element * elementBytes(inputs[0]))];
  } else {
    outputs = compute(def, backend, inputs, specs, outSpecs, attrs, needs, kernelsOnly);
  }
  observer?.({
    def: def as OpDef<never>,
    specs,
    attrs,
    outputs,
    ms: performance.now() - started,
  });
  return outputs;
}

function elementBytes(t: Tensor): number {
  if (isReference(t.backend) && t.dtype !== 'i32') return 8;
  return t.dtype === 'f16' || t.dtype === 'bf16' ? 2 : 4;
}

function compute<A>(
  def: OpDef<A>,
  backend: Backend,
  inputs: Tensor[],
  specs: Spec[],
  outSpecs: Spec[],
  attrs: A,
  needs: boolean[],
  kernelsOnly: boolean,
): Tensor[] {
  const outputs = def.inPlace ? inputs : outSpecs.map((s) => empty(s.shape, { dtype: s.dtype, backend }));
  const result = def.inPlace ? [inputs[0]] : outputs;
  if (isReference(backend) && def.reference) {
    const arrays = (t: Tensor): Float64Array => hostView(t, def.name);
    const written = outputs.map(arrays);
    if (!def.inPlace) for (const w of written) w.fill(0);
    def.reference(written, inputs.map(arrays), specs, attrs, needs);
    return result;
  }
  let cause: MissingKernelError | undefined;
  if (!isReference(backend) && def.launch) {
    try {
      runLaunches(def, backend, inputs, outputs, specs, attrs, needs);
      return result;
    } catch (error) {
      if (!(error instanceof MissingKernelError) || kernelsOnly) {
        if (!def.inPlace) for (const t of outputs) t.dispose();
        throw error;
      }
      cause = error;
    }
  }
  if (!def.define || kernelsOnly || outputs.length > 1) {
    throw new Error(`${def.name} has neither a kernel nor a definition on backend ${backend.name}`, { cause });
  }
  outputs[0].dispose();
  using inner = scope();
  return [inner.keep(withContext({ grad: false }, () => def.define?.(inputs, attrs) as Tensor))];
}

function runLaunches<A>(
  def: OpDef<A>,
  backend: Backend,
  inputs: Tensor[],
  outputs: Tensor[],
  specs: Spec[],
  attrs: A,
  needs: boolean[],
): void {
  if (!def.inPlace && outputs.every((t) => t.size === 0)) return;
  const ref = (t: Tensor): BufferRef => ({
    handle: t.storage.handle,
    byteOffset: t.byteOffset,
  });
  for (const l of def.launch?.(specs, attrs, needs) ?? []) {
    const buffers = [
      ...l.outputs.map((i) => ref(outputs[i])),
      ...l.inputs.map((i) => ref(i < 0 ? outputs[-1 - i] : inputs[i])),
    ];
    backend.launch(l.kernel, buffers, l.ints ?? [], l.floats ?? [], l.work);
  }
}

/** The numbers of a tensor on the reference backend: in place for floats, decoded or widened copies otherwise. */
function hostView(t: Tensor, op: string): Float64Array {
  const { backend } = t;
  if (!isReference(backend)) throw new Error(`${op}: backend ${backend.name} has no host view`);
  const view = backend.view(t.storage.handle, t.dtype, t.byteOffset, t.size);
  if (view instanceof Float64Array) return view;
  if (isQuantized(t.dtype)) return dequantize(view as Uint8Array, t.dtype, t.size);
  return view as unknown as Float64Array;
}

function commonBackend(op: string, inputs: Tensor[]): Backend {
  for (const t of inputs) {
    t.assertAlive(op);
    if (t.backend !== inputs[0].backend) {
      throw new Error(
        `${op}: its inputs are on ${inputs[0].backend.name} and on ${t.backend.name}; nothing moves by itself`,
      );
    }
  }
  return inputs[0].backend;
}

/** @throws TypeError where an input has a type that none of the op's combinations has in its place */
function assertDTypes<A>({ name, dtypes, activations = [] }: OpDef<A>, specs: Spec[]): void {
  // Activations are bf16 together or not at all.
  const bf16 = activations.length > 0 && activations.every((i) => i >= specs.length || specs[i].dtype === 'bf16');
  for (const [i, { dtype }] of specs.entries()) {
    if (bf16 && activations.includes(i)) continue;
    // An op of any number of inputs lists a few of them.
    const beyond = dtypes.every((d) => i >= d.length);
    const inPlace = (d: DType[]): DType => d[beyond ? d.length - 1 : i];
    if (dtypes.some((d) => inPlace(d) === dtype)) continue;
    const expected = [...new Set(dtypes.map(inPlace).filter(Boolean))].join(' or ');
    throw new TypeError(`${name}: input ${i} is ${dtype}, expected ${expected}; nothing is converted by itself`);
  }
}

/** Where a gradient goes next: another op's node, or a leaf tensor. */
export type Edge = Node | Tensor | undefined;

/**
 * One recorded op. Nodes are counted by the tensors and nodes that lead to them, not by the garbage collector:
 * closing a scope frees what a graph saved as soon as nothing can reach it, and `backward` frees it as it walks.
 */
export class Node {
  readonly def: AnyOp;
  readonly attrs: unknown;
  readonly needs: boolean[];
  readonly specs: Spec[];
  edges: Edge[];
  consumed = false;
  /** Tensors, or the op that makes one again. */
  #saved: (Tensor | Node | undefined)[];
  #result: Tensor | undefined;
  #references = 1;

  constructor(def: AnyOp, attrs: unknown, inputs: Tensor[], needs: boolean[], saved: Maybe<Tensor>[]) {
    this.def = def;
    this.attrs = attrs;
    this.needs = needs;
    this.specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    this.edges = inputs.map((t, i) => (needs[i] ? (t.node?.retain() ?? t) : undefined));
    this.#saved = saved.map((t) => {
      if (!t) return undefined;
      if (t.node?.def.again && !t.node.consumed) return t.node.retain();
      // An own handle on the same memory: a scope may close over the user's.
      return t.view().persist();
    });
  }

  /** What `vjp` reads. */
  get saved(): (Tensor | undefined)[] {
    return this.#saved.map((kept) => (kept instanceof Node ? kept.#again() : kept));
  }

  /** The op's result, computed once more and kept until the node is freed. */
  #again(): Tensor {
    if (!this.#result) {
      const { saved } = this;
      const inputs = (this.def.again as readonly number[]).map((i) => saved[i] as Tensor);
      const [result, ...auxiliaries] = execute(this.def, inputs, this.attrs, this.needs);
      for (const t of auxiliaries) t.dispose();
      this.#result = result.persist();
    }
    return this.#result;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /** Lets go of one reference; the last one frees what it saved and what only it leads to. */
  release(): void {
    // Iterative: graphs are too deep to recurse.
    const pending: Node[] = [this];
    for (let node = pending.pop(); node; node = pending.pop()) {
      if (--node.#references === 0) pending.push(...node.#drop());
    }
  }

  /** Frees what it saved and its edges although something may still refer to it: its gradient has been passed on. */
  consume(): void {
    for (const node of this.#drop()) node.release();
  }

  #drop(): Node[] {
    for (const kept of this.#saved) if (!(kept instanceof Node)) kept?.dispose();
    const inner = [...this.edges, ...this.#saved].filter((e) => e instanceof Node);
    this.#result?.dispose();
    this.#saved = [];
    this.edges = [];
    this.consumed = true;
    return inner;
  }
}

/** `bytes` of a cost that is moving every input and output once. */
export const elementsOf = (...shapes: Shape[]): number => shapes.reduce((n, s) => n + size(s), 0);
