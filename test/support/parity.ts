import { isReference } from '../../engine/backend.ts';
import { type ComputeDType, type DType, dtypes, isQuantized } from '../../engine/dtype.ts';
import { execute } from '../../engine/execute.ts';
import { type Backend, backward, fromBytes, noGrad, parameter, type Tensor, tensor } from '../../engine/index.ts';
import { type AnyOp, apply, combinations, type Spec } from '../../engine/op.ts';
import { cast } from '../../engine/ops/quant.ts';
import { size } from '../../engine/shape.ts';
import type { Target } from '../../kernels/cuda/table.ts';
import { differentiable, host } from './gradcheck.ts';

/**
 * The same tensor on another backend, `shift` elements into its storage. Inputs of tests are exact in every backend's
 * precision.
 */
export async function moved(t: Tensor, backend: Backend, shift = 0): Promise<Tensor> {
  const { dtype, shape } = t;
  if (isQuantized(dtype)) return fromBytes(await t.bytes(), shape, dtype, backend);
  const values = await t.data();
  if (shift === 0) return tensor(values, shape, { dtype, backend });
  return tensor([...new Array<number>(shift).fill(0), ...values], { dtype, backend }).view(
    shape,
    shift * dtypes[dtype].bytes,
  );
}

/** |t|, of quantised blocks as f32: an op that takes these takes those. */
const absolute = (t: Tensor): Tensor => {
  if (t.dtype === 'i32') return t;
  const numbers = isQuantized(t.dtype) ? cast(t) : t;
  return tensor(host(numbers).map(Math.abs), t.shape, { dtype: numbers.dtype, backend: t.backend });
};

/** One case of the derived suite: an op, the types of its inputs, the type of its activations. */
export interface ParityCase {
  def: AnyOp;
  dtypes: DType[];
  compute: ComputeDType;
  name: string;
}

/** Every op × combination of types, for backends that compute in these types. */
export const parityCases = (ops: Iterable<AnyOp>, computes: readonly ComputeDType[]): ParityCase[] =>
  [...ops].flatMap((def) =>
    computes.flatMap((compute) =>
      combinations(def, compute).map((dtypes) => ({
        def,
        dtypes,
        compute,
        name: `${def.name}(${dtypes.join(', ')})${compute === 'f32' ? '' : ` in ${compute}`}`,
      })),
    ),
  );

/** 16·2⁻²⁴ of an f32 result; a bf16 result is rounded to 8 bits once or twice on its way. */
const precision = { f32: 16 * 2 ** -24, bf16: 2 * 2 ** -8 };

/** Ops that in bf16 round weights of other types and e^(z − m) before they sum them in f32. */
const roundedOperands: ReadonlySet<string> = new Set(['linearLogProbs', 'linearCrossEntropy']);

/** How a case runs. */
export interface ParityOptions {
  /** Type of the activations. */
  compute?: ComputeDType;
  /** Inputs begin so many elements into their storages. */
  shift?: number;
  /** What operands of f32 products are rounded to before they are multiplied. */
  operands?: 'f32' | 'f16';
}

/** In modules of a target. */
export const operandsOf = (target: Target): 'f32' | 'f16' => (target >= 80 ? 'f32' : 'f16');

/**
 * How many products of mma.cuh one after another make a result: linear's of up to eight rows multiply what is stored. The op
 * that is made of others, a LoRA layer, multiplies what it has made.
 */
const onTensorCores = (def: AnyOp, specs: Spec[], attrs: unknown, needs: boolean[]): number => {
  if (!def.launch) return 2;
  const found = def
    .launch(specs, attrs, needs)
    .some(
      ({ kernel, ints = [] }) =>
        /^(linearGradInput|linearAdd|dropoutLinear\w*|matmul)_/.test(kernel) ||
        (/^linear_/.test(kernel) && ints[0] > 8),
    );
  return found ? 1 : 0;
};

/** What an output is rounded to on its way: where activations are bf16, statistics and sums stay f32. */
const roundedTo = (def: AnyOp, output: Tensor, compute: ComputeDType): ComputeDType =>
  output.dtype === 'f32' && !roundedOperands.has(def.name) ? 'f32' : compute;

/**
 * How much rounding an output element may show, in f32: 16·2⁻²⁴·√K·Σ|a||b| for a contraction (the op run on absolute
 * values is an upper bound of Σ|a||b|), 16 ulp of the row's largest |output| for the rest. Sums of bf16 products are f32:
 * what shows is the rounding of operands and result, with no √K. Rounding to f16 changes each of two operands by up to 2⁻¹¹ of it.
 */
function allowances(
  def: AnyOp,
  inputs: Tensor[],
  attrs: unknown,
  outputs: Tensor[],
  needs: boolean[],
  { compute = 'f32', operands = 'f32' }: ParityOptions,
): Float64Array[] {
  const specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  if (def.contraction) {
    const K = Math.max(1, def.contraction(specs, attrs));
    const sums = noGrad(() => execute(def, inputs.map(absolute), attrs, needs));
    // A LoRA layer without dropout rounds its adapter's first product, that scaled, and the sum that it goes into.
    const roundings = def.launch ? 1 : 3;
    const ofOperands = operands === 'f16' ? onTensorCores(def, specs, attrs, needs) * 2 * 2 ** -11 : 0;
    return outputs.map((o, k) => {
      const rowMax = rowMaxima(o);
      const to = roundedTo(def, o, compute);
      const relative = roundings * precision[to] * (to === 'f32' ? Math.sqrt(K) : 1) + ofOperands;
      return host(sums[k]).map((s, i) => relative * Math.max(Math.abs(s), rowMax[i]));
    });
  }
  // Integers are exact.
  return outputs.map((o) =>
    rowMaxima(o).map((m) => (o.dtype === 'i32' ? 0 : precision[roundedTo(def, o, compute)] * m)),
  );
}

