import { elementsOf, op } from '../op.ts';
import { formatShape, normalizeAxis, type Shape, ShapeError, size } from '../shape.ts';
import { type Tensor, zeros } from '../tensor.ts';

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
  dtypes: [['f32'], ['i32'], ['f16'], ['bf16']],
  sample: (gen, [dtype]) => {
    const [m, n] = [gen.dim(9), gen.dim(9, { zero: true })];
    return [
      [dtype === 'i32' ? gen.ints([m, n], -9, 9) : gen.tensor([m, n], { dtype })],
      gen.int(0, 1) ? [m * n] : [n, 1, m],
    ];
  },
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], [2048, 9, 64]]],
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

/** A tensor seen as [outer, axis, inner]. */
function around(shape: Shape, axis: number): { outer: number; inner: number } {
  return { outer: size(shape.slice(0, axis)), inner: size(shape.slice(axis + 1)) };
}

/** Part of an axis: elements [from, to). */
interface Range {
  axis: number;
  from: number;
  to: number;
}

const applySlice = op<Range>({
  name: 'slice',
  doc: 'elements [from, to) of one axis; a view where the axis is the leading one',
  outputs: ([x], { axis, from, to }) => {
    if (from < 0 || to < from || to > x.shape[axis]) {
      throw new ShapeError(`slice: [${from}, ${to}) is outside axis ${axis} of ${formatShape(x.shape)}`);
    }
    return [{ shape: x.shape.with(axis, to - from), dtype: x.dtype }];
  },
  view: ({ shape }, { axis, from }) => {
    const { outer, inner } = around(shape, axis);
    return outer === 1 ? { element: from * inner } : undefined;
  },
  reference: ([y], [x], [s], { axis, from, to }) => {
    const { outer, inner } = around(s.shape, axis);
    for (let o = 0; o < outer; o++) {
      const begin = (o * s.shape[axis] + from) * inner;
      y.set(x.subarray(begin, begin + (to - from) * inner), o * (to - from) * inner);
    }
  },
  vjp: (g, { specs: [{ shape, dtype }], attrs: { axis, from, to } }) => {
    const rest = (n: number): Tensor => zeros(shape.with(axis, n), { dtype, backend: g.backend });
    return [concat([rest(from), g, rest(shape[axis] - to)], axis)];
  },
  launch: ([{ shape, dtype }], { axis, from, to }) => {
    const { outer, inner } = around(shape, axis);
    const [taken, row] = [(to - from) * inner, shape[axis] * inner];
    // ints: rows, elements a row, row length and first element in the output, the same in the input
    const ints = [outer, taken, taken, 0, row, from * inner];
    return [{ kernel: `copyRows_${dtype}`, outputs: [0], inputs: [0], ints, work: [taken, outer, 1] }];
  },
  dtypes: [['f32'], ['i32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const shape = [gen.dim(5), gen.dim(9), gen.dim(33)];
    const axis = gen.int(0, 2);
    const from = gen.int(0, shape[axis]);
    const x = dtype === 'i32' ? gen.ints(shape, -9, 9) : gen.tensor(shape, { dtype });
    return [[x], { axis, from, to: gen.int(from, shape[axis]) }];
  },
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], { axis: 1, from: 64, to: 512 }]],
  cost: ([x], { axis, from, to }) => ({ multiplyAdds: 0, bytes: 8 * size(x.shape.with(axis, to - from)) }),
});

/**
 * Elements [from, to) of an axis; negative numbers count from the end. A view along the leading axis.
 * @throws ShapeError when the range is outside the axis
 */
export function slice(x: Tensor, from: number, to = Number.POSITIVE_INFINITY, axis = 0): Tensor {
  const a = normalizeAxis('slice', axis, x.shape);
  const n = x.shape[a];
  const wrap = (i: number): number => (i < 0 ? i + n : i);
  return applySlice([x], { axis: a, from: wrap(from), to: to === Number.POSITIVE_INFINITY ? n : wrap(to) });
}

