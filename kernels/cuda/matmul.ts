import { ceilDiv, type Family, type Kernel, type Phase } from './table.ts';

/** gemm.cuh, mma.cuh: `Tile<T>`. */
const shapes = { f32: { tile: 64, threads: 128 }, bf16: { tile: 128, threads: 256 } };

/** A block for each tile of `batches` × [M, N]. */
export function tiles(entry: string, type: string, M: number, N: number, batches = 1, ints?: readonly number[]): Phase {
  const { tile, threads } = shapes[type as keyof typeof shapes];
  return { entry, grid: [batches * ceilDiv(M, tile) * ceilDiv(N, tile), 1, 1], block: [threads, 1, 1], ints };
}

/** ints: batches, M, N, K, transA, transB, elements between matrices of A and of B */
const product = (T: string, name: string): Kernel => ({
  phases: ({ ints: [batches, M, N, K, transA, transB, strideA, strideB] }) => [
    tiles(`${name}_${transA ? 't' : 'n'}${transB ? 't' : 'n'}`, T, M, N, batches, [M, N, K, strideA, strideB]),
  ],
});

export const matmul: Family = {
  matmul_f32: product('f32', 'matmul_f32'),
  matmul_bf16: product('bf16', 'matmul_bf16'),
  matmul_bf16_f32: product('bf16', 'matmul_bf16_f32'),
};
