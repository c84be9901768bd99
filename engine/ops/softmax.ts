import { computeDType, type DType } from '../dtype.ts';
import { elementsOf, type OpDef, op, type Spec } from '../op.ts';
import { formatShape, normalizeAxis, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { log } from './activation.ts';
import { eq } from './compare.ts';
import { div, exp, mul, sub } from './elementwise.ts';
import { reshape, transpose } from './move.ts';
import { cast } from './quant.ts';
import { sumTo } from './reduce.ts';

/** A tensor seen as rows of its last axis. */
function rowsOf(name: string, { shape }: Spec): { rows: number; n: number } {
  if (shape.length === 0) throw new ShapeError(`${name}: a scalar has no axis`);
  const n = shape[shape.length - 1];
  return { rows: size(shape.slice(0, -1)), n };
}

/** Runs `f` on the last axis: another axis is moved there and back. */
function alongLast(name: string, x: Tensor, axis: number, f: (x: Tensor) => Tensor): Tensor {
  const a = normalizeAxis(name, axis, x.shape);
  return a === x.ndim - 1 ? f(x) : transpose(f(transpose(x, a, -1)), a, -1);
}

type RowFunction = (y: Float64Array, x: Float64Array) => void;
type Rules = Pick<OpDef<void>, 'define' | 'save' | 'vjp'>;

/** An op on the rows of the last axis, whose result has `columns` values a row (all of them, or one). */
function rowwise(
  name: string,
  doc: string,
  f: RowFunction,
  rules: Rules,
  reduces: boolean,
  dtype?: DType,
): (x: Tensor) => Tensor {
  const outShape = ({ shape }: Spec): Shape => (reduces ? shape.with(shape.length - 1, 1) : shape);
  const apply = op<void>({
    name,
    doc,
    ...rules,
    outputs: ([x]) => {
      const { n } = rowsOf(name, x);
      if (reduces && n === 0) throw new ShapeError(`${name}: the last axis of ${formatShape(x.shape)} is empty`);
      return [{ shape: outShape(x), dtype: dtype ?? x.dtype }];
    },
    reference: ([y], [x], [s]) => {
      const { rows, n } = rowsOf(name, s);
      const width = reduces ? 1 : n;
      for (let r = 0; r < rows; r++) f(y.subarray(r * width, (r + 1) * width), x.subarray(r * n, (r + 1) * n));
    },
    launch: ([x]) => {
      const { rows, n } = rowsOf(name, x);
      return [{ kernel: `${name}_${x.dtype}`, outputs: [0], inputs: [0], ints: [rows, n], work: [rows, 1, 1] }];
    },
    dtypes: [['f32']],
    activations: [0],
    sample: (gen, [type]) => [[gen.tensor([gen.dim(9), gen.dim(300)], { dtype: type, distinct: true })], undefined],
    bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], undefined]],
    cost: ([x]) => ({ multiplyAdds: 4 * size(x.shape), bytes: 4 * elementsOf(x.shape, outShape(x)) }),
  });
  return (x) => apply([x], undefined);
}

const top = (x: Float64Array): number => x.reduce((m, v) => Math.max(m, v), Number.NEGATIVE_INFINITY);
const bottom = (x: Float64Array): number => x.reduce((m, v) => Math.min(m, v), Number.POSITIVE_INFINITY);

/** The gradient of an extreme goes to the elements that equal it, in equal parts (torch's amax). */
const extremeRules: Rules = {
  save: ([x], [y]) => [x, y],
  vjp: (g, { saved: [x, y] }): Tensor[] => {
    const chosen = cast(eq(x, y), computeDType(x.dtype));
    return [mul(g, div(chosen, sumTo(chosen, y.shape)))];
  },
};

const rowMax = rowwise('max', 'the largest element along an axis', (y, x) => y.set([top(x)]), extremeRules, true);
const rowMin = rowwise('min', 'the smallest element along an axis', (y, x) => y.set([bottom(x)]), extremeRules, true);
const rowArgmax = rowwise(
  'argmax',
  'index of the first largest element along an axis',
  (y, x) => y.set([x.indexOf(top(x))]),
  {},
  true,
  'i32',
);