const applyConcat = op<{ axis: number }>({
  name: 'concat',
  doc: 'tensors one after another along an axis',
  outputs: (inputs, { axis }) => {
    const [first] = inputs;
    for (const { shape, dtype } of inputs) {
      if (dtype !== first.dtype) throw new TypeError(`concat: ${dtype} does not fit ${first.dtype}`);
      const fits = shape.length === first.shape.length && shape.every((s, d) => d === axis || s === first.shape[d]);
      if (!fits) {
        throw new ShapeError(
          `concat: ${formatShape(shape)} does not fit ${formatShape(first.shape)} along axis ${axis}`,
        );
      }
    }
    const total = inputs.reduce((n, { shape }) => n + shape[axis], 0);
    return [{ shape: first.shape.with(axis, total), dtype: first.dtype }];
  },
  reference: ([y], xs, specs, { axis }) => {
    const { outer } = around(specs[0].shape, axis);
    const rows = specs.map(({ shape }) => size(shape.slice(axis)));
    let at = 0;
    for (let o = 0; o < outer; o++) {
      for (const [i, x] of xs.entries()) {
        y.set(x.subarray(o * rows[i], (o + 1) * rows[i]), at);
        at += rows[i];
      }
    }
  },
  vjp: (g, { specs, attrs: { axis } }, needs) => {
    let end = 0;
    return specs.map(({ shape }, i) => {
      end += shape[axis];
      return needs[i] && slice(g, end - shape[axis], end, axis);
    });
  },
  launch: (specs, { axis }) => {
    const { outer } = around(specs[0].shape, axis);
    const total = specs.reduce((n, { shape }) => n + size(shape.slice(axis)), 0);
    let at = 0;
    return specs.flatMap(({ shape, dtype }, i) => {
      const row = size(shape.slice(axis));
      const ints = [outer, row, total, at, row, 0];
      at += row;
      return row === 0 ? [] : [{ kernel: `copyRows_${dtype}`, outputs: [0], inputs: [i], ints, work: [row, outer, 1] }];
    });
  },
  dtypes: [
    ['f32', 'f32'],
    ['f32', 'f32', 'f32'],
    ['i32', 'i32'],
  ],
  activations: [0, 1, 2],
  sample: (gen, dtypes) => {
    const shape = [gen.dim(5), gen.dim(33)];
    const axis = gen.int(0, 1);
    const inputs = dtypes.map((dtype) => {
      const own = shape.with(axis, gen.dim(17, { zero: true }));
      return dtype === 'i32' ? gen.ints(own, -9, 9) : gen.tensor(own, { dtype });
    });
    return [inputs, { axis }];
  },
  bench: () => [
    [
      [
        { shape: [8, 576], dtype: 'f32' },
        { shape: [2048, 576], dtype: 'f32' },
      ],
      { axis: 0 },
    ],
  ],
  cost: (specs) => ({ multiplyAdds: 0, bytes: 8 * elementsOf(...specs.map((s) => s.shape)) }),
});

/**
 * Tensors one after another along an axis.
 * @throws ShapeError when another axis differs
 */
export function concat(xs: readonly Tensor[], axis = 0): Tensor {
  if (xs.length === 0) throw new ShapeError('concat: no tensors');
  return applyConcat([...xs], { axis: normalizeAxis('concat', axis, xs[0].shape) });
}

/** A tensor seen as [outer, A, middle, B, inner], of which A and B change places. */
function aroundPair(shape: Shape, [a, b]: readonly number[]) {
  return {
    outer: size(shape.slice(0, a)),
    A: shape[a],
    middle: size(shape.slice(a + 1, b)),
    B: shape[b],
    inner: size(shape.slice(b + 1)),
  };
}

const applyTranspose = op<readonly [number, number]>({
  name: 'transpose',
  doc: 'two axes change places; a copy',
  outputs: ([x], [a, b]) => [{ shape: x.shape.with(a, x.shape[b]).with(b, x.shape[a]), dtype: x.dtype }],
  reference: ([y], [x], [s], axes) => {
    const { outer, A, middle, B, inner } = aroundPair(s.shape, axes);
    let from = 0;
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < A; i++)
        for (let m = 0; m < middle; m++)
          for (let j = 0; j < B; j++, from += inner) {
            y.set(x.subarray(from, from + inner), (((o * B + j) * middle + m) * A + i) * inner);
          }
  },
  vjp: (g, { attrs: [a, b] }) => [transpose(g, a, b)],
  launch: ([{ shape, dtype }], axes) => {
    const { outer, A, middle, B, inner } = aroundPair(shape, axes);
    const ints = [outer, A, middle, B, inner];
    return [{ kernel: `transpose_${dtype}`, outputs: [0], inputs: [0], ints, work: [size(shape), 1, 1] }];
  },
  dtypes: [['f32'], ['i32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const shape = [gen.dim(3), gen.dim(17), gen.dim(3), gen.dim(17, { zero: true })];
    const a = gen.int(0, 2);
    return [[dtype === 'i32' ? gen.ints(shape, -9, 9) : gen.tensor(shape, { dtype })], [a, gen.int(a + 1, 3)]];
  },
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], [0, 1]]],
  cost: ([x]) => ({ multiplyAdds: 0, bytes: 8 * size(x.shape) }),
});

/** Two axes (default the last two) change places: a copy. matmul reads transposed operands without one. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const axes = [normalizeAxis('transpose', a, x.shape), normalizeAxis('transpose', b, x.shape)].sort((p, q) => p - q);
  return axes[0] === axes[1] ? x : applyTranspose([x], [axes[0], axes[1]]);
}
