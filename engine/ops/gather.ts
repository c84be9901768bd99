import { byteLength, type ComputeDType, computeDType, type DType, weightDTypes } from '../dtype.ts';
import { elementsOf, op, type Spec } from '../op.ts';
import { formatShape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { reshape } from './move.ts';
import { cast } from './quant.ts';

/**
 * Checks indices on the host before they are uploaded: kernels cannot throw.
 * @throws RangeError naming the first index outside [0, limit)
 */
export function checkIndices(name: string, indices: ArrayLike<number>, limit: number): void {
  for (let i = 0; i < indices.length; i++) {
    if (!(Number.isInteger(indices[i]) && indices[i] >= 0 && indices[i] < limit)) {
      throw new RangeError(`${name}: index ${i} is ${indices[i]}, expected an integer in [0, ${limit})`);
    }
  }
}

function embeddingDims([weight, ids]: Spec[]): { T: number; V: number; C: number } {
  if (weight.shape.length !== 2 || ids.shape.length !== 1) {
    const shapes = `${formatShape(weight.shape)} and ${formatShape(ids.shape)}`;
    throw new ShapeError(`embedding: expected weight [V, C] and ids [T], found ${shapes}`);
  }
  return { T: ids.shape[0], V: weight.shape[0], C: weight.shape[1] };
}

const applyEmbedding = op<{ to: ComputeDType }>({
  name: 'embedding',
  doc: 'the rows of a matrix of any weight type that ids name, as f32 or bf16',
  outputs: (specs, { to }) => {
    const { T, C } = embeddingDims(specs);
    return [{ shape: [T, C], dtype: to }];
  },
  reference: ([y], [weight, ids], specs) => {
    const { T, V, C } = embeddingDims(specs);
    for (let t = 0; t < T; t++) {
      const inside = ids[t] >= 0 && ids[t] < V;
      for (let c = 0; c < C; c++) y[t * C + c] = inside ? weight[ids[t] * C + c] : Number.NaN;
    }
  },
  save: ([, ids]) => [ids],
  // The gradient of an activation is one, too; that of a stored weight is f32.
  vjp: (g, { saved: [ids], specs: [{ shape, dtype }] }) => [scatterAdd(cast(g, computeDType(dtype)), ids, shape[0])],
  launch: (specs, { to }) => {
    const { T, V, C } = embeddingDims(specs);
    const kernel = `embedding_${to}_${specs[0].dtype}`;
    return [{ kernel, outputs: [0], inputs: [0, 1], ints: [T, C, V], work: [C, T, 1] }];
  },
  dtypes: weightDTypes.map((w): DType[] => [w, 'i32']),
  activations: [],
  sample: (gen, [dtype], to = 'f32') => {
    const C = dtype.endsWith('_k') ? 256 : dtype.startsWith('q') ? 32 * gen.int(1, 2) : gen.dim(33);
    const V = gen.dim(17);
    return [[gen.tensor([V, C], { dtype }), gen.ints([gen.dim(33, { zero: true })], 0, V - 1)], { to }];
  },
  bench: () =>
    (['f32', 'q8_0'] as const).map((dtype): [Spec[], { to: ComputeDType }] => [
      [
        { shape: [49152, 576], dtype },
        { shape: [2048], dtype: 'i32' },
      ],
      { to: 'f32' },
    ]),
  cost: (specs) => {
    const { T, C } = embeddingDims(specs);
    return { multiplyAdds: 0, bytes: 4 * size([T, C]) + byteLength(specs[0].dtype, [T, C]) };
  },
});

/**
 * weight [V, C] of any stored type, ids i32 [T] → [T, C] in f32 or bf16. Ids are checked where they are made (`checkIndices`);
 * the row of an id outside [0, V) becomes NaN.
 * @throws ShapeError when the shapes do not fit
 */
export const embedding = (weight: Tensor, ids: Tensor, to: ComputeDType = 'f32'): Tensor =>
  applyEmbedding([weight, ids], { to });

/**
 * Rows of x [N, …] by their indices i32 [M] → [M, …], in x's type where that is f32 or bf16, else in f32.
 * @throws ShapeError when x has no axis or rows more than one
 */
export function gather(x: Tensor, rows: Tensor): Tensor {
  if (x.ndim === 0) throw new ShapeError('gather: a scalar has no rows');
  const [N, ...row] = x.shape;
  if (x.ndim === 2) return embedding(x, rows, computeDType(x.dtype));
  return reshape(embedding(reshape(x, [N, size(row)]), rows), [...rows.shape, ...row]);
}

function scatterDims([x, rows]: Spec[]): { M: number; C: number } {
  if (rows.shape.length !== 1 || x.shape[0] !== rows.shape[0]) {
    const shapes = `${formatShape(x.shape)} and ${formatShape(rows.shape)}`;
    throw new ShapeError(`scatterAdd: expected x [M, …] and rows [M], found ${shapes}`);
  }
  return { M: rows.shape[0], C: size(x.shape.slice(1)) };
}

const applyScatterAdd = op<{ N: number }>({
  name: 'scatterAdd',
  doc: 'sums row m of x into row rows[m] of N rows: the transpose of gather',
  outputs: (specs, { N }) => {
    scatterDims(specs);
    return [{ shape: [N, ...specs[0].shape.slice(1)], dtype: specs[0].dtype }];
  },
  reference: ([y], [x, rows], specs, { N }) => {
    const { M, C } = scatterDims(specs);
    for (let m = 0; m < M; m++) {
      if (rows[m] < 0 || rows[m] >= N) continue;
      for (let c = 0; c < C; c++) y[rows[m] * C + c] += x[m * C + c];
    }
  },
  save: ([, rows]) => [rows],
  vjp: (g, { saved: [rows] }) => [gather(g, rows)],
  launch: (specs, { N }) => {
    const { M, C } = scatterDims(specs);
    return [{ kernel: `scatterAdd_${specs[0].dtype}`, outputs: [0], inputs: [0, 1], ints: [M, C, N], work: [C, N, 1] }];
  },
  contraction: ([x]) => x.shape[0],
  dtypes: [['f32', 'i32']],
  activations: [0],
  sample: (gen, [dtype]) => {
    const [M, N] = [gen.dim(33, { zero: true }), gen.dim(17)];
    const row = gen.int(0, 1) ? [gen.dim(300)] : [2, gen.dim(33)];
    return [[gen.tensor([M, ...row], { dtype }), gen.ints([M], 0, N - 1)], { N }];
  },
  bench: () => [
    [
      [
        { shape: [2048, 576], dtype: 'f32' },
        { shape: [2048], dtype: 'i32' },
      ],
      { N: 49152 },
    ],
  ],
  cost: ([x], { N }) => {
    const out = [N, ...x.shape.slice(1)];
    return { multiplyAdds: size(x.shape), bytes: 4 * elementsOf(x.shape, out) };
  },
});

/**
 * y [N, …] with y[rows[m]] += x[m] in ascending m, for x [M, …] and rows i32 [M]; indices outside [0, N) add nothing.
 * @throws ShapeError when the shapes do not fit
 */
export const scatterAdd = (x: Tensor, rows: Tensor, N: number): Tensor => applyScatterAdd([x, rows], { N });
