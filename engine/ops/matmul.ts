import { type ComputeDType, computeDType } from '../dtype.ts';
import { elementsOf, op, type Spec } from '../op.ts';
import { broadcastShapes, formatShape, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { walkBroadcast } from './elementwise.ts';
import { cast } from './quant.ts';
import { expand } from './reduce.ts';

export interface MatmulAttrs {
  /** Whether an operand is read transposed in its last two axes; no transposed copy is made. */
  transA?: boolean;
  transB?: boolean;
  /** Type of the product, by default the operands'. Gradients of parameters are f32 products of bf16 activations. */
  to?: ComputeDType;
}

function dims([a, b]: Spec[], { transA, transB }: MatmulAttrs) {
  const written = `${formatShape(a.shape)}${transA ? 'ᵀ' : ''} · ${formatShape(b.shape)}${transB ? 'ᵀ' : ''}`;
  if (a.shape.length < 2 || b.shape.length < 2) {
    throw new ShapeError(`matmul: operands need at least two axes: ${written}`);
  }
  const [a0, a1] = a.shape.slice(-2);
  const [b0, b1] = b.shape.slice(-2);
  const [M, K] = transA ? [a1, a0] : [a0, a1];
  const [inner, N] = transB ? [b1, b0] : [b0, b1];
  if (K !== inner) throw new ShapeError(`matmul: inner sizes differ: ${written}: ${K} against ${inner}`);
  const batch = broadcastShapes(`matmul: ${written}`, a.shape.slice(0, -2), b.shape.slice(0, -2));
  return { batch, M, N, K };
}

const applyMatmul = op<MatmulAttrs>({
  name: 'matmul',
  doc: 'matrix product over the last two axes, batched; either operand may be read transposed',
  outputs: (specs, attrs) => {
    const { batch, M, N } = dims(specs, attrs);
    return [{ shape: [...batch, M, N], dtype: attrs.to ?? specs[0].dtype }];
  },
  reference: ([c], [a, b], specs, attrs) => {
    const { batch, M, N, K } = dims(specs, attrs);
    const [aRow, aColumn] = attrs.transA ? [1, M] : [K, 1];
    const [bRow, bColumn] = attrs.transB ? [1, K] : [N, 1];
    walkBroadcast(batch, [specs[0].shape.slice(0, -2), specs[1].shape.slice(0, -2)], (i, [ia, ib]) => {
      for (let m = 0; m < M; m++) {
        for (let n = 0; n < N; n++) {
          let sum = 0;
          for (let k = 0; k < K; k++) {
            sum += a[ia * M * K + m * aRow + k * aColumn] * b[ib * K * N + k * bRow + n * bColumn];
          }
          c[(i * M + m) * N + n] = sum;
        }
      }
    });
  },
  save: ([a, b], _, needs) => [needs[1] && a, needs[0] && b],
  vjp: (gradient, { saved: [a, b], attrs: { transA = false, transB = false }, specs }, needs): (Tensor | false)[] => {
    const g = cast(gradient, computeDType(specs[0].dtype));
    return [
      needs[0] && (transA ? matmul(b, g, { transA: transB, transB: true }) : matmul(g, b, { transB: !transB })),
      needs[1] && (transB ? matmul(g, a, { transA: true, transB: transA }) : matmul(a, g, { transA: !transA })),
    ];
  },
  launch: (specs, attrs) => {
    const { batch, M, N, K } = dims(specs, attrs);
    const batches = size(batch);
    // Elements between one matrix of the batch and the next; 0 for an operand that all of them share.
    const stride = ({ shape }: Spec): number => (size(shape.slice(0, -2)) === 1 ? 0 : size(shape.slice(-2)));
    const ints = [batches, M, N, K, +!!attrs.transA, +!!attrs.transB, stride(specs[0]), stride(specs[1])];
    const { dtype } = specs[0];
    const kernel = attrs.to && attrs.to !== dtype ? `matmul_${dtype}_${attrs.to}` : `matmul_${dtype}`;
    return [{ kernel, outputs: [0], inputs: [0, 1], ints, work: [N, M, batches] }];
  },
  contraction: (specs, attrs) => dims(specs, attrs).K,
  dtypes: [['f32', 'f32']],
  activations: [0, 1],
  sample: (gen, [da, db]) => {
    const zero = gen.int(0, 5) === 0;
    // One axis may go beyond a tile, or K so far that its sums are cut.
    const long = gen.int(0, 5);
    const [M, N, depth] = [0, 1, 2].map((axis) => gen.dim(axis === long ? 300 : 33, { zero }));
    const K = gen.int(0, 3) === 0 ? gen.int(256, 300) : depth;
    const [transA, transB] = [gen.int(0, 1) === 1, gen.int(0, 1) === 1];
    const [left, right]: [Shape, Shape] = (
      [
        [[], []],
        [[2], []],
        [[], [3]],
        [[2], [2]],
      ] as [Shape, Shape][]
    )[gen.int(0, 3)];
    const a = gen.tensor([...left, ...(transA ? [K, M] : [M, K])], { dtype: da });
    const b = gen.tensor([...right, ...(transB ? [N, K] : [K, N])], { dtype: db });
    const to = gen.int(0, 1) === 1 ? 'f32' : undefined;
    return [[a, b], { transA, transB, to }];
  },
  bench: () =>
    (
      [
        [128, 576, 576],
        [256, 1536, 576],
        [256, 576, 1536],
        [256, 2048, 2048],
        [512, 4096, 4096],
      ] as const
    ).map(([M, N, K]): [Spec[], MatmulAttrs] => [
      [
        { shape: [M, K], dtype: 'f32' },
        { shape: [N, K], dtype: 'f32' },
      ],
      { transB: true },
    ]),
  cost: (specs, attrs) => {
    const { batch, M, N, K } = dims(specs, attrs);
    return {
      multiplyAdds: size(batch) * M * N * K,
      bytes: 4 * (elementsOf(specs[0].shape, specs[1].shape) + size(batch) * M * N),
    };
  },
});

/**
 * op(A)·op(B) over the last two axes: [..., M, K] · [..., K, N] → [..., M, N]; leading axes broadcast. f32, or bf16 with
 * sums in f32.
 * @throws ShapeError when the inner sizes differ or the leading axes do not broadcast
 */
export function matmul(a: Tensor, b: Tensor, attrs: MatmulAttrs = {}): Tensor {
  const { batch } = dims([a, b], attrs);
  // Kernels take one stride an operand: a batch that stretches only in part is repeated first.
  const whole = (t: Tensor): Tensor => {
    const own = size(t.shape.slice(0, -2));
    return own === 1 || own === size(batch) ? t : expand(t, [...batch, ...t.shape.slice(-2)]);
  };
  return applyMatmul([whole(a), whole(b)], attrs);
}
