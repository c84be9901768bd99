import { type DType, weightDTypes } from '../dtype.ts';
import { elementsOf, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { dropoutMask } from './dropout.ts';
import { dropoutLinear } from './dropoutLinear.ts';
import { add, mul } from './elementwise.ts';
import { linear, linearGradInput } from './linear.ts';
import { matmul } from './matmul.ts';
import { cast } from './quant.ts';

export interface LoraAttrs {
  /** α/r, or α/√r for rsLoRA. */
  scale: number;
  /** Dropout on the low-rank branch alone; 0 = none. Its mask is a function of (seed, step, module, owner, position). */
  dropout?: { p: number; module: number };
}

const applyLora = op<void>({
  name: 'loraLinear',
  doc: 'x·Wᵀ + b + u·Bᵀ: a linear layer and the second half of its low-rank adapter',
  outputs: ([x, w, u, b, bias]) => {
    const [T, K] = x.shape;
    const [N, r] = b.shape;
    const expected = [[T, K], [N, K], [T, r], [N, r], ...(bias ? [[N]] : [])];
    const specs = [x, w, u, b, ...(bias ? [bias] : [])];
    const shapes = specs.map((s) => formatShape(s.shape)).join(', ');
    if (expected.map(formatShape).join(', ') !== shapes) {
      throw new ShapeError(`loraLinear: expected x [T, K], W [N, K], u [T, r], B [N, r] and bias [N], found ${shapes}`);
    }
    return [{ shape: [T, N], dtype: x.dtype }];
  },
  define: ([x, w, u, b, bias]) => add(linear(x, w, bias), linear(u, b)),
  save: ([x, w, u, b], _, needs) => [needs[1] && x, needs[0] && w, needs[3] && u, needs[2] && b],
  vjp: (g, { saved: [x, w, u, b] }, needs): (Tensor | false)[] => [
    needs[0] && linearGradInput(g, w),
    needs[1] && matmul(g, x, { transA: true, to: 'f32' }),
    needs[2] && linearGradInput(g, b),
    needs[3] && matmul(g, u, { transA: true, to: 'f32' }),
    needs[4] && cast(g),
  ],
  launch: ([x, w, , b, bias]) => {
    const [T, K] = x.shape;
    const [N, r] = b.shape;
    const work = [N, T, 1] as const;
    // As in linear, the weight stands in for a bias that there is not.
    const [inputs, ints] = [
      [0, 1, bias ? 4 : 1],
      [T, N, K, +!!bias],
    ];
    // In bf16, which CUDA alone computes in, one kernel does both, so that y is written once.
    if (x.dtype === 'bf16') {
      const kernel = `loraLinear_bf16_${w.dtype}`;
      return [{ kernel, outputs: [0], inputs: [...inputs, 2, 3], ints: [...ints, r], work }];
    }
    return [
      { kernel: `linear_f32_${w.dtype}`, outputs: [0], inputs, ints, work },
      { kernel: 'linearAdd_f32', outputs: [0], inputs: [2, 3], ints: [T, N, r], work },
    ];
  },
  contraction: ([x, , u]) => x.shape[1] + u.shape[1] + 1,
  dtypes: [
    ...weightDTypes.map((w): DType[] => ['f32', w, 'f32', 'f32']),
    ['f32', 'f32', 'f32', 'f32', 'f32'],
    ['f32', 'q8_0', 'f32', 'f32', 'f32'],
  ],
  activations: [0, 2],
  sample: (gen, dtypes) => {
    const weight = dtypes[1];
    const K = weight.endsWith('_k') ? 256 : weight.startsWith('q') ? 32 : gen.dim(33);
    const [T, N, r] = [gen.dim(33), gen.dim(33), gen.dim(9)];
    const shapes = [[T, K], [N, K], [T, r], [N, r], [N]];
    return [dtypes.map((dtype, i) => gen.tensor(shapes[i], { dtype })), undefined];
  },
  bench: () => [
    [
      [
        [2048, 576],
        [576, 576],
        [2048, 8],
        [576, 8],
      ].map((shape, i): Spec => ({ shape, dtype: i === 1 ? 'q4_1' : 'f32' })),
      undefined,
    ],
  ],
  cost: ([x, w, u, b]) => {
    const T = x.shape[0];
    return {
      multiplyAdds: T * (size(w.shape) + size(b.shape)),
      bytes: 4 * elementsOf(x.shape, u.shape, b.shape) + 4 * T * w.shape[0] + size(w.shape),
    };
  },
});

/**
 * x·Wᵀ + bias + s·dropout(x)·Aᵀ·Bᵀ for x [T, K] → [T, N]: a frozen weight W [N, K] of any stored type with its low-rank
 * adapter A [r, K], B [N, r] (Hu et al., "LoRA", 2021).
 * @param mask what the dropout mask depends on, rng i32 [2] and rows i32 [T, 2]; needed with dropout
 * @throws ShapeError when the shapes do not fit
 */
export function loraLinear(
  x: Tensor,
  { weight, bias, a, b }: { weight: Tensor; bias?: Tensor; a: Tensor; b: Tensor },
  { scale, dropout }: LoraAttrs,
  mask?: { rng: Tensor; rows: Tensor },
): Tensor {
  let u: Tensor;
  if (dropout) {
    if (!mask) throw new Error('loraLinear: dropout needs the rows that its mask depends on');
    const bits = dropoutMask(mask.rng, mask.rows, { ...dropout, columns: x.shape[1] });
    u = dropoutLinear(x, a, bits, { p: dropout.p, scale });
  } else {
    u = mul(linear(x, a), scale);
  }
  return applyLora(bias ? [x, weight, u, b, bias] : [x, weight, u, b], undefined);
}
