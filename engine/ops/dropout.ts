import { op, type Spec } from '../op.ts';
import { philox4x32 } from '../random.ts';
import { formatShape, type Shape, ShapeError, size } from '../shape.ts';
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

/** Shape of the mask of x [T, C]. */
export const maskShape = (T: number, C: number): Shape => [T, Math.ceil(C / 32)];

/** Element c of row t of a mask for C columns. */
const kept = (mask: Float64Array, C: number, t: number, c: number): boolean =>
  ((mask[t * Math.ceil(C / 32) + (c >> 5)] >>> (c & 31)) & 1) === 1;

const applyMask = op<DropoutAttrs & { columns: number }>({
  name: 'dropoutMask',
  doc: "dropout's mask, 32 elements a word: a bit is 1 where the element is kept",
  outputs: ([rng, rows], { columns }) => {
    if (rng.shape.length !== 1 || rng.shape[0] !== 2 || rows.shape.length !== 2 || rows.shape[1] !== 2) {
      const shapes = [rng, rows].map((s) => formatShape(s.shape)).join(', ');
      throw new ShapeError(`dropoutMask: expected rng [2], rows [T, 2], found ${shapes}`);
    }
    return [{ shape: maskShape(rows.shape[0], columns), dtype: 'i32' }];
  },
  reference: ([mask], [rng, rows], [, { shape }], { p, module, columns }) => {
    const words = maskShape(shape[0], columns)[1];
    for (let t = 0; t < shape[0]; t++) {
      const [owner, position] = rows.subarray(2 * t, 2 * t + 2);
      for (let c = 0; c < columns; c++) {
        const word = philox4x32([c >> 2, position, owner, module], [rng[0], rng[1]])[c & 3];
        if (word >= threshold(p)) mask[t * words + (c >> 5)] |= 1 << (c & 31);
      }
    }
  },
  launch: ([, { shape }], { p, module, columns }) => {
    const [T, words] = maskShape(shape[0], columns);
    // As a pattern of bits.
    const ints = [T, columns, module, threshold(p) | 0];
    return [{ kernel: 'dropoutMask_i32', outputs: [0], inputs: [0, 1], ints, work: [words, T, 1] }];
  },
  dtypes: [['i32', 'i32']],
  sample: (gen) => {
    const [T, columns] = [gen.dim(9, { zero: true }), gen.dim(65, { zero: true })];
    const inputs = [gen.ints([2], -(2 ** 31), 2 ** 31 - 1), gen.ints([T, 2], 0, 2 ** 31 - 1)];
    return [inputs, { p: [0, 0.1, 0.5][gen.int(0, 2)], module: gen.int(0, 1000), columns }];
  },
  bench: () => [
    [
      [
        { shape: [2], dtype: 'i32' },
        { shape: [2048, 2], dtype: 'i32' },
      ],
      { p: 0.1, module: 0, columns: 576 },
    ],
  ],
  cost: ([, { shape }], { columns }) => ({ multiplyAdds: 0, bytes: 4 * size(maskShape(shape[0], columns)) }),
});

/**
 * Mask of an x [T, columns] as bits, i32 [T, ⌈columns/32⌉]: bit c mod 32 of word ⌊c/32⌋ says whether element c is kept;
 * the last word's other bits are 0. It is a pure function: element c of a row is kept iff word c mod 4 of
 * Philox4x32-10(counter (⌊c/4⌋, position, owner, module), key (seed, step)) is at least p·2³², so it depends neither on
 * packing and micro-batches nor on threads and backend.
 * @param rng i32 [2]: seed and step
 * @param rows i32 [T, 2]: owner and position of every row
 * @throws RangeError unless 0 ≤ p < 1
 */
export const dropoutMask = (rng: Tensor, rows: Tensor, attrs: DropoutAttrs & { columns: number }): Tensor =>
  applyMask([rng, rows], attrs);

interface MaskedAttrs {
  p: number;
}

const applyMasked = op<MaskedAttrs>({
  name: 'dropout',
  doc: 'zeroes the elements whose bit in the mask is 0 and scales the others by 1/(1 − p)',
  outputs: ([x, mask]) => {
    const [T, C] = x.shape;
    if (x.shape.length !== 2 || formatShape(mask.shape) !== formatShape(maskShape(T, C))) {
      const shapes = `${formatShape(x.shape)}, ${formatShape(mask.shape)}`;
      throw new ShapeError(`dropout: expected x [T, C] and mask [T, ⌈C/32⌉], found ${shapes}`);
    }
    return [x];
  },
  reference: ([y], [x, mask], [{ shape }], { p }) => {
    const [T, C] = shape;
    for (let i = 0; i < T * C; i++) y[i] = kept(mask, C, Math.floor(i / C), i % C) ? x[i] / (1 - p) : 0;
  },
  save: ([, mask]) => [mask],
  vjp: (g, { saved: [mask], attrs }): Tensor[] => [applyMasked([g, mask], attrs)],
  launch: ([{ shape, dtype }], { p }) => {
    const [T, C] = shape;
    return [
      {
        kernel: `dropout_${dtype}`,
        outputs: [0],
        inputs: [0, 1],
        ints: [T, C],
        floats: [1 / (1 - p)],
        work: [C, T, 1],
      },
    ];
  },
  dtypes: [['f32', 'i32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const [T, C] = [gen.dim(9, { zero: true }), gen.dim(65, { zero: true })];
    return [[gen.tensor([T, C], { dtype }), gen.ints(maskShape(T, C), -(2 ** 31), 2 ** 31 - 1)], { p: 0.1 }];
  },
  bench: () => [
    [
      [
        { shape: [2048, 576], dtype: 'f32' },
        { shape: maskShape(2048, 576), dtype: 'i32' },
      ],
      { p: 0.1 },
    ],
  ],
  cost: ([x]: Spec[]) => ({ multiplyAdds: size(x.shape), bytes: 8.125 * size(x.shape) }),
});

/**
 * m⊙x/(1 − p) for x [T, C] with m = `mask`.
 * @param mask made by `dropoutMask` for C columns and the same p
 * @throws ShapeError when the mask is not x's
 */
export const masked = (x: Tensor, mask: Tensor, p: number): Tensor => applyMasked([x, mask], { p });

/**
 * Dropout of x [T, C] with the mask that `dropoutMask` makes of seed, step, module and `rows`.
 * @param rng i32 [2]: seed and step
 * @param rows i32 [T, 2]: owner and position of every row
 * @throws RangeError unless 0 ≤ p < 1
 */
export function dropout(x: Tensor, rng: Tensor, rows: Tensor, { p, module }: DropoutAttrs): Tensor {
  if (threshold(p) === 0) return x;
  return masked(x, dropoutMask(rng, rows, { p, module, columns: x.shape[1] }), p);
}
