import { op, type Spec } from '../op.ts';
import { philox4x32 } from '../random.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

export interface DropoutAttrs {
  /** Probability of dropping an element, 0 ≤ p < 1. */
  p: number;
  /** Number of the module: each has a mask of its own. */
  module: number;
}

/** Words below this are dropped. An integer comparison, so that every backend keeps the same elements. */
function threshold(p: number): number {
  const t = Math.round(p * 2 ** 32);
  if (!(p >= 0) || t >= 2 ** 32) throw new RangeError(`dropout: p must be in [0, 1), found ${p}`);
  return t;
}

function dims([x, rng, rows]: Spec[]): { T: number; C: number } {
  const [T, C] = x.shape;
  const fits = rng.shape.length === 1 && rng.shape[0] === 2 && rows.shape.length === 2 && rows.shape[1] === 2;
  if (x.shape.length !== 2 || !fits || rows.shape[0] !== T) {
    const shapes = [x, rng, rows].map((s) => formatShape(s.shape)).join(', ');
    throw new ShapeError(`dropout: expected x [T, C], rng [2], rows [T, 2], found ${shapes}`);
  }
  return { T, C };
}

const applyDropout = op<DropoutAttrs>({
  name: 'dropout',
  doc: 'zeroes elements with probability p and scales the others by 1/(1 − p)',
  outputs: (specs) => {
    dims(specs);
    return [specs[0]];
  },
  reference: ([y], [x, rng, rows], specs, { p, module }) => {
    const { T, C } = dims(specs);
    for (let t = 0; t < T; t++) {
      const [owner, position] = rows.subarray(2 * t, 2 * t + 2);
      for (let c = 0; c < C; c++) {
        const word = philox4x32([c >> 2, position, owner, module], [rng[0], rng[1]])[c & 3];
        y[t * C + c] = word >= threshold(p) ? x[t * C + c] / (1 - p) : 0;
      }
    }
  },
  save: ([, rng, rows]) => [rng, rows],
  vjp: (g, { saved: [rng, rows], attrs }): Tensor[] => [applyDropout([g, rng, rows], attrs)],
  launch: (specs, { p, module }) => {
    const { T, C } = dims(specs);
    const ints = [T, C, module, threshold(p)];
    return [{ kernel: 'dropout_f32', outputs: [0], inputs: [0, 1, 2], ints, floats: [1 / (1 - p)], work: [C, T, 1] }];
  },
  dtypes: [['f32', 'i32', 'i32']],
  sample: (gen) => {
    const [T, C] = [gen.dim(9, { zero: true }), gen.dim(65, { zero: true })];
    const inputs = [gen.tensor([T, C]), gen.ints([2], -(2 ** 31), 2 ** 31 - 1), gen.ints([T, 2], 0, 2 ** 31 - 1)];
    return [inputs, { p: [0, 0.1, 0.5][gen.int(0, 2)], module: gen.int(0, 1000) }];
  },
  bench: () => [
    [
      [
        { shape: [2048, 576], dtype: 'f32' },
        { shape: [2], dtype: 'i32' },
        { shape: [2048, 2], dtype: 'i32' },
      ],
      { p: 0.1, module: 0 },
    ],
  ],
  cost: ([x]) => ({ multiplyAdds: size(x.shape), bytes: 8 * size(x.shape) }),
});

/**
 * m⊙x/(1 − p) for x [T, C]. The mask is a pure function: element c of a row is kept iff word c mod 4 of
 * Philox4x32-10(counter (⌊c/4⌋, position, owner, module), key (seed, step)) is at least p·2³²,
 * so it depends neither on packing and micro-batches nor on threads and backend.
 * @param rng i32 [2]: seed and step; read again by the backward pass
 * @param rows i32 [T, 2]: owner and position of every row
 * @throws RangeError unless 0 ≤ p < 1
 */
export const dropout = (x: Tensor, rng: Tensor, rows: Tensor, attrs: DropoutAttrs): Tensor =>
  threshold(attrs.p) === 0 ? x : applyDropout([x, rng, rows], attrs);
