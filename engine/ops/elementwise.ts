import type { DType } from '../dtype.ts';
import { elementsOf, type Gen, type OpDef, op } from '../op.ts';
import { broadcastShapes, broadcastStrides, formatShape, type Shape, ShapeError, sameShape, size } from '../shape.ts';
import { full, type Tensor } from '../tensor.ts';

/** A tensor, or a number that stands for a scalar of the other operand's dtype. */
export type Operand = Tensor | number;

export const lift = (x: Operand, like: Operand): Tensor =>
  typeof x !== 'number' ? x : full([], x, typeof like === 'number' ? {} : { dtype: like.dtype, backend: like.backend });

/**
 * Broadcast operands as few axes as possible: neighbouring axes that every operand walks alike become one, so that
 * the innermost loop of a kernel is long and its strides are 0 or 1.
 */
export function collapse(out: Shape, operands: readonly Shape[]): { dims: number[]; strides: number[][] } {
  const all = operands.map((s) => broadcastStrides(s, out));
  const dims: number[] = [];
  const strides: number[][] = operands.map(() => []);
  for (const [axis, extent] of out.entries()) {
    if (extent === 1) continue;
    const merges = dims.length > 0 && all.every((s, i) => strides[i][dims.length - 1] === s[axis] * extent);
    if (merges) {
      dims[dims.length - 1] *= extent;
      for (const [i, s] of all.entries()) strides[i][dims.length - 1] = s[axis];
    } else {
      dims.push(extent);
      for (const [i, s] of all.entries()) strides[i].push(s[axis]);
    }
  }
  return dims.length ? { dims, strides } : { dims: [1], strides: operands.map(() => [1]) };
}

/** Calls `visit(i, offsets)` for every element i of `out`, with each operand's element offset. */
export function walkBroadcast(
  out: Shape,
  operands: readonly Shape[],
  visit: (i: number, offsets: number[]) => void,
): void {
  const strides = operands.map((s) => broadcastStrides(s, out));
  const index = new Array<number>(out.length).fill(0);
  const offsets = operands.map(() => 0);
  for (let i = 0; i < size(out); i++) {
    visit(i, offsets);
    for (let d = out.length - 1; d >= 0; d--) {
      index[d]++;
      for (const [k, s] of strides.entries()) offsets[k] += s[d];
      if (index[d] < out[d]) break;
      for (const [k, s] of strides.entries()) offsets[k] -= s[d] * out[d];
      index[d] = 0;
    }
  }
}

/** Two shapes that broadcast: equal, a row against a matrix, a column, or a scalar. */
function broadcastPair(gen: Gen): [Shape, Shape] {
  const shape = [gen.dim(5, { zero: true }), gen.dim(40, { zero: true })];
  const other = [shape, [shape[1]], [shape[0], 1], [], [2, 1, shape[1]]][gen.int(0, 4)];
  return gen.int(0, 1) ? [shape, other] : [other, shape];
}

export type Rules = Pick<OpDef<void>, 'save' | 'vjp'>;
/** Range the random inputs are drawn from, and how far from 0 they stay. */
export type Domain = { lo?: number; hi?: number; apart?: number };

export function unary(
  name: string,
  doc: string,
  f: (x: number) => number,
  rules: Rules,
  domain: Domain = {},
): (x: Tensor) => Tensor {
  const apply = op<void>({
    name,
    doc,
    ...rules,
    outputs: ([x]) => [x],
    reference: ([y], [x]) => {
      for (let i = 0; i < y.length; i++) y[i] = f(x[i]);
    },
    launch: ([x]) => [
      {
        kernel: `${name}_${x.dtype}`,
        outputs: [0],
        inputs: [0],
        ints: [size(x.shape)],
        work: [size(x.shape), 1, 1],
      },
    ],
    dtypes: [['f32']],
    activations: [0],
    sample: (gen, [dtype]) => [
      [
        gen.tensor([gen.dim(4), gen.dim(300, { zero: true })], {
          dtype,
          ...domain,
        }),
      ],
      undefined,
    ],
    bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], undefined]],
    cost: ([x]) => ({ multiplyAdds: size(x.shape), bytes: 8 * size(x.shape) }),
  });
  return (x) => apply([x], undefined);
}

