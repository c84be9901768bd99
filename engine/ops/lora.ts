import { type DType, weightDTypes } from '../dtype.ts';
import { elementsOf, type Gen, type Maybe, op, type Spec } from '../op.ts';
import { type Shape, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { dropoutMask, masked, maskShape } from './dropout.ts';
import {
  type DropoutLinearAttrs,
  dropoutLinear,
  dropoutLinearGradWeight,
  type Matrix,
  sizesOf,
} from './dropoutLinear.ts';
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

/** Sizes of a random case. */
function sampleSizes(gen: Gen, weight: DType): { T: number; N: number; K: number; r: number } {
  const K = weight.endsWith('_k') ? 256 : weight.startsWith('q') ? 32 : gen.dim(33);
  return { T: gen.dim(33), N: gen.dim(33), K, r: gen.dim(9) };
}

const sampleMask = (gen: Gen, T: number, K: number): Tensor => gen.ints(maskShape(T, K), -(2 ** 31), 2 ** 31 - 1);

/** What a layer of SmolLM2-135M with the default adapter is timed on. */
const smolLayer = (...shapes: Shape[]): Spec[] =>
  shapes.map((shape, i) => ({ shape, dtype: i === 1 ? 'q4_1' : 'f32' }));

const loraInputs = (specs: Spec[]): Matrix[] => ['x', 'w', 'u', 'b', ...(specs.length > 4 ? (['bias'] as const) : [])];

const applyLoraLinear = op<void>({
  name: 'loraLinear',
  doc: 'x·Wᵀ + b + u·Bᵀ: a linear layer and the second half of its low-rank adapter',
  outputs: (specs) => {
    const { T, N } = sizesOf('loraLinear', loraInputs(specs), specs);
    return [{ shape: [T, N], dtype: specs[0].dtype }];
  },
  define: ([x, w, u, b, bias]) => add(linear(x, w, bias), linear(u, b)),
  launch: (specs) => {
    const { T, N, K, r } = sizesOf('loraLinear', loraInputs(specs), specs);
    const [x, w, , , bias] = specs;
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
    const { T, N, K, r } = sampleSizes(gen, dtypes[1]);
    const shapes = [[T, K], [N, K], [T, r], [N, r], [N]];
    return [dtypes.map((dtype, i) => gen.tensor(shapes[i], { dtype })), undefined];
  },
  bench: () => [[smolLayer([2048, 576], [576, 576], [2048, 8], [576, 8]), undefined]],
  cost: ([x, w, u, b]) => {
    const T = x.shape[0];
    return {
      multiplyAdds: T * (size(w.shape) + size(b.shape)),
      bytes: 4 * elementsOf(x.shape, u.shape, b.shape) + 4 * T * w.shape[0] + size(w.shape),
    };
  },
});

const gradInputs = (specs: Spec[]): Matrix[] => ['g', 'w', 'u', 'a', ...(specs.length > 4 ? (['mask'] as const) : [])];

const applyGradInput = op<DropoutLinearAttrs | undefined>({
  name: 'loraLinearGradInput',
  doc: 'g·W + gu·A, with a mask g·W + s·dropout(gu·A): the gradient of a linear layer with its adapter for its input',
  outputs: (specs) => {
    const { T, K } = sizesOf('loraLinearGradInput', gradInputs(specs), specs);
    return [{ shape: [T, K], dtype: specs[0].dtype }];
  },
  define: ([g, w, gu, a, mask], attrs) => {
    const lowRank = linearGradInput(gu, a);
    return add(linearGradInput(g, w), attrs ? mul(masked(lowRank, mask, attrs.p), attrs.scale) : lowRank);
  },
  launch: (specs, attrs) => {
    const { T, N, K, r } = sizesOf('loraLinearGradInput', gradInputs(specs), specs);
    const [g, w] = specs;
    const work = [K, T, 1] as const;
    const floats = [attrs ? attrs.scale / (1 - attrs.p) : 1];
    // As in loraLinear; A stands in for a mask that there is not.
    if (g.dtype === 'bf16') {
      const kernel = `loraLinearGradInput_bf16_${w.dtype}`;
      const inputs = [0, 1, 2, 3, attrs ? 4 : 3];
      return [{ kernel, outputs: [0], inputs, ints: [T, N, K, r, +!!attrs], floats, work }];
    }
    return [
      { kernel: `linearGradInput_f32_${w.dtype}`, outputs: [0], inputs: [0, 1], ints: [T, N, K], work },
      attrs
        ? { kernel: 'dropoutLinearGradInputAdd_f32', outputs: [0], inputs: [2, 3, 4], ints: [T, K, r], floats, work }
        : { kernel: 'linearGradInputAdd_f32', outputs: [0], inputs: [2, 3], ints: [T, r, K], work },
    ];
  },
  contraction: ([g, , gu]) => g.shape[1] + gu.shape[1],
  dtypes: [
    ...weightDTypes.map((w): DType[] => ['f32', w, 'f32', 'f32', 'i32']),
    ['f32', 'f32', 'f32', 'f32'],
    ['f32', 'q8_0', 'f32', 'f32'],
  ],
  activations: [0, 2],
  sample: (gen, dtypes) => {
    const { T, N, K, r } = sampleSizes(gen, dtypes[1]);
    const shapes = [
      [T, N],
      [N, K],
      [T, r],
      [r, K],
    ];
    const matrices = shapes.map((shape, i) => gen.tensor(shape, { dtype: dtypes[i] }));
    if (dtypes.length === 4) return [matrices, undefined];
    return [[...matrices, sampleMask(gen, T, K)], { p: 0.25, scale: gen.real(0.5, 2) }];
  },
  bench: () => [
    [
      [...smolLayer([2048, 576], [576, 576], [2048, 8], [8, 576]), { shape: maskShape(2048, 576), dtype: 'i32' }],
      { p: 0.1, scale: 2 },
    ],
  ],
  cost: ([g, w, gu, a, mask]) => {
    const T = g.shape[0];
    return {
      multiplyAdds: T * (size(w.shape) + size(a.shape)),
      bytes: 4 * elementsOf(g.shape, gu.shape, a.shape, mask?.shape ?? [0]) + 4 * T * w.shape[1] + size(w.shape),
    };
  },
});

/** A layer's inputs, of which the mask and the bias may be missing. */
const named = <T extends { readonly dtype: DType }>([x, w, a, b, ...rest]: readonly T[]) => ({
  ...{ x, w, a, b },
  mask: rest.find(({ dtype }) => dtype === 'i32'),
  bias: rest.find(({ dtype }) => dtype !== 'i32'),
});

/** Its second output is u. */
const applyLora = op<DropoutLinearAttrs>({
  name: 'lora',
  doc: 'x·Wᵀ + b + s·dropout(x)·Aᵀ·Bᵀ: a linear layer with its low-rank adapter; without a mask nothing is dropped',
  outputs: (specs) => {
    const given = Object.entries(named(specs)).flatMap(([name, spec]) => (spec ? [name as Matrix] : []));
    const { T, N, r } = sizesOf('lora', given, specs);
    const { dtype } = specs[0];
    return [
      { shape: [T, N], dtype },
      { shape: [T, r], dtype },
    ];
  },
  define: (inputs, attrs) => {
    const { x, w, a, b, mask, bias } = named(inputs);
    const u = mask ? dropoutLinear(x, a, mask, attrs) : mul(linear(x, a), attrs.scale);
    return [applyLoraLinear(bias ? [x, w, u, b, bias] : [x, w, u, b], undefined), u];
  },
  save: (inputs, [, u], needs) => {
    const { x, w, a, b, mask } = named(inputs);
    const throughU = needs[0] || needs[2];
    return [(needs[1] || needs[2]) && x, needs[0] && w, needs[0] && a, throughU && b, throughU && mask, needs[3] && u];
  },
  vjp: (g, { saved: [x, w, a, b, mask, u], attrs }, needs): Maybe<Tensor>[] => {
    const gu = b && (mask ? linearGradInput(g, b) : mul(linearGradInput(g, b), attrs.scale));
    const sumOverRows = { transA: true, to: 'f32' } as const;
    return [
      needs[0] && applyGradInput(mask ? [g, w, gu, a, mask] : [g, w, gu, a], mask && attrs),
      needs[1] && matmul(g, x, sumOverRows),
      needs[2] && (mask ? dropoutLinearGradWeight(gu, x, mask, attrs) : matmul(gu, x, sumOverRows)),
      needs[3] && matmul(g, u, sumOverRows),
      // The bias is the last input, with a mask and without.
      needs[4] && cast(g),
      needs[5] && cast(g),
    ];
  },
  contraction: ([x, , a]) => x.shape[1] + a.shape[0] + 1,
  dtypes: [
    ...weightDTypes.map((w): DType[] => ['f32', w, 'f32', 'f32', 'i32']),
    ['f32', 'q8_0', 'f32', 'f32', 'i32', 'f32'],
    ['f32', 'f32', 'f32', 'f32'],
    ['f32', 'f32', 'f32', 'f32', 'f32'],
  ],
  activations: [0],
  sample: (gen, dtypes) => {
    const { T, N, K, r } = sampleSizes(gen, dtypes[1]);
    const shapes = [
      [T, K],
      [N, K],
      [r, K],
      [N, r],
    ];
    const matrices = shapes.map((shape, i) => gen.tensor(shape, { dtype: dtypes[i] }));
    const rest = dtypes.slice(4).map((dtype) => (dtype === 'i32' ? sampleMask(gen, T, K) : gen.tensor([N])));
    return [[...matrices, ...rest], { p: 0.25, scale: gen.real(0.5, 2) }];
  },
  bench: () => [
    [
      [...smolLayer([2048, 576], [576, 576], [8, 576], [576, 8]), { shape: maskShape(2048, 576), dtype: 'i32' }],
      { p: 0.1, scale: 2 },
    ],
  ],
  cost: ([x, w, a, b]) => {
    const T = x.shape[0];
    return {
      multiplyAdds: T * (size(w.shape) + size(a.shape) + size(b.shape)),
      bytes: 4 * elementsOf(x.shape, a.shape, b.shape) + 4 * T * w.shape[0] + size(w.shape),
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
  const inputs = [x, weight, a, b];
  if (dropout) {
    if (!mask) throw new Error('loraLinear: dropout needs the rows that its mask depends on');
    inputs.push(dropoutMask(mask.rng, mask.rows, { ...dropout, columns: x.shape[1] }));
  }
  if (bias) inputs.push(bias);
  return applyLora(inputs, { p: dropout?.p ?? 0, scale });
}
