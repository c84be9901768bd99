import { op } from '../op.ts';
import { formatShape, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

const applyReshape = op<Shape>({
  name: 'reshape',
  doc: 'the same elements in another shape; a view',
  outputs: ([x], shape) => {
    if (size(shape) !== size(x.shape)) {
      throw new ShapeError(
        `reshape: ${formatShape(x.shape)} has ${size(x.shape)} elements, ${formatShape(shape)} ${size(shape)}`,
      );
    }
    return [{ shape, dtype: x.dtype }];
  },
  reference: ([y], [x]) => y.set(x),
  view: () => ({ element: 0 }),
  vjp: (g, { specs: [x] }) => [reshape(g, x.shape)],
  dtypes: [['f32']],
  sample: (gen, [dtype]) => {
    const [m, n] = [gen.dim(9), gen.dim(9, { zero: true })];
    return [[gen.tensor([m, n], { dtype })], gen.int(0, 1) ? [m * n] : [n, 1, m]];
  },
  cost: () => ({ multiplyAdds: 0, bytes: 0 }),
});

/**
 * The same elements in another shape, without a copy. One axis may be −1: whatever is left.
 * @throws ShapeError when the counts differ
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((n, s) => (s === -1 ? n : n * s), 1);
  const inferred = shape.map((s) => (s === -1 ? x.size / Math.max(1, known) : s));
  return applyReshape([x], inferred);
}
