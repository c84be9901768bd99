import type { Backend } from '../backend.ts';
import { op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import { currentBackend, type Tensor, tensor } from '../tensor.ts';

export interface RopeAttrs {
  /** Rotate back: the transpose, and so the gradient. */
  inverse: boolean;
}

function dims([x, positions, table]: Spec[]): { T: number; H: number; D: number; P: number } {
  const [T, H, D] = x.shape;
  const [P, columns] = table.shape;
  const fits = x.shape.length === 3 && D % 2 === 0 && positions.shape.length === 1 && positions.shape[0] === T;
  if (!fits || table.shape.length !== 2 || columns !== D) {
    const shapes = [x, positions, table].map((s) => formatShape(s.shape)).join(', ');
    throw new ShapeError(`rope: expected x [T, H, D] with D even, positions [T], table [P, D], found ${shapes}`);
  }
  return { T, H, D, P };
}

const applyRope = op<RopeAttrs>({
  name: 'rope',
  doc: 'rotates the pairs (j, j + D/2) of every head by the angles of its position',
  outputs: (specs) => {
    dims(specs);
    return [specs[0]];
  },
  reference: ([y], [x, positions, table], specs, { inverse }) => {
    const { T, H, D, P } = dims(specs);
    const half = D / 2;
    for (let t = 0; t < T; t++) {
      const inside = positions[t] >= 0 && positions[t] < P;
      for (let i = t * H * D; i < (t + 1) * H * D; i += D) {
        for (let j = 0; j < half; j++) {
          const cos = inside ? table[positions[t] * D + j] : Number.NaN;
          const sin = table[positions[t] * D + half + j] * (inverse ? -1 : 1);
          y[i + j] = x[i + j] * cos - x[i + half + j] * sin;
          y[i + half + j] = x[i + half + j] * cos + x[i + j] * sin;
        }
      }
    }
  },
  save: ([, positions, table]) => [positions, table],
  vjp: (g, { saved: [positions, table], attrs }): Tensor[] => [
    applyRope([g, positions, table], { inverse: !attrs.inverse }),
  ],
  launch: (specs, { inverse }) => {
    const { T, H, D, P } = dims(specs);
    const kernel = `rope_${specs[0].dtype}`;
    return [{ kernel, outputs: [0], inputs: [0, 1, 2], ints: [T, H, D, P, +inverse], work: [T, H, D / 2] }];
  },
  constants: [2],
  dtypes: [['f32', 'i32', 'f32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const [T, H, D, P] = [gen.dim(17, { zero: true }), gen.dim(5), 2 * gen.dim(33), gen.dim(33)];
    const table = gen.tensor([P, D], { lo: -1, hi: 1 });
    return [[gen.tensor([T, H, D], { dtype }), gen.ints([T], 0, P - 1), table], { inverse: gen.int(0, 1) === 1 }];
  },
  bench: () => [
    [
      [
        { shape: [2048, 9, 64], dtype: 'f32' },
        { shape: [2048], dtype: 'i32' },
        { shape: [2048, 64], dtype: 'f32' },
      ],
      { inverse: false },
    ],
  ],
  cost: ([x]) => ({ multiplyAdds: 2 * size(x.shape), bytes: 8 * size(x.shape) }),
});

/**
 * Rotary position embedding: x [T, H, D] with every pair (x[j], x[j + D/2]) of a head rotated by position·frequency[j],
 * the layout of Hugging Face checkpoints (Meta's files pair neighbours). Su et al., "RoFormer", 2021.
 * @param positions i32 [T], each below P; a row whose position has no line in the table becomes NaN
 * @param table f32 [P, D] from `ropeTable`; a constant
 * @throws ShapeError when the shapes do not fit or D is odd
 */
export const rope = (x: Tensor, positions: Tensor, table: Tensor, { inverse = false } = {}): Tensor =>
  applyRope([x, positions, table], { inverse });

export interface RopeTableOptions {
  headDim: number;
  /** Base of the geometric series of wavelengths. */
  theta: number;
  /** Divisors of the frequencies [D/2], for models whose context was stretched (LLaMA 3). */
  factors?: readonly number[];
  /** Lines of the table. */
  positions: number;
  backend?: Backend;
}

/**
 * The table of `rope`: f32 [positions, D], line t = cos(t·f) | sin(t·f) with f[j] = theta^(−2j/D) / factors[j].
 * Computed in float64, then rounded once: at 100,000 positions an angle in float32 would be off by 1e-3.
 * @throws ShapeError when headDim is odd or there are not D/2 factors
 */
export function ropeTable({ headDim, theta, factors, positions, backend }: RopeTableOptions): Tensor {
  const half = headDim / 2;
  if (!Number.isInteger(half)) throw new ShapeError(`ropeTable: headDim must be even, found ${headDim}`);
  if (factors && factors.length !== half) {
    throw new ShapeError(`ropeTable: ${factors.length} factors for ${half} frequencies`);
  }
  const values = new Float64Array(positions * headDim);
  for (let j = 0; j < half; j++) {
    const frequency = theta ** (-j / half) / (factors?.[j] ?? 1);
    for (let t = 0; t < positions; t++) {
      values[t * headDim + j] = Math.cos(t * frequency);
      values[t * headDim + half + j] = Math.sin(t * frequency);
    }
  }
  return tensor(values, [positions, headDim], { backend: backend ?? currentBackend() });
}