/** The same for tensors that an op overwrites: sums with what stood there may cancel, so that counts as well. */
function overwriteAllowances(before: Float64Array[], after: Tensor[], compute: ComputeDType): Float64Array[] {
  return after.map((t, k) => {
    const largest = rowMaxima(t, before[k]);
    return rowMaxima(t).map((m, i) => precision[compute] * Math.max(m, largest[i]));
  });
}

function rowMaxima(t: Tensor, values = host(t)): Float64Array {
  const columns = t.shape.at(-1) ?? 1;
  const out = new Float64Array(t.size);
  for (let row = 0; row < t.size; row += columns) {
    let largest = 0;
    for (let i = row; i < row + columns; i++) {
      if (Number.isFinite(values[i])) largest = Math.max(largest, Math.abs(values[i]));
    }
    out.fill(largest, row, row + columns);
  }
  return out;
}

/**
 * Compares a backend's kernels with the reference on one case: every output, auxiliaries too, and of an op in place every
 * tensor it is given.
 * @throws Error naming the first element that differs
 */
export async function checkParity(
  def: AnyOp,
  inputs: Tensor[],
  attrs: unknown,
  backend: Backend,
  options: ParityOptions = {},
): Promise<void> {
  const { compute = 'f32', shift = 0 } = options;
  const needs = differentiable(
    def,
    inputs.map((t) => t.dtype),
  );
  const device = await Promise.all(inputs.map((t) => moved(t, backend, shift)));
  const composite = !def.launch && !def.view;
  const before = def.inPlace ? inputs.map((t) => host(t).slice()) : [];
  const results = execute(def, inputs, attrs, needs);
  const deviceResults = execute(def, device, attrs, needs, !composite);
  const [expected, found] = def.inPlace ? [inputs, device] : [results, deviceResults];
  const allowed = def.inPlace
    ? overwriteAllowances(before, expected, compute)
    : allowances(def, inputs, attrs, expected, needs, options);
  for (const [k, e] of expected.entries()) {
    const values = await found[k].data();
    const wanted = host(e);
    if (size(found[k].shape) !== size(e.shape)) throw new Error(`${def.name}: output ${k} has another size`);
    for (let i = 0; i < wanted.length; i++) {
      const same = Object.is(wanted[i], values[i]) || Math.abs(values[i] - wanted[i]) <= allowed[k][i] + 1e-37;
      if (!same) {
        const shapes = inputs.map((t) => `[${t.shape}]`).join(' ');
        throw new Error(
          `${def.name} ${shapes} ${JSON.stringify(attrs)}: output ${k}[${i}] is ${values[i]}, the reference says ${wanted[i]} ± ${allowed[k][i]}`,
        );
      }
    }
  }
}

/** Whether gradients through `def`'s own rule agree with those through its definition in other ops, in float64. */
export function checkDefinition(def: AnyOp, inputs: Tensor[], attrs: unknown): void {
  const { define } = def;
  if (!define) return;
  const none = inputs.map(() => false);
  const needs = def.vjp
    ? differentiable(
        def,
        inputs.map((t) => t.dtype),
      )
    : none;
  const gradients = (run: (leaves: Tensor[]) => Tensor): { out: Float64Array; grads: (Float64Array | undefined)[] } => {
    const leaves = inputs.map((t, i) => (needs[i] ? parameter(t.view()) : t));
    const out = run(leaves);
    const seed = tensor(
      Float64Array.from({ length: out.size }, (_, i) => Math.sin(i + 1)),
      out.shape,
      { backend: out.backend },
    );
    if (out.requiresGrad) backward(out, seed);
    const result = { out: host(out).slice(), grads: leaves.map((t) => t.grad && host(t.grad).slice()) };
    for (const [i, t] of leaves.entries()) {
      t.grad?.dispose();
      if (needs[i]) t.dispose();
    }
    return result;
  };
  if (!isReference(inputs[0].backend)) throw new Error('checkDefinition runs on the reference backend');
  const own = def.reference ? noGrad(() => host(execute(def, inputs, attrs, none)[0]).slice()) : undefined;
  const defined = gradients((leaves) => [define(leaves, attrs)].flat()[0]);
  if (own) assertClose(`${def.name}: value`, own, defined.out, 1e-12);
  if (!def.vjp) return;
  const ruled = gradients((leaves) => apply(def, leaves, attrs));
  for (const [i, g] of defined.grads.entries()) {
    if (needs[i]) assertClose(`${def.name}: gradient of input ${i}`, ruled.grads[i] ?? [], g ?? [], 1e-10);
  }
}

function assertClose(what: string, a: ArrayLike<number>, b: ArrayLike<number>, relative: number): void {
  if (a.length !== b.length) throw new Error(`${what}: ${a.length} against ${b.length} elements`);
  let largest = 1;
  for (let i = 0; i < b.length; i++) largest = Math.max(largest, Math.abs(b[i]));
  for (let i = 0; i < a.length; i++) {
    if (!(Math.abs(a[i] - b[i]) <= relative * largest))
      throw new Error(`${what}: element ${i} is ${a[i]}, expected ${b[i]}`);
  }
}
