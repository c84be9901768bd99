import { type Gen, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

// Targets are i32 [R], one token for each row, or i32 [n, 2]: pairs (row, token), of which a row may have any number.
// A target outside the logits makes NaN of what depends on it; hosts check targets where they make them.

/** Number of targets; 1 where they are tokens, 2 where they are pairs. */
export function targetDims(name: string, R: number, targets: Spec, weights?: Spec): { n: number; columns: number } {
  const [n, pair] = targets.shape;
  const columns = targets.shape.length;
  if (!(columns === 1 && n === R) && !(columns === 2 && pair === 2)) {
    throw new ShapeError(`${name}: targets ${formatShape(targets.shape)} are neither [${R}] nor pairs [n, 2]`);
  }
  if (weights && (weights.shape.length !== 1 || weights.shape[0] !== n)) {
    throw new ShapeError(`${name}: weights ${formatShape(weights.shape)} for ${n} targets`);
  }
  return { n, columns };
}

function logitDims(name: string, [logits, targets, weights]: Spec[]) {
  const [R, V] = logits.shape;
  if (logits.shape.length !== 2)
    throw new ShapeError(`${name}: logits must be [R, V], found ${formatShape(logits.shape)}`);
  return { R, V, ...targetDims(name, R, targets, weights) };
}

/** Calls `visit(i, row, token)` for every target; a row or token outside the logits is NaN. */
function eachTarget(
  targets: Float64Array,
  columns: number,
  [R, V]: [number, number],
  visit: (i: number, row: number, token: number) => void,
): void {
  const inside = (index: number, limit: number): number => (index >= 0 && index < limit ? index : Number.NaN);
  for (let i = 0; i < targets.length / columns; i++) {
    const row = columns === 1 ? i : targets[2 * i];
    visit(i, inside(row, R), inside(targets[columns * i + columns - 1], V));
  }
}

export function writeLogProbs(
  logProbs: Float64Array,
  lse: Float64Array,
  logits: Float64Array,
  targets: Float64Array,
  { R, V, columns }: { R: number; V: number; columns: number },
): void {
  for (let r = 0; r < R; r++) {
    const z = logits.subarray(r * V, (r + 1) * V);
    const largest = z.reduce((m, v) => Math.max(m, v), Number.NEGATIVE_INFINITY);
    lse[r] = largest + Math.log(z.reduce((sum, v) => sum + Math.exp(v - largest), 0));
  }
  eachTarget(targets, columns, [R, V], (i, row, token) => {
    logProbs[i] = (logits[row * V + token] ?? Number.NaN) - lse[row];
  });
}

export const weightedLoss = (logProbs: Float64Array, weights: Float64Array): number =>
  weights.reduce((sum, w, i) => sum - w * logProbs[i], 0);

/** d(loss)/d(logits): Σ over the row's targets of w·(softmax − onehot). */
export function writeGradLogits(
  dLogits: Float64Array,
  logits: Float64Array,
  targets: Float64Array,
  weights: Float64Array,
  lse: Float64Array,
  { R, V, columns }: { R: number; V: number; columns: number },
): void {
  const share = new Float64Array(R);
  eachTarget(targets, columns, [R, V], (i, row, token) => {
    share[row] += weights[i] + 0 * token;
    dLogits[row * V + token] -= weights[i];
  });
  for (let i = 0; i < R * V; i++) {
    const r = Math.floor(i / V);
    dLogits[i] += share[r] * Math.exp(logits[i] - lse[r]);
  }
}

/** Targets of both kinds, and weights that do not cancel. */
export function sampleTargets(gen: Gen, R: number, V: number): [targets: Tensor, weights: Tensor] {
  if (gen.int(0, 2) === 0) return [gen.ints([R], 0, V - 1), gen.tensor([R], { lo: 0.1, hi: 1 })];
  const n = R === 0 ? 0 : gen.dim(12, { zero: true });
  const pairs = Array.from({ length: n }, () => [gen.int(0, R - 1), gen.int(0, V - 1)]);
  return [gen.indices(pairs.flat(), [n, 2]), gen.tensor([n], { lo: 0.1, hi: 1 })];
}

/** Inputs: g, logits, targets, weights, log-sum-exp. */
export const crossEntropyGrad = op<void>({
  name: 'crossEntropyGrad',
  doc: "crossEntropy's gradient for the logits, from g, its inputs and the saved log-sum-exp",
  outputs: ([, logits]) => [logits],
  reference: ([dLogits], [g, logits, targets, weights, lse], [, ...specs]) => {
    const dims = logitDims('crossEntropyGrad', specs);
    writeGradLogits(dLogits, logits, targets, weights, lse, dims);
    for (let i = 0; i < dLogits.length; i++) dLogits[i] *= g[0];
  },
  launch: ([, ...specs]) => {
    const { R, V, n, columns } = logitDims('crossEntropyGrad', specs);
    const kernel = `crossEntropyGrad_${specs[0].dtype}`;
    const inputs = [0, 1, 2, 3, 4];
    return [{ kernel, outputs: [0], inputs, ints: [R, V, n, columns], work: [V, R, 1] }];
  },
  dtypes: [['f32', 'f32', 'i32', 'f32', 'f32']],
  activations: [1],
  sample: (gen, [, dtype]) => {
    const [R, V] = [gen.dim(9, { zero: true }), Math.max(5, gen.dim(300))];
    const lse = gen.tensor([R], { lo: Math.log(V), hi: Math.log(V) + 0.1 });
    const logits = gen.tensor([R, V], { dtype, lo: -0.5, hi: 0.5 });
    return [[gen.tensor([], { apart: 0.1 }), logits, ...sampleTargets(gen, R, V), lse], undefined];
  },
  bench: () => [
    [
      [[], [256, 8192], [256], [256], [256]].map((shape, i): Spec => ({ shape, dtype: i === 2 ? 'i32' : 'f32' })),
      undefined,
    ],
  ],
  cost: ([, logits]) => ({ multiplyAdds: 2 * size(logits.shape), bytes: 8 * size(logits.shape) }),
});

const applyCrossEntropy = op<void>({
  name: 'crossEntropy',
  doc: 'Σ w·(logsumexp(z) − z[target]) over targets',
  // Beside the loss: log-probabilities [n] of the targets and log-sum-exp [R] of the rows.
  outputs: (specs) => {
    const { R, n } = logitDims('crossEntropy', specs);
    return [[], [n], [R]].map((shape) => ({ shape, dtype: 'f32' }));
  },
  reference: ([loss, logProbs, lse], [logits, targets, weights], specs) => {
    writeLogProbs(logProbs, lse, logits, targets, logitDims('crossEntropy', specs));
    loss[0] = weightedLoss(logProbs, weights);
  },
  save: ([logits, targets, weights], [, , lse]) => [logits, targets, weights, lse],
  vjp: (g, { saved }) => [crossEntropyGrad([g, ...saved], undefined)],
  launch: (specs) => {
    const { R, V, n, columns } = logitDims('crossEntropy', specs);
    return [
      {
        kernel: `logProbs_${specs[0].dtype}`,
        outputs: [1, 2],
        inputs: [0, 1],
        ints: [R, V, n, columns],
        work: [V, R, 1],
      },
      { kernel: 'weightedLoss_f32', outputs: [0], inputs: [-2, 2], ints: [n], work: [n, 1, 1] },
    ];
  },
  constants: [2],
  dtypes: [['f32', 'i32', 'f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const [R, V] = [gen.dim(9, { zero: true }), Math.max(5, gen.dim(300))];
    return [[gen.tensor([R, V], { dtype, lo: -0.5, hi: 0.5 }), ...sampleTargets(gen, R, V)], undefined];
  },
  bench: () => [
    [[[256, 8192], [256], [256]].map((shape, i): Spec => ({ shape, dtype: i === 1 ? 'i32' : 'f32' })), undefined],
  ],
  cost: ([logits]) => ({ multiplyAdds: 2 * size(logits.shape), bytes: 4 * size(logits.shape) }),
});

/**
 * Σ w·(logsumexp(z[row]) − z[row, token]) over targets, a scalar. Divide the weights by their sum for a mean.
 * @param logits [R, V]
 * @param targets i32 [R], or pairs (row, token) i32 [n, 2]
 * @param weights f32 [R] or [n]; constants
 * @throws ShapeError when the shapes do not fit
 */
export const crossEntropy = (logits: Tensor, targets: Tensor, weights: Tensor): Tensor =>
  applyCrossEntropy([logits, targets, weights], undefined);
