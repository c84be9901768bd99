import { op } from '../op.ts';
import { size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { ge, gt, le, lt, where } from './compare.ts';
import { add, binary, div, exp, mul, neg, type Operand, sub, unary } from './elementwise.ts';

export const log = unary(
  'log',
  'ln x',
  Math.log,
  { save: ([x]) => [x], vjp: (g, { saved: [x] }) => [div(g, x)] },
  { lo: 0.5, hi: 3 },
);
export const sqrt = unary(
  'sqrt',
  '√x',
  Math.sqrt,
  { save: (_, [y]) => [y], vjp: (g, { saved: [y] }) => [div(mul(g, 0.5), y)] },
  { lo: 0.5, hi: 3 },
);
export const rsqrt = unary(
  'rsqrt',
  '1/√x',
  (x) => 1 / Math.sqrt(x),
  { save: (_, [y]) => [y], vjp: (g, { saved: [y] }) => [mul(mul(g, -0.5), mul(y, mul(y, y)))] },
  { lo: 0.5, hi: 3 },
);
export const pow: (a: Operand, b: Operand) => Tensor = binary(
  'pow',
  'a to the power of b',
  (a, b) => a ** b,
  {
    save: ([a, b], [y], needs) => [a, needs[0] && b, needs[1] && y],
    vjp: (g, { saved: [a, b, y] }, needs) => [
      needs[0] && mul(g, mul(b, pow(a, sub(b, 1)))),
      needs[1] && mul(g, mul(y, log(a))),
    ],
  },
  { lo: 0.5, hi: 2 },
);

/** 0 at 0, as torch has it. */
export const abs = unary(
  'abs',
  '|x|',
  Math.abs,
  {
    save: ([x]) => [x],
    vjp: (g, { saved: [x] }) => [where(gt(x, 0), g, where(lt(x, 0), neg(g), 0))],
  },
  { apart: 1e-3 },
);
export const relu = unary(
  'relu',
  'max(x, 0)',
  (x) => Math.max(x, 0),
  { save: (_, [y]) => [y], vjp: (g, { saved: [y] }) => [where(gt(y, 0), g, 0)] },
  { apart: 1e-3 },
);

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));
export const sigmoid = unary('sigmoid', '1/(1 + e⁻ˣ)', logistic, {
  save: (_, [y]) => [y],
  vjp: (g, { saved: [y] }) => [mul(g, mul(y, sub(1, y)))],
});
export const tanh = unary('tanh', 'tanh x', Math.tanh, {
  save: (_, [y]) => [y],
  vjp: (g, { saved: [y] }) => [mul(g, sub(1, mul(y, y)))],
});
export const silu = unary('silu', 'x·sigmoid(x)', (x) => x * logistic(x), {
  save: ([x]) => [x],
  vjp: (g, { saved: [x] }): Tensor[] => {
    const s = sigmoid(x);
    return [mul(g, mul(s, add(1, mul(x, sub(1, s)))))];
  },
});

/** The standard normal density φ. */
const density = (x: Tensor): Tensor => mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));

/**
 * Φ(x) in float64: the series φ(x)·Σ x²ᵏ⁺¹/(2k+1)!! near 0, Laplace's continued fraction in the tails
 * (Abramowitz and Stegun 26.2.11 and 26.2.14).
 */
function cumulative(x: number): number {
  const phi = Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  if (Math.abs(x) > 3) {
    let tail = 0;
    for (let k = 120; k > 0; k--) tail = k / (Math.abs(x) + tail);
    const upper = phi / (Math.abs(x) + tail);
    return x > 0 ? 1 - upper : upper;
  }
  let term = x;
  let sum = x;
  for (let k = 3; Math.abs(term) > 1e-18 * Math.abs(sum); k += 2) {
    term *= (x * x) / k;
    sum += term;
  }
  return 0.5 + phi * sum;
}

export const normalCdf = unary('normalCdf', 'Φ(x), the standard normal distribution', cumulative, {
  save: ([x]) => [x],
  vjp: (g, { saved: [x] }) => [mul(g, density(x))],
});
/** The exact GELU (Hendrycks and Gimpel, 2016), torch's default. */
export const gelu = unary('gelu', 'x·Φ(x)', (x) => x * cumulative(x), {
  save: ([x]) => [x],
  vjp: (g, { saved: [x] }) => [mul(g, add(normalCdf(x), mul(x, density(x))))],
});

const applyClamp = op<{ lo: number; hi: number }>({
  name: 'clamp',
  doc: 'x limited to [lo, hi]',
  outputs: ([x]) => [x],
  reference: ([y], [x], _, { lo, hi }) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.min(Math.max(x[i], lo), hi);
  },
  save: ([x]) => [x],
  vjp: (g, { saved: [x], attrs: { lo, hi } }) => [where(ge(x, lo), where(le(x, hi), g, 0), 0)],
  launch: ([{ shape, dtype }], { lo, hi }) => [
    {
      kernel: `clamp_${dtype}`,
      outputs: [0],
      inputs: [0],
      ints: [size(shape)],
      floats: [lo, hi],
      work: [size(shape), 1, 1],
    },
  ],
  dtypes: [['f32']],
  activations: [0],
  // Values stay 0.5 away from 0, and the limit that applies lies within: no kink is near.
  sample: (gen, [dtype]) => {
    const x = gen.tensor([gen.dim(4), gen.dim(300, { zero: true })], { dtype, apart: 0.5 });
    return [[x], gen.int(0, 1) ? { lo: -0.25, hi: 10 } : { lo: -10, hi: 0.25 }];
  },
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], { lo: -1, hi: 1 }]],
  cost: ([x]) => ({ multiplyAdds: size(x.shape), bytes: 8 * size(x.shape) }),
});

/** x limited to [lo, hi]; the gradient is 0 outside. */
export const clamp = (x: Tensor, lo = Number.NEGATIVE_INFINITY, hi = Number.POSITIVE_INFINITY): Tensor =>
  applyClamp([x], { lo, hi });