export function binary(
  name: string,
  doc: string,
  f: (a: number, b: number) => number,
  rules: Rules,
  domain: Domain = {},
  result?: DType,
): (a: Operand, b: Operand) => Tensor {
  const apply = op<void>({
    name,
    doc,
    ...rules,
    outputs: ([a, b]) => [
      {
        shape: broadcastShapes(name, a.shape, b.shape),
        dtype: result ?? a.dtype,
      },
    ],
    reference: ([y], [a, b], [sa, sb]) => {
      walkBroadcast(broadcastShapes(name, sa.shape, sb.shape), [sa.shape, sb.shape], (i, [ia, ib]) => {
        y[i] = f(a[ia], b[ib]);
      });
    },
    launch: ([a, b]) => {
      const out = broadcastShapes(name, a.shape, b.shape);
      const { dims, strides } = collapse(out, [a.shape, b.shape]);
      // ints: number of axes, their extents, then each operand's strides in elements
      const ints = [dims.length, ...dims, ...strides.flat()];
      return [
        {
          kernel: `${name}_${a.dtype}`,
          outputs: [0],
          inputs: [0, 1],
          ints,
          work: [size(out), 1, 1],
        },
      ];
    },
    dtypes: [['f32', 'f32']],
    activations: [0, 1],
    sample: (gen, [da, db]) => {
      const [a, b] = broadcastPair(gen);
      return [[gen.tensor(a, { dtype: da, ...domain }), gen.tensor(b, { dtype: db, ...domain })], undefined];
    },
    bench: () => [
      [
        [
          { shape: [2048, 576], dtype: 'f32' },
          { shape: [2048, 576], dtype: 'f32' },
        ],
        undefined,
      ],
      [
        [
          { shape: [2048, 576], dtype: 'f32' },
          { shape: [576], dtype: 'f32' },
        ],
        undefined,
      ],
    ],
    cost: ([a, b]) => {
      const n = size(broadcastShapes(name, a.shape, b.shape));
      return { multiplyAdds: n, bytes: 4 * (n + elementsOf(a.shape, b.shape)) };
    },
  });
  return (a, b) => {
    const inputs = [lift(a, b), lift(b, a)];
    try {
      return apply(inputs, undefined);
    } finally {
      for (const [i, x] of [a, b].entries()) if (typeof x === 'number') inputs[i].dispose();
    }
  };
}

export const neg = unary('neg', '-x', (x) => -x, { vjp: (g) => [neg(g)] });
export const exp = unary('exp', 'e^x', Math.exp, {
  save: (_, [y]) => [y],
  vjp: (g, { saved: [y] }) => [mul(g, y)],
});

export const add = binary('add', 'a + b', (a, b) => a + b, {
  vjp: (g) => [g, g],
});
export const sub = binary('sub', 'a − b', (a, b) => a - b, {
  vjp: (g, _, needs) => [g, needs[1] && neg(g)],
});
export const mul = binary('mul', 'a · b', (a, b) => a * b, {
  save: ([a, b], _, needs) => [needs[1] && a, needs[0] && b],
  vjp: (g, { saved: [a, b] }, needs) => [needs[0] && mul(g, b), needs[1] && mul(g, a)],
});
export const div = binary(
  'div',
  'a / b',
  (a, b) => a / b,
  {
    save: ([, b], [y], needs) => [needs[1] && y, b],
    vjp: (g, { saved: [y, b] }, needs): Tensor[] => {
      const ga = div(g, b);
      return [ga, needs[1] ? neg(mul(ga, y)) : ga];
    },
  },
  { lo: 0.5, hi: 2 },
);

const applyAccumulate = op<void>({
  name: 'accumulate',
  doc: 'a += b, in place; shapes are equal',
  inPlace: true,
  outputs: ([a, b]) => {
    if (!sameShape(a.shape, b.shape)) {
      throw new ShapeError(`accumulate: ${formatShape(b.shape)} into ${formatShape(a.shape)}: the shapes differ`);
    }
    return [a];
  },
  reference: ([a], [, b]) => {
    for (let i = 0; i < a.length; i++) a[i] += b[i];
  },
  launch: ([a]) => [
    {
      kernel: `accumulate_${a.dtype}`,
      outputs: [0],
      inputs: [1],
      ints: [size(a.shape)],
      work: [size(a.shape), 1, 1],
    },
  ],
  dtypes: [['f32', 'f32']],
  activations: [0, 1],
  sample: (gen, [da, db]) => {
    const shape = [gen.dim(300)];
    return [[gen.tensor(shape, { dtype: da }), gen.tensor(shape, { dtype: db })], undefined];
  },
  bench: () => [[[0, 1].map(() => ({ shape: [2048, 576], dtype: 'f32' })), undefined]],
  cost: ([a]) => ({ multiplyAdds: size(a.shape), bytes: 12 * size(a.shape) }),
});
/** a += b in place; not recorded. */
export const accumulate = (a: Tensor, b: Tensor): Tensor => applyAccumulate([a, b], undefined);

const applyFill = op<number>({
  name: 'fill',
  doc: 'overwrites a with one value, in place',
  inPlace: true,
  outputs: ([a]) => [a],
  reference: ([a], _, __, value) => a.fill(value),
  launch: ([a], value) => {
    const n = size(a.shape);
    return [{ kernel: `fill_${a.dtype}`, outputs: [0], inputs: [], ints: [n], floats: [value], work: [n, 1, 1] }];
  },
  dtypes: [['f32']],
  activations: [0],
  sample: (gen, [dtype]) => [[gen.tensor([gen.dim(300, { zero: true })], { dtype })], gen.int(-2, 2)],
  bench: () => [[[{ shape: [2048, 576], dtype: 'f32' }], 0]],
  cost: ([a]) => ({ multiplyAdds: 0, bytes: 4 * size(a.shape) }),
});
/** Overwrites `a` with `value` in place; not recorded. */
export const fill = (a: Tensor, value: number): Tensor => applyFill([a], value);
