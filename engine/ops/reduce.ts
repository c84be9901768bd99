import { elementsOf, op } from '../op.ts';
import { broadcastShapes, formatShape, type Shape, ShapeError, sameShape, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { collapse, walkBroadcast } from './elementwise.ts';

function assertStretches(name: string, from: Shape, to: Shape): void {
  if (!sameShape(broadcastShapes(name, from, to), to)) {
    throw new ShapeError(`${name}: ${formatShape(from)} does not broadcast to ${formatShape(to)}`);
  }
}

const applySumTo = op<Shape>({
  name: 'sumTo',
  doc: 'sums the axes along which `shape` was broadcast: the transpose of expand',
  outputs: ([x], to) => {
    assertStretches('sumTo', to, x.shape);
    return [{ shape: to, dtype: x.dtype }];
  },
  reference: ([y], [x], [s], to) => {
    walkBroadcast(s.shape, [to], (i, [j]) => {
      y[j] += x[i];
    });
  },
  vjp: (g, { specs: [s] }) => [expand(g, s.shape)],
  contraction: ([x], to) => size(x.shape) / size(to),
  launch: ([x], to) => {
    const { dims, strides } = collapse(x.shape, [to]);
    return [
      {
        kernel: `sumTo_${x.dtype}`,
        outputs: [0],
        inputs: [0],
        ints: [size(to), dims.length, ...dims, ...strides[0]],
        work: [size(to), 1, 1],
      },
    ];
  },
  dtypes: [['f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    // Some sums are so long that kernels cut them into pieces.
    const long = gen.int(0, 2) === 0;
    const [m, n] = long
      ? [gen.int(100, 300), gen.int(11, 20)]
      : [gen.dim(20, { zero: true }), gen.dim(40, { zero: true })];
    const to = [[n], [m, 1], [], [m, n], [1, 1]][gen.int(0, 4)];
    return [[gen.tensor([m, n], { dtype })], to];
  },
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], [576]]],
  cost: ([x], to) => ({
    multiplyAdds: size(x.shape),
    bytes: 4 * elementsOf(x.shape, to),
  }),
});

/** Sums `x` down to `shape`, which broadcasts to x's shape. */
export const sumTo = (x: Tensor, shape: Shape): Tensor => (sameShape(x.shape, shape) ? x : applySumTo([x], shape));

const applyExpand = op<Shape>({
  name: 'expand',
  doc: 'repeats x along axes of size 1',
  outputs: ([x], to) => {
    assertStretches('expand', x.shape, to);
    return [{ shape: to, dtype: x.dtype }];
  },
  reference: ([y], [x], [s], to) => {
    walkBroadcast(to, [s.shape], (i, [j]) => {
      y[i] = x[j];
    });
  },
  vjp: (g, { specs: [s] }) => [sumTo(g, s.shape)],
  launch: ([x], to) => {
    const { dims, strides } = collapse(to, [x.shape]);
    return [
      {
        kernel: `expand_${x.dtype}`,
        outputs: [0],
        inputs: [0],
        ints: [dims.length, ...dims, ...strides[0]],
        work: [size(to), 1, 1],
      },
    ];
  },
  dtypes: [['f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const [m, n] = [gen.dim(20, { zero: true }), gen.dim(40, { zero: true })];
    return [[gen.tensor([[n], [m, 1], [], [1, n]][gen.int(0, 3)], { dtype })], [m, n]];
  },
  bench: () => [[[{ shape: [576], dtype: 'f32' }], [2048, 576]]],
  cost: ([x], to) => ({ multiplyAdds: 0, bytes: 4 * elementsOf(x.shape, to) }),
});

/** `x` repeated to `shape` (NumPy's broadcast_to, copied). */
export const expand = (x: Tensor, shape: Shape): Tensor => (sameShape(x.shape, shape) ? x : applyExpand([x], shape));
