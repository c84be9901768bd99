// Elementwise, softmax and reductions: what an activation or norm kernel looks like to the simulator.
#include <cuda_fp16.h>
#include <cuda_bf16.h>

extern "C" __global__ void axpy(float *y, const float *x, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = fmaf(a, x[i], y[i]);
}

// One block a row; n columns. Row maximum and sum through warp shuffles and shared memory.
extern "C" __global__ void softmax(float *y, const float *x, int n) {
  __shared__ float partial[32];
  const float *row = x + (size_t)blockIdx.x * n;
  float *out = y + (size_t)blockIdx.x * n;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float m = -INFINITY;
  for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i]);
  for (int o = 16; o > 0; o >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));
  if (lane == 0) partial[warp] = m;
  __syncthreads();
  m = lane < warps ? partial[lane] : -INFINITY;
  for (int o = 16; o > 0; o >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));
  float s = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) s += __expf(row[i] - m);
  for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffffu, s, o);
  __syncthreads();
  if (lane == 0) partial[warp] = s;
  __syncthreads();
  s = lane < warps ? partial[lane] : 0;
  for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffffu, s, o);
  float r = 1.0f / s;
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = __expf(row[i] - m) * r;
}

// Tree reduction in dynamic shared memory.
extern "C" __global__ void blockSum(float *out, const float *x, int n) {
  extern __shared__ float tile[];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = i < n ? x[i] : 0.0f;
  __syncthreads();
  for (int s = blockDim.x / 2; s > 0; s >>= 1) {
    if (threadIdx.x < s) tile[threadIdx.x] += tile[threadIdx.x + s];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = tile[0];
}

extern "C" __global__ void halfOps(__half2 *y, const __half2 *x, const __nv_bfloat162 *b, float *f, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  __half2 h = __hfma2(x[i], x[i], __float2half2_rn(0.5f));
  float2 bf = __bfloat1622float2(b[i]);
  y[i] = h;
  f[i] = bf.x * bf.y + __half2float(__low2half(h)) + __bfloat162float(__float2bfloat16(bf.x + 0.1f));
}

extern "C" __global__ void transcendental(float *y, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  y[i] = expf(v) + logf(fabsf(v) + 1.0f) + tanhf(v) + sqrtf(fabsf(v)) + rsqrtf(fabsf(v) + 1.0f) + v / (1.0f + v * v) + erff(v) +
         powf(fabsf(v) + 0.5f, 1.5f) + sinf(v) * cosf(v) + floorf(v) + rintf(v);
}

// The .ptx beside this file: nvcc -std=c++17 -ptx -arch=compute_80 -lineinfo, paths in its .file lines cut to names.
