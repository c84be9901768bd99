import { byteLength, type DType, weightDTypes } from '../dtype.ts';
import { type Gen, op, type Spec } from '../op.ts';
import { formatShape, type Shape, ShapeError, size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { matmul } from './matmul.ts';
import { reshape } from './move.ts';
import { cast } from './quant.ts';

function dims(name: string, [x, w]: Spec[], from: 0 | 1): { rows: number; N: number; K: number; leading: Shape } {
  const [N, K] = w.shape;
  const columns = [N, K][from];
  if (w.shape.length !== 2 || x.shape.length < 1 || x.shape[x.shape.length - 1] !== columns) {
    const axis = x.shape.length - 1;
    throw new ShapeError(
      `${name}: axis ${axis} of ${formatShape(x.shape)} is ${x.shape[axis]}, the weight ${formatShape(w.shape)} takes ${columns}`,
    );
  }
  const leading = x.shape.slice(0, -1);
  return { rows: size(leading), N, K, leading };
}

const kernelOf = (name: string, [x, w]: Spec[]): string => `${name}_${x.dtype}_${w.dtype}`;
const cost = (name: string, from: 0 | 1) => (specs: Spec[]) => {
  const { rows, N, K } = dims(name, specs, from);
  return { multiplyAdds: rows * N * K, bytes: 4 * rows * (N + K) + byteLength(specs[1].dtype, [N, K]) };
};
/** The linear layers of SmolLM2-135M over 256 tokens. */
const layers = [
  [576, 576],
  [1536, 576],
  [576, 1536],
] as const;

/** Now and then an axis goes beyond a kernel's tile. */
const dim = (gen: Gen): number => gen.dim(gen.int(0, 5) === 0 ? 300 : 33);

/** Widths at which quantised rows are whole blocks. */
function weightShape(gen: Gen, dtype: string): [N: number, K: number] {
  const blocks = gen.int(1, 2);
  const K = dtype.endsWith('_k') ? 256 * blocks : dtype.startsWith('q') ? 32 * blocks : dim(gen);
  return [dim(gen), K];
}

const applyLinear = op<void>({
  name: 'linear',
  doc: 'x·Wᵀ + b; W may be stored in any weight type',
  outputs: (specs) => {
    const { leading, N } = dims('linear', specs, 1);
    const bias = specs[2];
    if (bias && (bias.shape.length !== 1 || bias.shape[0] !== N)) {
      throw new ShapeError(`linear: bias ${formatShape(bias.shape)} for a weight of ${N} rows`);
    }
    return [{ shape: [...leading, N], dtype: specs[0].dtype }];
  },
  reference: ([y], [x, w, bias], specs) => {
    const { rows, N, K } = dims('linear', specs, 1);
    for (let m = 0; m < rows; m++) {
      for (let n = 0; n < N; n++) {
        let sum = bias ? bias[n] : 0;
        for (let k = 0; k < K; k++) sum += x[m * K + k] * w[n * K + k];
        y[m * N + n] = sum;
      }
    }
  },
  save: ([x, w], _, needs) => [needs[1] && x, needs[0] && w],
  vjp: (g, { saved: [x, w], specs }, needs): (Tensor | false)[] => {
    const { rows, N, K } = dims('linear', specs, 1);
    return [
      needs[0] && linearGradInput(g, w),
      needs[1] && matmul(reshape(g, [rows, N]), reshape(x, [rows, K]), { transA: true, to: 'f32' }),
      needs[2] && cast(g),
    ];
  },
  launch: (specs) => {
    const { rows, N, K } = dims('linear', specs, 1);
    const hasBias = specs.length === 3;
    const kernel = kernelOf('linear', specs);
    // Without a bias its place is taken by the weight, which is not read there.
    return [
      { kernel, outputs: [0], inputs: [0, 1, hasBias ? 2 : 1], ints: [rows, N, K, +hasBias], work: [N, rows, 1] },
    ];
  },
  contraction: (specs) => specs[1].shape[1] + 1,
  dtypes: [...weightDTypes.map((w): DType[] => ['f32', w]), ['f32', 'f32', 'f32'], ['f32', 'q8_0', 'f32']],
  activations: [0],
  sample: (gen, dtypes) => {
    const [N, K] = weightShape(gen, dtypes[1]);
    const x = gen.tensor(gen.int(0, 1) ? [dim(gen), K] : [2, 3, K], { dtype: dtypes[0] });
    const w = gen.tensor([N, K], { dtype: dtypes[1] });
    return [dtypes.length === 3 ? [x, w, gen.tensor([N])] : [x, w], undefined];
  },
  bench: () =>
    weightDTypes.flatMap((dtype) =>
      layers
        .filter(([, K]) => !dtype.endsWith('_k') || K % 256 === 0)
        .map(([N, K]): [Spec[], undefined] => [
          [
            { shape: [256, K], dtype: 'f32' },
            { shape: [N, K], dtype },
          ],
          undefined,
        ]),
    ),
  cost: cost('linear', 1),
});

/**
 * x [..., K] · Wᵀ + b → [..., N] in x's type (f32 or bf16), with W [N, K] stored in any weight type and b f32 [N].
 * @throws ShapeError when the widths differ
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return applyLinear(bias ? [x, weight, bias] : [x, weight], undefined);
}

const applyGradInput = op<void>({
  name: 'linearGradInput',
  doc: 'g·W: the gradient of linear for its input',
  outputs: (specs) => {
    const { leading, K } = dims('linearGradInput', specs, 0);
    return [{ shape: [...leading, K], dtype: specs[0].dtype }];
  },
  reference: ([dx], [g, w], specs) => {
    const { rows, N, K } = dims('linearGradInput', specs, 0);
    for (let m = 0; m < rows; m++) {
      for (let n = 0; n < N; n++) {
        for (let k = 0; k < K; k++) dx[m * K + k] += g[m * N + n] * w[n * K + k];
      }
    }
  },
  launch: (specs) => {
    const { rows, N, K } = dims('linearGradInput', specs, 0);
    const kernel = kernelOf('linearGradInput', specs);
    return [{ kernel, outputs: [0], inputs: [0, 1], ints: [rows, N, K], work: [K, rows, 1] }];
  },
  contraction: (specs) => specs[1].shape[0],
  dtypes: weightDTypes.map((w) => ['f32', w]),
  activations: [0],
  sample: (gen, dtypes) => {
    const [N, K] = weightShape(gen, dtypes[1]);
    return [[gen.tensor([dim(gen), N], { dtype: dtypes[0] }), gen.tensor([N, K], { dtype: dtypes[1] })], undefined];
  },
  bench: () =>
    weightDTypes.flatMap((dtype) =>
      layers
        .filter(([, K]) => !dtype.endsWith('_k') || K % 256 === 0)
        .map(([N, K]): [Spec[], undefined] => [
          [
            { shape: [256, N], dtype: 'f32' },
            { shape: [N, K], dtype },
          ],
          undefined,
        ]),
    ),
  cost: cost('linearGradInput', 0),
});

/** g [..., N] · W [N, K] → [..., K]. Has no gradient of its own: gradients of gradients are not supported. */
export const linearGradInput = (g: Tensor, weight: Tensor): Tensor => applyGradInput([g, weight], undefined);
