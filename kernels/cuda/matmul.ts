import { inParts, type Product, partialBytes, tileOf } from './gemm.ts';
import type { Call, Compute, Family, Kernel } from './table.ts';

/** ints: batches, M, N, K, transA, transB, elements between matrices of A and of B */
function product(type: Compute, name: string): Kernel {
  const sizes = ({ ints: [batches, M, N, K], target }: Call): Product => ({
    tile: tileOf(type, target),
    M,
    N,
    K,
    batches,
  });
  return {
    scratchBytes: (call) => partialBytes(sizes(call)),
    phases: (call) => {
      const [, M, N, K, transA, transB, strideA, strideB] = call.ints;
      const entry = `${name}_${transA ? 't' : 'n'}${transB ? 't' : 'n'}`;
      return inParts(sizes(call), [entry, [M, N, K, strideA, strideB]], [`${name}_total`, [M, N]]);
    },
  };
}

export const matmul: Family = {
  matmul_f32: product('f32', 'matmul_f32'),
  matmul_bf16: product('bf16', 'matmul_bf16'),
  matmul_bf16_f32: product('bf16', 'matmul_bf16_f32'),
};
