import { type BenchInput, type Gen, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

/**
 * Slots of the f32 [8] tensor that holds what changes every step. The host writes the learning rate and the bias
 * corrections, the device the rest, so that a step needs no answer from the device.
 */
export const stateSlot = {
  lr: 0,
  /** 1 − β₁ᵗ and 1 − β₂ᵗ. */
  biasCorrection1: 1,
  biasCorrection2: 2,
  /** L2 norm of the step's gradient, before clipping. */
  norm: 3,
  /** What clipping multiplies the gradient by. */
  clip: 4,
  /** Not 0 once norm or loss was not finite: no step changes anything until the host clears it. */
  bad: 5,
  loss: 6,
} as const;
export const stateSize = 8;

/** @throws ShapeError unless the first tensors have one shape and the last is the state */
function assertShapes(name: string, specs: Spec[]): void {
  const state = specs[specs.length - 1];
  const n = size(specs[0].shape);
  if (specs.slice(0, -1).some((s) => size(s.shape) !== n) || size(state.shape) !== stateSize) {
    const shapes = specs.map((s) => formatShape(s.shape)).join(', ');
    throw new ShapeError(`${name}: expected tensors of one size and a state [${stateSize}], found ${shapes}`);
  }
}

/** A state in which steps change parameters. */
const benchState = (): BenchInput => ({ shape: [stateSize], dtype: 'f32', values: [1e-3, 0.1, 0.1, 1, 1, 0, 1, 0] });

const flat = (n: number): BenchInput => ({ shape: [n], dtype: 'f32' });

/** A state in the middle of a run, now and then with the flag raised. */
function sampleState(gen: Gen): Tensor {
  const values = Array.from({ length: stateSize }, () => Math.fround(gen.real(0.1, 1)));
  values[stateSlot.lr] = 2 ** -7;
  values[stateSlot.bad] = +(gen.int(0, 4) === 0);
  const state = gen.tensor([stateSize]);
  state.set(values);
  return state;
}

const cost =
  (tensors: number) =>
  ([p]: Spec[]): { multiplyAdds: number; bytes: number } => ({
    multiplyAdds: tensors * size(p.shape),
    bytes: 4 * tensors * size(p.shape),
  });

export interface GlobalNormAttrs {
  /** Gradients of a larger norm are scaled down to it; Infinity: never. */
  maxNorm: number;
}

const applyGlobalNorm = op<GlobalNormAttrs>({
  name: 'globalNorm',
  doc: 'writes norm, clip factor and flag of a flat gradient into the state, in place',
  inPlace: true,
  outputs: ([state, grad]) => {
    assertShapes('globalNorm', [grad, state]);
    return [state];
  },
  reference: ([state], [, grad], _, { maxNorm }) => {
    const norm = Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0));
    state[stateSlot.norm] = norm;
    // The denominator is torch.nn.utils.clip_grad_norm_'s.
    state[stateSlot.clip] = Math.min(1, maxNorm / (norm + 1e-6));
    if (!Number.isFinite(norm) || !Number.isFinite(state[stateSlot.loss])) state[stateSlot.bad] = 1;
  },
  launch: ([, grad], { maxNorm }) => {
    const n = size(grad.shape);
    return [{ kernel: 'globalNorm_f32', outputs: [0], inputs: [1], ints: [n], floats: [maxNorm], work: [n, 1, 1] }];
  },
  dtypes: [['f32', 'f32']],
  sample: (gen) => [
    [sampleState(gen), gen.tensor([gen.dim(300, { zero: true })])],
    { maxNorm: gen.int(0, 1) ? Number.POSITIVE_INFINITY : 1 },
  ],
  bench: () => [[[benchState(), flat(1 << 22)], { maxNorm: 1 }]],
  cost: ([, grad]) => cost(1)([grad]),
});

/**
 * Writes the L2 norm of `grad` and its clip factor min(1, maxNorm/(norm + 1e-6)) into `state`, and raises the flag when
 * the norm or the state's loss is not finite. The sum is kept in float64, in an order that depends on the size only.
 */
export const globalNorm = (grad: Tensor, state: Tensor, attrs: GlobalNormAttrs): Tensor =>
  applyGlobalNorm([state, grad], attrs);

export interface AdamWAttrs {
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Multiplies the state's learning rate. */
  lrScale: number;
}

