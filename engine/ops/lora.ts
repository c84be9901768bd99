import { type DType, weightDTypes } from '../dtype.ts';
import { elementsOf, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { dropout } from './dropout.ts';
import { add, mul } from './elementwise.ts';
import { linear, linearGradInput } from './linear.ts';
import { matmul } from './matmul.ts';

export interface LoraAttrs {
  /** α/r, or α/√r for rsLoRA. */
  scale: number;
  /** Dropout on the low-rank branch alone; 0 = none. Its mask is a function of (seed, step, module, owner, position). */
  dropout?: { p: number; module: number };
}

/** Inputs in order: x [T, K], W [N, K], A [r, K], B [N, r], then rng and rows with dropout, then the bias if there is one. */
interface Parts {
  x: Tensor;
  w: Tensor;
  a: Tensor;
  b: Tensor;
  rng: Tensor;
  rows: Tensor;
  bias: Tensor | undefined;
}

function partsOf([x, w, a, b, ...rest]: Tensor[], attrs: LoraAttrs): Parts {
  const [rng, rows] = rest;
  return { x, w, a, b, rng, rows, bias: rest[attrs.dropout ? 2 : 0] };
}

const dropped = (x: Tensor, { rng, rows }: Parts, attrs: LoraAttrs): Tensor =>
  attrs.dropout ? dropout(x, rng, rows, attrs.dropout) : x;

const applyLora = op<LoraAttrs>({
  name: 'loraLinear',
  doc: 'x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ: a linear layer with a low-rank adapter',
  outputs: ([x, w, a, b]) => {
    const [N, K] = w.shape;
    const [r] = a.shape;
    const fits =
      w.shape.length === 2 &&
      a.shape.length === 2 &&
      a.shape[1] === K &&
      b.shape.length === 2 &&
      b.shape[0] === N &&
      b.shape[1] === r;
    if (!fits || x.shape.length !== 2 || x.shape[1] !== K) {
      const shapes = [x, w, a, b].map((s) => formatShape(s.shape)).join(', ');
      throw new ShapeError(`loraLinear: expected x [T, K], W [N, K], A [r, K], B [N, r], found ${shapes}`);
    }
    return [{ shape: [x.shape[0], N], dtype: x.dtype }];
  },
  define: (inputs, attrs) => {
    const parts = partsOf(inputs, attrs);
    const { x, w, a, b, bias } = parts;
    const u = mul(linear(dropped(x, parts, attrs), a), attrs.scale);
    return add(linear(x, w, bias), linear(u, b));
  },
  save: (inputs, _, needs) => {
    const [x, w, a, b, ...rest] = inputs;
    const mask = rest.filter((t) => t.dtype === 'i32');
    return [(needs[2] || needs[3]) && x, needs[0] && w, a, b, ...mask];
  },
  vjp: (g, { saved, attrs, specs }, needs) => {
    const parts = partsOf(saved, attrs);
    const { x, w, a, b } = parts;
    const du = mul(linearGradInput(g, b), attrs.scale);
    // x̃ and u are cheap to compute again and large to keep (x̃) or needed once (u).
    const xd = needs[2] || needs[3] ? dropped(x, parts, attrs) : undefined;
    return [
      needs[0] && add(linearGradInput(g, w), dropped(linearGradInput(du, a), parts, attrs)),
      false,
      needs[2] && xd && matmul(du, xd, { transA: true }),
      needs[3] && xd && matmul(g, mul(linear(xd, a), attrs.scale), { transA: true }),
      ...specs.slice(4).map((_, i) => needs[4 + i] && g),
    ];
  },
  constants: [1],
  contraction: (specs) => specs[1].shape[1] + specs[2].shape[0],
  dtypes: [
    ...weightDTypes.map((w): DType[] => ['f32', w, 'f32', 'f32']),
    ['f32', 'f32', 'f32', 'f32', 'i32', 'i32'],
    ['f32', 'f32', 'f32', 'f32', 'i32', 'i32', 'f32'],
    ['f32', 'f32', 'f32', 'f32', 'f32'],
  ],
  sample: (gen, dtypes) => {
    const weight = dtypes[1];
    const K = weight.endsWith('_k') ? 256 : weight.startsWith('q') ? 32 : gen.dim(33);
    const [T, N, r] = [gen.dim(12), gen.dim(12), gen.dim(8)];
    const inputs = [gen.tensor([T, K]), gen.tensor([N, K], { dtype: weight }), gen.tensor([r, K]), gen.tensor([N, r])];
    const masked = dtypes[4] === 'i32';
    if (masked) inputs.push(gen.ints([2], 0, 1000), gen.ints([T, 2], 0, 1000));
    if (dtypes[dtypes.length - 1] === 'f32' && dtypes.length > 4) inputs.push(gen.tensor([N]));
    const scale = gen.real(0.5, 2);
    return [inputs, masked ? { scale, dropout: { p: 0.25, module: gen.int(0, 100) } } : { scale }];
  },
  bench: () => [
    [
      [
        [2048, 576],
        [576, 576],
        [8, 576],
        [576, 8],
      ].map((shape, i): Spec => ({ shape, dtype: i === 1 ? 'q4_1' : 'f32' })),
      { scale: 2 },
    ],
  ],
  cost: (specs) => {
    const [x, w, a, b] = specs.map((s) => s.shape);
    const rows = x[0];
    return {
      multiplyAdds: rows * (size(w) + size(a) + size(b)),
      bytes: 4 * elementsOf(x, a, b) + 4 * rows * w[0] + size(w),
    };
  },
});

/**
 * x [T, K] → [T, N] through a frozen weight W [N, K] of any stored type and its low-rank adapter A [r, K], B [N, r]
 * (Hu et al., "LoRA", 2021). `rows` = {rng i32 [2], rows i32 [T, 2]} is needed with dropout.
 */
export function loraLinear(
  x: Tensor,
  { weight, bias, a, b }: { weight: Tensor; bias?: Tensor; a: Tensor; b: Tensor },
  attrs: LoraAttrs,
  mask?: { rng: Tensor; rows: Tensor },
): Tensor {
  if (attrs.dropout && !mask) throw new Error('loraLinear: dropout needs the rows that its mask depends on');
  const inputs = [x, weight, a, b];
  if (attrs.dropout && mask) inputs.push(mask.rng, mask.rows);
  if (bias) inputs.push(bias);
  return applyLora(inputs, attrs);
}
