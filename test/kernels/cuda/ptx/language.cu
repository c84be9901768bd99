// What C++ brings beside arithmetic: structs by value, constant and global variables, dynamic shared memory, switch, narrow
// types, cooperative groups, double precision, half intrinsics.
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
namespace cg = cooperative_groups;

struct Parameters {
  float4 a;
  int k[5];
  const float *p;
};
__constant__ float table[64] = {1, 2, 3, 4};
__device__ int counter;
__device__ float4 vectors[4] = {{1, 2, 3, 4}, {5, 6, 7, 8}};

template <int K> __device__ int nested(int x) {
  if constexpr (K == 0) return x;
  else return nested<K - 1>(x * 3 + K);
}

extern "C" __global__ void structs(float *out, Parameters p, int which) {
  __shared__ float4 tile[33];
  extern __shared__ int dynamic[];
  int t = threadIdx.x;
  tile[t] = make_float4(t, p.a.y, p.k[which], p.p[t]);
  dynamic[t] = nested<5>(t);
  __syncthreads();
  float4 q = tile[(t + 1) & 31];
  volatile float local[8];
  for (int i = 0; i < 8; i++) local[i] = q.x * i;
  out[t] = q.x + q.y + q.z + q.w + table[t] + local[which] + dynamic[31 - t] + (t < 4 ? vectors[t].z : 0);
  atomicAdd(&counter, 1);
}

extern "C" __global__ void bytes(int8_t *out, const int8_t *a, const uint8_t *b, unsigned long long *sums, int n) {
  __shared__ uint8_t s[128];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  s[threadIdx.x] = i < n ? b[i] : 0;
  __syncthreads();
  if (i >= n) return;
  int v = a[i] * s[127 - threadIdx.x];
  int r = max(-128, min(127, v >> 4));
  atomicAdd(sums, (unsigned long long)(v & 255));
  atomicMax(sums + 1, (unsigned long long)i << 33);
  switch (a[i] & 7) {
    case 0: r += 1; break;
    case 1: r ^= 3; break;
    case 2: r = r * 3; break;
    case 3: r -= 9; break;
    case 4: r = s[3]; break;
    case 5: r = 77; break;
    case 6: r = ~r; break;
  }
  out[i] = r;
}

extern "C" __global__ void groups(int *out, const int *in) {
  auto block = cg::this_thread_block();
  auto tile = cg::tiled_partition<16>(block);
  int v = in[block.thread_rank()], sum = v;
  for (int o = tile.size() / 2; o; o /= 2) sum += tile.shfl_down(sum, o);
  bool any = tile.any(v > 3);
  if (tile.thread_rank() == 0) out[block.thread_rank() / 16] = sum * 2 + any;
  block.sync();
  int count = __syncthreads_count(v > 0), some = __syncthreads_or(v == 7), all = __syncthreads_and(v > -100);
  out[4 + threadIdx.x] = count * 4 + (some ? 2 : 0) + (all ? 1 : 0);
}

extern "C" __global__ void doubles(double *y, const double *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double v = x[i];
  y[i] = exp(v) + log(fabs(v) + 1) + sin(v) + sqrt(fabs(v)) + tanh(v) + rsqrt(fabs(v) + 1) + floor(v) + fmod(v, 0.75) + 1.0 / (v * v + 1);
}

extern "C" __global__ void halves(__half2 *y, __nv_bfloat162 *z, const __half2 *x, const __nv_bfloat162 *b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __half2 a = x[i];
  __half2 r = __hadd2(__hmul2(a, a), __hsub2(a, __hmax2(a, __float2half2_rn(0.25f))));
  if (__hgt(__low2half(a), __high2half(a))) r = __hneg2(r);
  y[i] = __hmin2(r, __floats2half2_rn(2.0f, 0.5f));
  __nv_bfloat162 q = b[i];
  z[i] = __hmax2(__hfma2(q, q, q), __floats2bfloat162_rn(1.0f, 2.0f));
}

// The .ptx beside this file: nvcc -std=c++17 -ptx -arch=compute_80 -lineinfo, paths in its .file lines cut to names.
