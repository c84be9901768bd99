import { byteLength, type ComputeDType, computeDType, type DType, weightDTypes } from '../dtype.ts';
import { op } from '../op.ts';
import { size } from '../shape.ts';
import type { Tensor } from '../tensor.ts';

const applyCast = op<{ to: ComputeDType }>({
  name: 'cast',
  doc: 'the numbers of a tensor of any weight type or of i32, as f32 or bf16',
  outputs: ([x], { to }) => [{ shape: x.shape, dtype: to }],
  reference: ([y], [x]) => y.set(x),
  // The gradient of an activation is one, too; that of a stored weight is f32.
  vjp: (g, { specs: [x] }) => [cast(g, computeDType(x.dtype))],
  launch: ([x], { to }) => {
    const n = size(x.shape);
    const columns = x.shape[x.shape.length - 1] ?? 1;
    // ints: rows, columns
    return [
      {
        kernel: `cast_${to}_${x.dtype}`,
        outputs: [0],
        inputs: [0],
        ints: [columns ? n / columns : 0, columns],
        work: [n, 1, 1],
      },
    ];
  },
  dtypes: [...weightDTypes.map((d): DType[] => [d]), ['i32']],
  activations: [],
  sample: (gen, [dtype], to = 'f32') => {
    if (dtype === 'i32') return [[gen.ints([gen.dim(300, { zero: true })], -1000, 1000)], { to }];
    const columns = dtype.endsWith('_k')
      ? 256
      : dtype.startsWith('q')
        ? 32 * gen.int(1, 3)
        : gen.dim(33, { zero: true });
    return [[gen.tensor([gen.dim(9), columns], { dtype })], { to }];
  },
  bench: () => weightDTypes.map((dtype) => [[{ shape: [2048, 768], dtype }], { to: 'f32' }]),
  cost: ([x]) => ({ multiplyAdds: 0, bytes: 4 * size(x.shape) + byteLength(x.dtype, x.shape) }),
});

/** `x` as f32 or bf16; the way from a frozen weight's stored type to numbers. Differentiable where x is (f32, f16, bf16). */
export const cast = (x: Tensor, to: ComputeDType = 'f32'): Tensor => (x.dtype === to ? x : applyCast([x], { to }));
