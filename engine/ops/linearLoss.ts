import { byteLength, computeDType, type DType, weightDTypes } from '../dtype.ts';
import { type Gen, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { mul } from './elementwise.ts';
import { linear } from './linear.ts';
import {
  crossEntropy,
  crossEntropyGrad,
  sampleTargets,
  targetDims,
  weightedLoss,
  writeGradLogits,
  writeLogProbs,
} from './loss.ts';
import { matmul } from './matmul.ts';
import { cast } from './quant.ts';

function linearDims(name: string, [h, w, targets, weights]: Spec[]) {
  const [R, C] = h.shape;
  const [V, width] = w.shape;
  if (h.shape.length !== 2 || w.shape.length !== 2 || width !== C) {
    const shapes = `${formatShape(h.shape)} and ${formatShape(w.shape)}`;
    throw new ShapeError(`${name}: expected h [R, C] and W [V, C], found ${shapes}`);
  }
  return { R, C, V, ...targetDims(name, R, targets, weights) };
}

function product(h: Float64Array, w: Float64Array, { R, V, C }: { R: number; V: number; C: number }): Float64Array {
  const logits = new Float64Array(R * V);
  for (let i = 0; i < R * V; i++) {
    const [r, v] = [Math.floor(i / V), i % V];
    for (let c = 0; c < C; c++) logits[i] += h[r * C + c] * w[v * C + c];
  }
  return logits;
}

function sampleLinear(gen: Gen, [dtype, weight]: DType[]): [h: Tensor, w: Tensor, targets: Tensor, weights: Tensor] {
  const C = weight.endsWith('_k') ? 256 : weight.startsWith('q') ? 32 : Math.max(4, gen.dim(33));
  const [R, V] = [gen.dim(9, { zero: true }), Math.max(5, gen.dim(65))];
  // Logits of about 1: where one token takes it all, the loss is a difference of nearly equal numbers.
  const h = gen.tensor([R, C], { dtype, lo: -(C ** -0.5), hi: C ** -0.5 });
  return [h, gen.tensor([V, C], { dtype: weight }), ...sampleTargets(gen, R, V)];
}

const benchLinear = (inputs: number) => () =>
  (['f32', 'q8_0'] as const).map((dtype): [Spec[], undefined] => {
    const h: Spec = { shape: [32, 576], dtype: 'f32' };
    const targets: Spec[] = [
      { shape: [32], dtype: 'i32' },
      { shape: [32], dtype: 'f32' },
    ];
    return [[h, { shape: [49152, 576], dtype }, ...targets].slice(0, inputs), undefined];
  });

const linearCost =
  (products: number) =>
  ([h, w]: Spec[]): { multiplyAdds: number; bytes: number } => {
    const read = byteLength(w.dtype, w.shape);
    return { multiplyAdds: products * h.shape[0] * size(w.shape), bytes: products * read + 8 * size(h.shape) };
  };

const applyLogProbs = op<void>({
  name: 'linearLogProbs',
  doc: 'log-softmax(h·Wᵀ) at targets, without ever holding all logits',
  outputs: (specs) => {
    const { R, n } = linearDims('linearLogProbs', specs);
    return [[n], [R]].map((shape) => ({ shape, dtype: 'f32' }));
  },
  reference: ([logProbs, lse], [h, w, targets], specs) => {
    const dims = linearDims('linearLogProbs', specs);
    writeLogProbs(logProbs, lse, product(h, w, dims), targets, dims);
  },
  launch: ([h, w, targets]) => {
    const { R, C, V, n, columns } = linearDims('linearLogProbs', [h, w, targets]);
    const kernel = `linearLogProbs_${h.dtype}_${w.dtype}`;
    const ints = [R, V, n, columns, C];
    return [{ kernel, outputs: [0, 1], inputs: [0, 1, 2], ints, work: [V, R, 1] }];
  },
  contraction: (specs) => specs[0].shape[1],
  dtypes: weightDTypes.map((w): DType[] => ['f32', w, 'i32']),
  activations: [0],
  sample: (gen, dtypes) => [sampleLinear(gen, dtypes).slice(0, 3), undefined],
  bench: benchLinear(3),
  cost: linearCost(1),
});

/**
 * Log-probabilities [n] of targets under softmax(h·Wᵀ): each distinct row's logits are computed once, a part of the
 * vocabulary at a time. For scoring: it has no gradient.
 * @param h f32 [R, C]
 * @param weight [V, C] of any stored type
 * @param targets pairs (row, token) i32 [n, 2], or i32 [R]
 * @throws ShapeError when the shapes do not fit
 */
export const linearLogProbs = (h: Tensor, weight: Tensor, targets: Tensor): Tensor =>
  applyLogProbs([h, weight, targets], undefined);

const applyLinearCrossEntropy = op<void>({
  name: 'linearCrossEntropy',
  doc: 'crossEntropy(h·Wᵀ), without ever holding all logits; the gradient for h is made in the forward pass',
  // Beside the loss: log-probabilities [n], log-sum-exp [R] and, where it is needed, d(loss)/dh [R, C].
  outputs: (specs, _, needs) => {
    const { R, C, n } = linearDims('linearCrossEntropy', specs);
    const shapes = [[], [n], [R], ...(needs[0] ? [[R, C]] : [])];
    return shapes.map((shape) => ({ shape, dtype: 'f32' }));
  },
  reference: ([loss, logProbs, lse, dh], [h, w, targets, weights], specs) => {
    const dims = linearDims('linearCrossEntropy', specs);
    const { R, C, V } = dims;
    const logits = product(h, w, dims);
    writeLogProbs(logProbs, lse, logits, targets, dims);
    loss[0] = weightedLoss(logProbs, weights);
    if (!dh) return;
    const dLogits = new Float64Array(R * V);
    writeGradLogits(dLogits, logits, targets, weights, lse, dims);
    for (let i = 0; i < R * V; i++) {
      const [r, v] = [Math.floor(i / V), i % V];
      for (let c = 0; c < C; c++) dh[r * C + c] += dLogits[i] * w[v * C + c];
    }
  },
  define: ([h, w, targets, weights]) => crossEntropy(linear(h, w), targets, weights),
  save: ([h, w, targets, weights], [, , lse, dh], needs) =>
    needs[1] ? [needs[0] && dh, h, w, targets, weights, lse] : [dh],
  vjp: (g, { saved: [dh, h, w, ...rest], specs }, needs) => [
    needs[0] && cast(mul(dh, g), computeDType(specs[0].dtype)),
    // W's gradient is [V, C] itself, so that the logits [R, V] made again here are not what fills the memory.
    needs[1] && matmul(crossEntropyGrad([g, linear(h, w), ...rest], undefined), h, { transA: true }),
  ],
  launch: (specs, _, needs) => {
    const { R, C, V, n, columns } = linearDims('linearCrossEntropy', specs);
    const ints = [R, V, n, columns, C];
    const types = `${specs[0].dtype}_${specs[1].dtype}`;
    return [
      needs[0]
        ? {
            kernel: `linearLogProbsGrad_${types}`,
            outputs: [1, 2, 3],
            inputs: [0, 1, 2, 3],
            ints,
            work: [V, R, 1],
          }
        : { kernel: `linearLogProbs_${types}`, outputs: [1, 2], inputs: [0, 1, 2], ints, work: [V, R, 1] },
      { kernel: 'weightedLoss_f32', outputs: [0], inputs: [-2, 3], ints: [n], work: [n, 1, 1] },
    ];
  },
  constants: [3],
  // A logit is a sum over C, the gradient one over V.
  contraction: ([, w]) => w.shape[0] + w.shape[1],
  dtypes: weightDTypes.map((w): DType[] => ['f32', w, 'i32', 'f32']),
  activations: [0],
  sample: (gen, dtypes) => [sampleLinear(gen, dtypes), undefined],
  bench: benchLinear(4),
  cost: linearCost(2),
});

/**
 * Σ w·(logsumexp(z[row]) − z[row, token]) with z = h·Wᵀ, a scalar: the loss of a language model from its final hidden
 * states, for which all logits would be the largest tensor by far.
 * @param h f32 [R, C]
 * @param weight [V, C] of any stored type; trainable where it is f32
 * @param targets pairs (row, token) i32 [n, 2], or i32 [R]
 * @param weights f32 [n]; constants
 * @throws ShapeError when the shapes do not fit
 */
export const linearCrossEntropy = (h: Tensor, weight: Tensor, targets: Tensor, weights: Tensor): Tensor =>
  applyLinearCrossEntropy([h, weight, targets, weights], undefined);
