import type { DType } from '../dtype.ts';
import { type Gen, type OpDef, op, type Spec } from '../op.ts';
import { formatShape, type Shape, ShapeError } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { masked, maskShape } from './dropout.ts';
import { mul } from './elementwise.ts';
import { linear } from './linear.ts';
import { matmul } from './matmul.ts';

// u = s·dropout(x)·Aᵀ, as LoRA begins, and its gradient for A; lora.ts has all the rest. Neither op holds the masked x.

/** Axes of a LoRA layer's matrices: T rows, K and N features, r of the adapter. A row of the mask is ⌈K/32⌉ words. */
const axes = { x: 'TK', w: 'NK', bias: 'N', a: 'rK', b: 'Nr', u: 'Tr', g: 'TN', mask: 'TM' } as const;
export type Matrix = keyof typeof axes;
type Sizes = Record<'T' | 'K' | 'N' | 'r' | 'M', number>;

const shapeOf = (matrix: Matrix, sizes: Sizes): Shape => [...axes[matrix]].map((axis) => sizes[axis as keyof Sizes]);

/** Sizes of an op's inputs. @throws ShapeError when they do not fit */
export function sizesOf(op: string, inputs: readonly Matrix[], specs: Spec[]): Sizes {
  const sizes = {} as Sizes;
  for (const [i, matrix] of inputs.entries()) {
    for (const [j, axis] of [...axes[matrix]].entries()) sizes[axis as keyof Sizes] ??= specs[i]?.shape[j];
  }
  sizes.M = maskShape(sizes.T, sizes.K)[1];
  const expected = inputs.map((m) => formatShape(shapeOf(m, sizes))).join(', ');
  const found = specs.map((s) => formatShape(s.shape)).join(', ');
  if (expected !== found) {
    const wanted = inputs.map((m) => `${m} [${[...axes[m]].join(', ').replace('M', '⌈K/32⌉')}]`).join(', ');
    throw new ShapeError(`${op}: expected ${wanted}, found ${found}`);
  }
  return sizes;
}

export interface DropoutLinearAttrs {
  /** Probability that the mask was drawn with. */
  p: number;
  /** s */
  scale: number;
}

/** Declares the op that makes `result` of two other matrices and the mask. */
function declare(
  operands: readonly [Matrix, Matrix],
  result: 'u' | 'a',
  { name, ...meaning }: Pick<OpDef<DropoutLinearAttrs>, 'name' | 'doc' | 'define'>,
) {
  const inputsOf = [...operands, 'mask'] as const;
  const activations = [0, 1].filter((i) => operands[i] !== 'a');
  const typeOf = (specs: Spec[]): DType => specs[activations[0]].dtype;
  return op<DropoutLinearAttrs>({
    name,
    ...meaning,
    outputs: (specs) => {
      const shape = shapeOf(result, sizesOf(name, inputsOf, specs));
      return [{ shape, dtype: result === 'a' ? 'f32' : typeOf(specs) }];
    },
    launch: (specs, { p, scale }) => {
      const sizes = sizesOf(name, inputsOf, specs);
      const [columns, rows] = [...shapeOf(result, sizes)].reverse();
      const [ints, floats] = [[sizes.T, sizes.K, sizes.r], [scale / (1 - p)]];
      const kernel = `${name}_${typeOf(specs)}`;
      return [{ kernel, outputs: [0], inputs: [0, 1, 2], ints, floats, work: [columns, rows, 1] }];
    },
    contraction: (specs) => {
      const { T, K } = sizesOf(name, inputsOf, specs);
      return { a: T, u: K }[result];
    },
    dtypes: [['f32', 'f32', 'i32']],
    activations,
    sample: (gen: Gen, dtypes) => {
      // Sums may be so long that they are cut.
      const [T, K] = [gen.dim(33, { zero: true }), gen.dim(65)].map((n) => (gen.int(0, 3) > 0 ? n : gen.int(256, 300)));
      const sizes = { T, K, r: gen.dim(17) } as Sizes;
      const mask = gen.ints(maskShape(T, K), -(2 ** 31), 2 ** 31 - 1);
      const inputs = operands.map((m, i) => gen.tensor(shapeOf(m, sizes), { dtype: dtypes[i] }));
      return [[...inputs, mask], { p: 0.25, scale: gen.real(0.5, 2) }];
    },
    bench: () => {
      const sizes = { T: 2048, K: 576, r: 8 } as Sizes;
      const inputs = operands.map((m): Spec => ({ shape: shapeOf(m, sizes), dtype: 'f32' }));
      return [[[...inputs, { shape: maskShape(sizes.T, sizes.K), dtype: 'i32' }], { p: 0.1, scale: 2 }]];
    },
    cost: (specs) => {
      const { T, K, r, M } = sizesOf(name, inputsOf, specs);
      return { multiplyAdds: T * K * r, bytes: 4 * (T * K + r * K + T * r + T * M) };
    },
  });
}

const applyGradWeight = declare(['u', 'x'], 'a', {
  name: 'dropoutLinearGradWeight',
  doc: 's·gᵀ·dropout(x): the gradient of dropoutLinear for its weight',
  define: ([g, x, mask], { p, scale }) => mul(matmul(g, masked(x, mask, p), { transA: true, to: 'f32' }), scale),
});

/** The gradient of `dropoutLinear` for A, f32 [r, K], from that of its result. */
export const dropoutLinearGradWeight = (g: Tensor, x: Tensor, mask: Tensor, attrs: DropoutLinearAttrs): Tensor =>
  applyGradWeight([g, x, mask], attrs);

const applyDropoutLinear = declare(['x', 'a'], 'u', {
  name: 'dropoutLinear',
  doc: 's·dropout(x)·Aᵀ, without the masked x in memory',
  define: ([x, a, mask], { p, scale }) => mul(linear(masked(x, mask, p), a), scale),
});

/**
 * scale · (m⊙x/(1 − p)) · Aᵀ → [T, r] with m = `mask`, for small r.
 * @param x f32 [T, K]
 * @param a f32 [r, K]
 * @param mask made by `dropoutMask` for K columns and the same p
 * @throws ShapeError when the shapes do not fit
 */
export const dropoutLinear = (x: Tensor, a: Tensor, mask: Tensor, attrs: DropoutLinearAttrs): Tensor =>
  applyDropoutLinear([x, a, mask], attrs);