const applyAdamW = op<AdamWAttrs>({
  name: 'adamwStep',
  doc: 'one AdamW step on flat parameters, gradient and moments, in place',
  inPlace: true,
  outputs: (specs) => {
    assertShapes('adamwStep', specs);
    return [specs[0]];
  },
  reference: ([p, , m, v, state], [, g], _, { beta1, beta2, eps, weightDecay, lrScale }) => {
    if (state[stateSlot.bad] !== 0) return;
    const lr = state[stateSlot.lr] * lrScale;
    for (let i = 0; i < p.length; i++) {
      const gi = g[i] * state[stateSlot.clip];
      m[i] = beta1 * m[i] + (1 - beta1) * gi;
      v[i] = beta2 * v[i] + (1 - beta2) * gi * gi;
      const denominator = Math.sqrt(v[i]) / Math.sqrt(state[stateSlot.biasCorrection2]) + eps;
      p[i] = p[i] * (1 - lr * weightDecay) - ((lr / state[stateSlot.biasCorrection1]) * m[i]) / denominator;
    }
  },
  launch: ([p], { beta1, beta2, eps, weightDecay, lrScale }) => {
    const n = size(p.shape);
    // 1 − β is rounded once here: from a rounded β it would be off by 1e-5.
    const floats = [1 - beta1, beta2, 1 - beta2, eps, weightDecay, lrScale];
    return [{ kernel: 'adamwStep_f32', outputs: [0, 2, 3], inputs: [1, 4], ints: [n], floats, work: [n, 1, 1] }];
  },
  dtypes: [['f32', 'f32', 'f32', 'f32', 'f32']],
  sample: (gen) => {
    const shape = [gen.dim(300, { zero: true })];
    // The step is smaller than p: nothing cancels.
    const [p, g, m] = [gen.tensor(shape, { apart: 1 }), gen.tensor(shape), gen.tensor(shape)];
    const v = gen.tensor(shape, { lo: 0.5, hi: 2 });
    const weightDecay = gen.int(0, 1) ? 0.01 : 0;
    const attrs = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay, lrScale: gen.int(1, 2) };
    return [[p, g, m, v, sampleState(gen)], attrs];
  },
  bench: () => [
    [
      [...[0, 1, 2, 3].map(() => flat(1 << 22)), benchState()],
      { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, lrScale: 1 },
    ],
  ],
  cost: cost(7),
});

/**
 * torch.optim.AdamW on p, g, m, v of one size: decoupled weight decay, bias corrections and learning rate from `state`,
 * the gradient times the clip factor, ε added after the bias correction. Does nothing while the flag is raised.
 * Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
 */
export const adamwStep = (p: Tensor, g: Tensor, m: Tensor, v: Tensor, state: Tensor, attrs: AdamWAttrs): Tensor =>
  applyAdamW([p, g, m, v, state], attrs);

export interface SgdAttrs {
  momentum: number;
  nesterov: boolean;
  /** Added to the gradient, as torch.optim.SGD does: not decoupled. */
  weightDecay: number;
  lrScale: number;
}

const applySgd = op<SgdAttrs>({
  name: 'sgdStep',
  doc: 'one SGD step with momentum on flat parameters, gradient and momentum buffer, in place',
  inPlace: true,
  outputs: (specs) => {
    assertShapes('sgdStep', specs);
    return [specs[0]];
  },
  reference: ([p, , buffer, state], [, g], _, { momentum, nesterov, weightDecay, lrScale }) => {
    if (state[stateSlot.bad] !== 0) return;
    for (let i = 0; i < p.length; i++) {
      const d = g[i] * state[stateSlot.clip] + weightDecay * p[i];
      buffer[i] = momentum * buffer[i] + d;
      p[i] -= state[stateSlot.lr] * lrScale * (nesterov ? d + momentum * buffer[i] : buffer[i]);
    }
  },
  launch: ([p], { momentum, nesterov, weightDecay, lrScale }) => {
    const n = size(p.shape);
    const floats = [momentum, weightDecay, lrScale, +nesterov];
    return [{ kernel: 'sgdStep_f32', outputs: [0, 2], inputs: [1, 3], ints: [n], floats, work: [n, 1, 1] }];
  },
  dtypes: [['f32', 'f32', 'f32', 'f32']],
  sample: (gen) => {
    const shape = [gen.dim(300, { zero: true })];
    const nesterov = gen.int(0, 1) === 1;
    const attrs = { momentum: nesterov ? 0.9 : 0, nesterov, weightDecay: 0.01, lrScale: gen.int(1, 2) };
    return [[gen.tensor(shape, { apart: 1 }), gen.tensor(shape), gen.tensor(shape), sampleState(gen)], attrs];
  },
  bench: () => [
    [
      [...[0, 1, 2].map(() => flat(1 << 22)), benchState()],
      { momentum: 0.9, nesterov: false, weightDecay: 0, lrScale: 1 },
    ],
  ],
  cost: cost(5),
});

/** torch.optim.SGD (dampening 0) on p, g and momentum buffer of one size. Does nothing while the flag is raised. */
export const sgdStep = (p: Tensor, g: Tensor, buffer: Tensor, state: Tensor, attrs: SgdAttrs): Tensor =>
  applySgd([p, g, buffer, state], attrs);
