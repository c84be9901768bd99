import { computeDType, type DType } from '../dtype.ts';
import { type Gen, type OpDef, op, type Spec } from '../op.ts';
import { formatShape, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { masked, maskShape } from './dropout.ts';
import { mul } from './elementwise.ts';
import { linear } from './linear.ts';
import { matmul } from './matmul.ts';
import { cast } from './quant.ts';

// y = s·dropout(x)·Aᵀ, as LoRA begins, and its gradients for x and A: of the three matrices each of these ops takes two
// and makes the third. None of them holds the masked x.

/** Axes of the matrices: T rows, K features, r features of the result. */
const axes = { x: 'TK', a: 'rK', y: 'Tr' } as const;
type Matrix = keyof typeof axes;
type Sizes = Record<'T' | 'K' | 'r', number>;

export interface DropoutLinearAttrs {
  /** Probability that the mask was drawn with. */
  p: number;
  /** s */
  scale: number;
}

const shapeOf = (matrix: Matrix, sizes: Sizes): Shape => [...axes[matrix]].map((axis) => sizes[axis as keyof Sizes]);

/** Sizes of the inputs (two matrices and the mask). @throws ShapeError when they do not fit */
function sizesOf(op: string, operands: readonly Matrix[], specs: Spec[]): Sizes {
  const sizes = {} as Sizes;
  for (const [i, matrix] of operands.entries()) {
    for (const [j, axis] of [...axes[matrix]].entries()) sizes[axis as keyof Sizes] ??= specs[i].shape[j];
  }
  const expected = [...operands.map((m) => shapeOf(m, sizes)), maskShape(sizes.T, sizes.K)];
  if (expected.some((shape, i) => formatShape(shape) !== formatShape(specs[i].shape))) {
    const wanted = operands.map((m) => `${m} [${[...axes[m]].join(', ')}]`).join(', ');
    const found = specs.map((s) => formatShape(s.shape)).join(', ');
    throw new ShapeError(`${op}: expected ${wanted}, mask [T, ⌈K/32⌉], found ${found}`);
  }
  return sizes;
}

/** Declares the op that makes `result` of two other matrices and the mask. */
function declare(
  operands: readonly [Matrix, Matrix],
  result: Matrix,
  { name, ...meaning }: Pick<OpDef<DropoutLinearAttrs>, 'name' | 'doc' | 'define' | 'save' | 'vjp'>,
) {
  const activations = [0, 1].filter((i) => operands[i] !== 'a');
  const typeOf = (specs: Spec[]): DType => specs[activations[0]].dtype;
  return op<DropoutLinearAttrs>({
    name,
    ...meaning,
    outputs: (specs) => {
      const shape = shapeOf(result, sizesOf(name, operands, specs));
      return [{ shape, dtype: result === 'a' ? 'f32' : typeOf(specs) }];
    },
    launch: (specs, { p, scale }) => {
      const { T, K, r } = sizesOf(name, operands, specs);
      const [columns, rows] = [...shapeOf(result, { T, K, r })].reverse();
      const [ints, floats] = [[T, K, r], [scale / (1 - p)]];
      const kernel = `${name}_${typeOf(specs)}`;
      return [{ kernel, outputs: [0], inputs: [0, 1, 2], ints, floats, work: [columns, rows, 1] }];
    },
    contraction: (specs) => {
      const { T, K, r } = sizesOf(name, operands, specs);
      return { x: r, a: T, y: K }[result];
    },
    dtypes: [['f32', 'f32', 'i32']],
    activations,
    sample: (gen: Gen, dtypes) => {
      // Sums over T or K may be so long that they are cut.
      const [T, K] = [gen.dim(33, { zero: true }), gen.dim(65)].map((n) => (gen.int(0, 3) > 0 ? n : gen.int(256, 300)));
      const sizes = { T, K, r: gen.dim(17) };
      const mask = gen.ints(maskShape(sizes.T, sizes.K), -(2 ** 31), 2 ** 31 - 1);
      const inputs = operands.map((m, i) => gen.tensor(shapeOf(m, sizes), { dtype: dtypes[i] }));
      return [[...inputs, mask], { p: 0.25, scale: gen.real(0.5, 2) }];
    },
    bench: () => {
      const sizes = { T: 2048, K: 576, r: 8 };
      const inputs = operands.map((m): Spec => ({ shape: shapeOf(m, sizes), dtype: 'f32' }));
      return [[[...inputs, { shape: maskShape(sizes.T, sizes.K), dtype: 'i32' }], { p: 0.1, scale: 2 }]];
    },
    cost: (specs) => {
      const sizes = sizesOf(name, operands, specs);
      const matrices = (Object.keys(axes) as Matrix[]).map((m) => size(shapeOf(m, sizes)));
      const elements = matrices.reduce((sum, n) => sum + n, size(maskShape(sizes.T, sizes.K)));
      return { multiplyAdds: sizes.T * sizes.K * sizes.r, bytes: 4 * elements };
    },
  });
}

const gradInput = declare(['y', 'a'], 'x', {
  name: 'dropoutLinearGradInput',
  doc: 's·dropout(g·A): the gradient of dropoutLinear for its input',
  define: ([g, a, mask], { p, scale }) => mul(masked(matmul(g, cast(a, computeDType(g.dtype))), mask, p), scale),
});

const gradWeight = declare(['y', 'x'], 'a', {
  name: 'dropoutLinearGradWeight',
  doc: 's·gᵀ·dropout(x): the gradient of dropoutLinear for its weight',
  define: ([g, x, mask], { p, scale }) => mul(matmul(g, masked(x, mask, p), { transA: true, to: 'f32' }), scale),
});

const applyDropoutLinear = declare(['x', 'a'], 'y', {
  name: 'dropoutLinear',
  doc: 's·dropout(x)·Aᵀ, without the masked x in memory',
  define: ([x, a, mask], { p, scale }) => mul(linear(masked(x, mask, p), a), scale),
  save: ([x, a, mask], _, needs) => [needs[1] && x, needs[0] && a, mask],
  vjp: (g, { saved: [x, a, mask], attrs }, needs): (Tensor | false)[] => [
    needs[0] && gradInput([g, a, mask], attrs),
    needs[1] && gradWeight([g, x, mask], attrs),
  ],
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