const rowSoftmax: (x: Tensor) => Tensor = rowwise(
  'softmax',
  'eˣ normalised along an axis',
  (y, x) => {
    const m = top(x);
    const sum = x.reduce((s, v) => s + Math.exp(v - m), 0);
    for (let i = 0; i < x.length; i++) y[i] = Math.exp(x[i] - m) / sum;
  },
  {
    define: ([x]) => {
      const e = exp(sub(x, rowMax(x)));
      return div(e, sumTo(e, x.shape.with(x.ndim - 1, 1)));
    },
    save: (_, [y]) => [y],
    vjp: (g, { saved: [y] }): Tensor[] => {
      const gy = mul(g, y);
      return [sub(gy, mul(y, sumTo(gy, y.shape.with(y.ndim - 1, 1))))];
    },
  },
  false,
);

const rowLogSoftmax: (x: Tensor) => Tensor = rowwise(
  'logSoftmax',
  'ln softmax along an axis',
  (y, x) => {
    const m = top(x);
    const lse = m + Math.log(x.reduce((s, v) => s + Math.exp(v - m), 0));
    for (let i = 0; i < x.length; i++) y[i] = x[i] - lse;
  },
  {
    define: ([x]) => log(rowSoftmax(x)),
    save: (_, [y]) => [y],
    vjp: (g, { saved: [y] }): Tensor[] => [sub(g, mul(exp(y), sumTo(g, y.shape.with(y.ndim - 1, 1))))],
  },
  false,
);

/** eˣ / Σ eˣ along `axis`. */
export const softmax = (x: Tensor, axis = -1): Tensor => alongLast('softmax', x, axis, rowSoftmax);
/** x − ln Σ eˣ along `axis`. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => alongLast('logSoftmax', x, axis, rowLogSoftmax);

export interface ReduceOptions {
  /** Axes to reduce; default all. */
  axis?: number | readonly number[];
  /** Keep reduced axes with size 1. */
  keepDims?: boolean;
}

/** Shapes of a reduction: with the reduced axes as 1, and the result's. */
function reduced(name: string, x: Tensor, { axis, keepDims = false }: ReduceOptions) {
  const all = x.shape.map((_, i) => i);
  const axes = axis === undefined ? all : [axis].flat().map((a) => normalizeAxis(name, a, x.shape));
  const kept = x.shape.map((s, i) => (axes.includes(i) ? 1 : s));
  return {
    axes,
    kept,
    count: size(axes.map((a) => x.shape[a])),
    result: keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i)),
  };
}

/** Σ x over axes. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { kept, result } = reduced('sum', x, options);
  return reshape(sumTo(x, kept), result);
}

/** Mean over axes. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { count } = reduced('mean', x, options);
  return mul(sum(x, options), 1 / count);
}

/** Variance over axes: Σ(x − mean)² / (count − correction); correction 1 (torch's default) or 0. */
export function variance(
  x: Tensor,
  { correction = 1, ...options }: ReduceOptions & { correction?: number } = {},
): Tensor {
  const { kept, result, count } = reduced('variance', x, options);
  const centred = sub(x, mul(sumTo(x, kept), 1 / count));
  return reshape(mul(sumTo(mul(centred, centred), kept), 1 / (count - correction)), result);
}

function extreme(name: string, f: (x: Tensor) => Tensor, x: Tensor, options: ReduceOptions): Tensor {
  const { axes, result } = reduced(name, x, options);
  const value = axes.length === x.ndim ? f(reshape(x, [x.size])) : axes.reduce((t, a) => alongLast(name, t, a, f), x);
  return reshape(value, result);
}

/** Largest element over axes. */
export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => extreme('max', rowMax, x, options);
/** Smallest element over axes. */
export const min = (x: Tensor, options: ReduceOptions = {}): Tensor => extreme('min', rowMin, x, options);
/** Index (i32) of the first largest element along one axis. */
export function argmax(x: Tensor, { axis = -1, keepDims = false }: { axis?: number; keepDims?: boolean } = {}): Tensor {
  const { result } = reduced('argmax', x, { axis, keepDims });
  return reshape(alongLast('argmax', x, axis, rowArgmax), result);
}
