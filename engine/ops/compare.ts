import { elementsOf, op } from '../op.ts';
import { broadcastShapes, formatShape, type Shape, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { binary, collapse, lift, type Operand, walkBroadcast } from './elementwise.ts';

/** Comparisons give i32: 1 where they hold, else 0. With NaN only `ne` holds. */
const compare = (
  name: string,
  doc: string,
  f: (a: number, b: number) => boolean,
): ((a: Operand, b: Operand) => Tensor) => binary(name, doc, (a, b) => +f(a, b), {}, {}, 'i32');

export const eq = compare('eq', 'a = b', (a, b) => a === b);
export const ne = compare('ne', 'a ≠ b', (a, b) => a !== b);
export const lt = compare('lt', 'a < b', (a, b) => a < b);
export const le = compare('le', 'a ≤ b', (a, b) => a <= b);
export const gt = compare('gt', 'a > b', (a, b) => a > b);
export const ge = compare('ge', 'a ≥ b', (a, b) => a >= b);

const outShape = (shapes: readonly Shape[]): Shape =>
  shapes.reduce((out, s) => broadcastShapes(`where: ${shapes.map(formatShape).join(', ')}`, out, s), []);

const applyWhere = op<void>({
  name: 'where',
  doc: 'a where the condition is not 0, else b',
  outputs: (specs) => [{ shape: outShape(specs.map((s) => s.shape)), dtype: specs[1].dtype }],
  reference: ([y], [condition, a, b], specs) => {
    const shapes = specs.map((s) => s.shape);
    walkBroadcast(outShape(shapes), shapes, (i, [ic, ia, ib]) => {
      y[i] = condition[ic] !== 0 ? a[ia] : b[ib];
    });
  },
  save: ([condition]) => [condition],
  vjp: (g, { saved: [condition] }, needs) => [
    false,
    needs[1] && where(condition, g, 0),
    needs[2] && where(condition, 0, g),
  ],
  launch: (specs) => {
    const shapes = specs.map((s) => s.shape);
    const out = outShape(shapes);
    const { dims, strides } = collapse(out, shapes);
    const ints = [dims.length, ...dims, ...strides.flat()];
    return [{ kernel: `where_${specs[1].dtype}`, outputs: [0], inputs: [0, 1, 2], ints, work: [size(out), 1, 1] }];
  },
  dtypes: [['i32', 'f32', 'f32']],
  activations: [1, 2],
  sample: (gen, [, dtype]) => {
    const [m, n] = [gen.dim(5), gen.dim(40, { zero: true })];
    const shapes = [[m, n], [n], [m, 1]];
    const rotated = shapes.map((_, i) => shapes[(i + gen.int(0, 2)) % 3]);
    return [
      [gen.ints(rotated[0], 0, 1), gen.tensor(rotated[1], { dtype }), gen.tensor(rotated[2], { dtype })],
      undefined,
    ];
  },
  bench: () => [
    [[2048, 2048, 2048].map((rows, i) => ({ shape: [rows, 576], dtype: i === 0 ? 'i32' : 'f32' })), undefined],
  ],
  cost: (specs) => {
    const shapes = specs.map((s) => s.shape);
    return { multiplyAdds: 0, bytes: 4 * elementsOf(...shapes, outShape(shapes)) };
  },
});

/** a where `condition` (i32) is not 0, else b; the three broadcast. One of a and b may be a number. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const inputs = [condition, lift(a, b), lift(b, a)];
  try {
    return applyWhere(inputs, undefined);
  } finally {
    if (typeof a === 'number') inputs[1].dispose();
    if (typeof b === 'number') inputs[2].dispose();
  }
}
