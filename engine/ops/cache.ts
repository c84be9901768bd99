import { op } from '../op.ts';
import { formatShape, ShapeError, sameShape, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

const applyAppendRows = op<{ at: number }>({
  name: 'appendRows',
  doc: 'copies rows into a preallocated cache from row `at` on, in place',
  inPlace: true,
  outputs: ([cache, rows], { at }) => {
    const [Tmax, ...row] = cache.shape;
    const [T, ...other] = rows.shape;
    const shapes = `rows ${formatShape(rows.shape)} into a cache ${formatShape(cache.shape)}`;
    if (!sameShape(row, other)) throw new ShapeError(`appendRows: ${shapes}: their rows differ`);
    if (!Number.isInteger(at) || at < 0 || at + T > Tmax) {
      throw new ShapeError(`appendRows: ${shapes}: rows ${at} to ${at + T} do not fit axis 0 of ${Tmax}`);
    }
    return [cache];
  },
  reference: ([cache], [, rows], [{ shape }], { at }) => cache.set(rows, at * size(shape.slice(1))),
  launch: ([cache, rows], { at }) => {
    const n = size(rows.shape);
    // ints: the cache's element at which the copy begins, number of elements
    const ints = [at * size(cache.shape.slice(1)), n];
    return [{ kernel: `appendRows_${rows.dtype}`, outputs: [0], inputs: [1], ints, work: [n, 1, 1] }];
  },
  dtypes: [['f32', 'f32']],
  activations: [0, 1],
  sample: (gen, [dtype]) => {
    const [T, at, left, row] = [gen.dim(9, { zero: true }), gen.int(0, 3), gen.int(0, 3), [gen.dim(3), gen.dim(65)]];
    return [[gen.tensor([at + T + left, ...row], { dtype }), gen.tensor([T, ...row], { dtype })], { at }];
  },
  bench: () => [
    [
      [
        { shape: [2048, 3, 64], dtype: 'f32' },
        { shape: [1024, 3, 64], dtype: 'f32' },
      ],
      { at: 512 },
    ],
  ],
  cost: ([, rows]) => ({ multiplyAdds: 0, bytes: 8 * size(rows.shape) }),
});

/**
 * Copies `rows` [T, …] over rows `at` … of `cache` [Tmax, …], in place, and returns the cache; not recorded.
 * @throws ShapeError when the rows have another shape or do not fit
 */
export const appendRows = (cache: Tensor, rows: Tensor, { at }: { at: number }): Tensor =>
  applyAppendRows([cache, rows], { at });
