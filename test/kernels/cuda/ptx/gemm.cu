// Matrix products: shared-memory tiles in f32, and tensor cores with ldmatrix and a two-stage cp.async pipeline.
#include <cuda_bf16.h>
#include <stdint.h>

// C[M,N] = A[M,K]·B[K,N]; 16×16 tiles, dimensions multiples of 16.
extern "C" __global__ void sgemm(float *c, const float *a, const float *b, int M, int N, int K) {
  __shared__ float as[16][16], bs[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, col = blockIdx.x * 16 + tx;
  float acc = 0;
  for (int k = 0; k < K; k += 16) {
    as[ty][tx] = a[(size_t)row * K + k + tx];
    bs[ty][tx] = b[(size_t)(k + ty) * N + col];
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 16; j++) acc = fmaf(as[ty][j], bs[j][tx], acc);
    __syncthreads();
  }
  c[(size_t)row * N + col] = acc;
}

// C[M,N] = A[M,K]·B[N,K]ᵀ, bf16 in, f32 out; 64×64×32 tiles, 128 threads, 2 stages, rows of 32 swizzled by (row >> 1) & 3.
__device__ __forceinline__ void copy16(uint32_t shared, const void *global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global));
}
__device__ __forceinline__ uint32_t tileAddress(uint32_t base, int row, int chunk) {
  return base + row * 64 + ((chunk ^ ((row >> 1) & 3)) * 16);
}
extern "C" __global__ void __launch_bounds__(128) hgemm(float *c, const __nv_bfloat16 *a, const __nv_bfloat16 *b, int M, int N, int K) {
  __shared__ __align__(128) __nv_bfloat16 tiles[2][2][64 * 32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, wm = warp & 1, wn = warp >> 1;
  uint32_t base = (uint32_t)__cvta_generic_to_shared(&tiles[0][0][0]);
  const __nv_bfloat16 *ag = a + (size_t)blockIdx.y * 64 * K, *bg = b + (size_t)blockIdx.x * 64 * K;
  float acc[2][4][4] = {};
  auto load = [&](int stage, int k) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int index = threadIdx.x + i * 128, row = index >> 2, chunk = index & 3;
      copy16(tileAddress(base + stage * 8192, row, chunk), ag + (size_t)row * K + k + chunk * 8);
      copy16(tileAddress(base + stage * 8192 + 4096, row, chunk), bg + (size_t)row * K + k + chunk * 8);
    }
    asm volatile("cp.async.commit_group;");
  };
  load(0, 0);
  for (int k = 0, stage = 0; k < K; k += 32, stage ^= 1) {
    if (k + 32 < K) load(stage ^ 1, k + 32); else asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
#pragma unroll
    for (int kk = 0; kk < 2; kk++) {
      uint32_t af[2][4], bf[4][2];
      for (int i = 0; i < 2; i++)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(af[i][0]), "=r"(af[i][1]), "=r"(af[i][2]), "=r"(af[i][3])
                     : "r"(tileAddress(base + stage * 8192, wm * 32 + i * 16 + (lane & 15), kk * 2 + (lane >> 4))) : "memory");
      for (int j = 0; j < 2; j++)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(bf[2 * j][0]), "=r"(bf[2 * j][1]), "=r"(bf[2 * j + 1][0]), "=r"(bf[2 * j + 1][1])
                     : "r"(tileAddress(base + stage * 8192 + 4096, wn * 32 + j * 16 + (lane & 7) + (lane >> 4) * 8, kk * 2 + ((lane >> 3) & 1))) : "memory");
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
          asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                       : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
                       : "r"(af[i][0]), "r"(af[i][1]), "r"(af[i][2]), "r"(af[i][3]), "r"(bf[j][0]), "r"(bf[j][1]));
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++) {
      size_t row = (size_t)blockIdx.y * 64 + wm * 32 + i * 16 + (lane >> 2), col = (size_t)blockIdx.x * 64 + wn * 32 + j * 8 + (lane & 3) * 2;
      *(float2 *)&c[row * N + col] = make_float2(acc[i][j][0], acc[i][j][1]);
      *(float2 *)&c[(row + 8) * N + col] = make_float2(acc[i][j][2], acc[i][j][3]);
    }
}

// The .ptx beside this file: nvcc -std=c++17 -ptx -arch=compute_80 -lineinfo, paths in its .file lines cut to names.
