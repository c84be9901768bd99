import { computeDType, type DType } from '../dtype.ts';
import { type Gen, op, type Spec } from '../op.ts';
import { formatShape, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { rsqrt } from './activation.ts';
import { add, mul, sub } from './elementwise.ts';
import { cast } from './quant.ts';
import { sumTo } from './reduce.ts';
import { mean } from './softmax.ts';

export interface NormAttrs {
  /** Added to the mean square (or variance) before the root. */
  eps: number;
}

function dims(name: string, x: Spec, vectors: Spec[]): { rows: number; C: number; statistics: Spec } {
  const C = x.shape[x.shape.length - 1];
  for (const { shape } of vectors) {
    if (shape.length !== 1 || shape[0] !== C) {
      throw new ShapeError(`${name}: x ${formatShape(x.shape)} has ${C} columns, its vector is ${formatShape(shape)}`);
    }
  }
  const leading = x.shape.slice(0, -1);
  return { rows: size(leading), C, statistics: { shape: [...leading, 1], dtype: 'f32' } };
}

/** Mean (0 unless `centred`) and 1/√(mean square distance from it + eps) of a row. */
function rowStatistics(x: Float64Array, eps: number, centred: boolean): [mean: number, rstd: number] {
  const average = (f: (v: number) => number): number => x.reduce((sum, v) => sum + f(v), 0) / x.length;
  const mean = centred ? average((v) => v) : 0;
  return [mean, 1 / Math.sqrt(average((v) => (v - mean) ** 2) + eps)];
}

/** d/dx of Σ g⊙w⊙x̂ for one row: rstd·(gw − x̂·mean(gw⊙x̂)), less mean(gw) where the mean was subtracted. */
function rowGradient(
  dx: Float64Array,
  g: Float64Array,
  x: Float64Array,
  w: Float64Array,
  [mean, rstd]: [number, number],
  centred: boolean,
): void {
  const C = x.length;
  let [sum, dot] = [0, 0];
  for (let c = 0; c < C; c++) {
    if (centred) sum += (g[c] * w[c]) / C;
    dot += (g[c] * w[c] * (x[c] - mean) * rstd) / C;
  }
  for (let c = 0; c < C; c++) dx[c] = rstd * (g[c] * w[c] - sum - (x[c] - mean) * rstd * dot);
}

/** With a mean away from 0: a kernel that leaves it out, or takes it of too few columns, shows. */
function sampleX(gen: Gen, dtype: DType, leastColumns = 1): Tensor {
  const C = Math.max(leastColumns, gen.dim(300));
  return gen.tensor(gen.int(0, 2) ? [gen.dim(9, { zero: true }), C] : [2, 3, C], { dtype, lo: -1, hi: 3, apart: 0.1 });
}

const bench = (inputs: (x: Shape) => Shape[], attrs: unknown) => () =>
  [[2048, 576]].map((x): [Spec[], never] => [inputs(x).map((shape) => ({ shape, dtype: 'f32' })), attrs as never]);

const cost =
  (passes: number) =>
  ([x]: Spec[]): { multiplyAdds: number; bytes: number } => ({
    multiplyAdds: passes * size(x.shape),
    bytes: 4 * passes * size(x.shape),
  });

/** x / √(mean(x²) + eps) in primitives. */
const normalized = (x: Tensor, eps: number): Tensor =>
  mul(x, rsqrt(add(mean(mul(x, x), { axis: -1, keepDims: true }), eps)));

// The gradient for x is one op; those of weight and bias, rarely wanted, are written in primitives. Both are f32, as are
// the statistics, whatever the activations are.

const applyRmsGrad = op<void>({
  name: 'rmsNormGradInput',
  doc: "rmsNorm's gradient for x, from g, x, weight and the saved 1/rms",
  outputs: ([, x]) => [x],
  reference: ([dx], [g, x, w, rstd]) => {
    const C = w.length;
    for (let r = 0; r < rstd.length; r++) {
      const row = (a: Float64Array): Float64Array => a.subarray(r * C, (r + 1) * C);
      rowGradient(row(dx), row(g), row(x), w, [0, rstd[r]], false);
    }
  },
  launch: ([, x, w]) => {
    const { rows, C } = dims('rmsNormGradInput', x, [w]);
    return [
      {
        kernel: `rmsNormGradInput_${x.dtype}`,
        outputs: [0],
        inputs: [0, 1, 2, 3],
        ints: [rows, C],
        work: [rows, 1, 1],
      },
    ];
  },
  dtypes: [['f32', 'f32', 'f32', 'f32']],
  activations: [0, 1],
  sample: (gen, [dtype]) => {
    const x = sampleX(gen, dtype);
    const C = x.shape[x.ndim - 1];
    // Small enough that nothing cancels.
    const rstd = gen.tensor([...x.shape.slice(0, -1), 1], { lo: 0.1, hi: 0.3 });
    return [[gen.tensor(x.shape, { dtype }), x, gen.tensor([C]), rstd], undefined];
  },
  bench: bench((x) => [x, x, [x[1]], [x[0], 1]], undefined),
  cost: cost(3),
});

const applyRmsNorm = op<NormAttrs>({
  name: 'rmsNorm',
  doc: 'x / √(mean(x²) + ε) · weight over the last axis',
  outputs: ([x, w]) => [x, dims('rmsNorm', x, [w]).statistics],
  reference: ([y, rstd], [x, w], specs, { eps }) => {
    const { rows, C } = dims('rmsNorm', specs[0], [specs[1]]);
    for (let r = 0; r < rows; r++) {
      rstd[r] = rowStatistics(x.subarray(r * C, (r + 1) * C), eps, false)[1];
      for (let c = 0; c < C; c++) y[r * C + c] = x[r * C + c] * rstd[r] * w[c];
    }
  },
  define: ([x, w], { eps }) => cast(mul(normalized(cast(x), eps), w), computeDType(x.dtype)),
  save: ([x, w], [, rstd]) => [x, w, rstd],
  again: [0, 1],
  vjp: (g, { saved: [x, w, rstd], specs }, needs) => [
    needs[0] && applyRmsGrad([g, x, w, rstd], undefined),
    needs[1] && sumTo(mul(cast(g), mul(cast(x), rstd)), specs[1].shape),
  ],
  launch: ([x, w], { eps }) => {
    const { rows, C } = dims('rmsNorm', x, [w]);
    return [
      {
        kernel: `rmsNorm_${x.dtype}`,
        outputs: [0, 1],
        inputs: [0, 1],
        ints: [rows, C],
        floats: [eps],
        work: [rows, 1, 1],
      },
    ];
  },
  dtypes: [['f32', 'f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const x = sampleX(gen, dtype);
    return [[x, gen.tensor([x.shape[x.ndim - 1]])], { eps: gen.int(0, 1) ? 1e-5 : 0.1 }];
  },
  bench: bench((x) => [x, [x[1]]], { eps: 1e-5 }),
  cost: cost(2),
});

/**
 * x [..., C] / √(mean(x²) + eps) · weight [C], over the last axis.
 * Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
 * @throws ShapeError when the weight does not have C elements
 */
export const rmsNorm = (x: Tensor, weight: Tensor, attrs: NormAttrs): Tensor => applyRmsNorm([x, weight], attrs);

const applyLayerGrad = op<void>({
  name: 'layerNormGradInput',
  doc: "layerNorm's gradient for x, from g, x, weight and the saved mean and 1/σ",
  outputs: ([, x]) => [x],
  reference: ([dx], [g, x, w, mean, rstd]) => {
    const C = w.length;
    for (let r = 0; r < rstd.length; r++) {
      const row = (a: Float64Array): Float64Array => a.subarray(r * C, (r + 1) * C);
      rowGradient(row(dx), row(g), row(x), w, [mean[r], rstd[r]], true);
    }
  },
  launch: ([, x, w]) => {
    const { rows, C } = dims('layerNormGradInput', x, [w]);
    const inputs = [0, 1, 2, 3, 4];
    const kernel = `layerNormGradInput_${x.dtype}`;
    return [{ kernel, outputs: [0], inputs, ints: [rows, C], work: [rows, 1, 1] }];
  },
  dtypes: [['f32', 'f32', 'f32', 'f32', 'f32']],
  activations: [0, 1],
  sample: (gen, [dtype]) => {
    // In very narrow rows all elements may cancel.
    const x = sampleX(gen, dtype, 8);
    const statistics = [...x.shape.slice(0, -1), 1];
    const [mean, rstd] = [gen.tensor(statistics, { lo: -0.5, hi: 0.5 }), gen.tensor(statistics, { lo: 0.5, hi: 1 })];
    return [[gen.tensor(x.shape, { dtype }), x, gen.tensor([x.shape[x.ndim - 1]]), mean, rstd], undefined];
  },
  bench: bench((x) => [x, x, [x[1]], [x[0], 1], [x[0], 1]], undefined),
  cost: cost(3),
});

const applyLayerNorm = op<NormAttrs>({
  name: 'layerNorm',
  doc: '(x − mean(x)) / √(var(x) + ε) · weight + bias over the last axis',
  outputs: ([x, w, b]) => {
    const { statistics } = dims('layerNorm', x, [w, b]);
    return [x, statistics, statistics];
  },
  reference: ([y, mean, rstd], [x, w, b], specs, { eps }) => {
    const { rows, C } = dims('layerNorm', specs[0], specs.slice(1));
    for (let r = 0; r < rows; r++) {
      [mean[r], rstd[r]] = rowStatistics(x.subarray(r * C, (r + 1) * C), eps, true);
      for (let c = 0; c < C; c++) y[r * C + c] = (x[r * C + c] - mean[r]) * rstd[r] * w[c] + b[c];
    }
  },
  define: ([x, w, b], { eps }) => {
    const exact = cast(x);
    const centred = sub(exact, mean(exact, { axis: -1, keepDims: true }));
    return cast(add(mul(normalized(centred, eps), w), b), computeDType(x.dtype));
  },
  save: ([x, w], [, mean, rstd], needs) => (needs[0] || needs[1] ? [x, needs[0] && w, mean, rstd] : []),
  vjp: (g, { saved: [x, w, mean, rstd], specs }, needs) => [
    needs[0] && applyLayerGrad([g, x, w, mean, rstd], undefined),
    needs[1] && sumTo(mul(cast(g), mul(sub(cast(x), mean), rstd)), specs[1].shape),
    needs[2] && cast(g),
  ],
  launch: ([x, w], { eps }) => {
    const { rows, C } = dims('layerNorm', x, [w]);
    const inputs = [0, 1, 2];
    const kernel = `layerNorm_${x.dtype}`;
    return [{ kernel, outputs: [0, 1, 2], inputs, ints: [rows, C], floats: [eps], work: [rows, 1, 1] }];
  },
  // A mean is a sum that cancels.
  contraction: ([x]) => x.shape[x.shape.length - 1],
  dtypes: [['f32', 'f32', 'f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const x = sampleX(gen, dtype);
    const C = x.shape[x.ndim - 1];
    // Where a row is nearly constant the bias is all that is left.
    return [[x, gen.tensor([C]), gen.tensor([C], { lo: 1, hi: 2 })], { eps: gen.int(0, 1) ? 0.1 : 1 }];
  },
  bench: bench((x) => [x, [x[1]], [x[1]]], { eps: 1e-5 }),
  cost: cost(3),
});

/**
 * (x [..., C] − mean) / √(var + eps) · weight [C] + bias [C], over the last axis; var is that of the population.
 * Ba, Kiros and Hinton, "Layer Normalization", 2016.
 * @throws ShapeError when weight or bias do not have C elements
 */
export const layerNorm = (x: Tensor, weight: Tensor, bias: Tensor, attrs: NormAttrs): Tensor =>
  applyLayerNorm([x, weight, bias], attrs);
