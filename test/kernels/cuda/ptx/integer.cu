// Integer arithmetic of every width, atomics, votes and matches.
#include <stdint.h>

extern "C" __global__ void wide(int64_t *out, const int64_t *a, const int64_t *b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t x = a[i], y = b[i];
  uint64_t ux = x, uy = y;
  int64_t *o = out + (int64_t)i * 16;
  o[0] = x + y; o[1] = x - y; o[2] = x * y; o[3] = y ? x / y : 0; o[4] = y ? x % y : 0;
  o[5] = uy ? ux / uy : 0; o[6] = uy ? ux % uy : 0; o[7] = x << (y & 63); o[8] = x >> (y & 63); o[9] = ux >> (y & 63);
  o[10] = __mul64hi(x, y); o[11] = __umul64hi(ux, uy); o[12] = (int64_t)(int)x * (int)y; o[13] = __popcll(x) + __clzll(y);
  o[14] = x < y ? x : y; o[15] = (int64_t)((double)x * 0.5) + (int64_t)(float)(int)y;
}

extern "C" __global__ void narrow(int *out, const int *a, const int *b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int x = a[i], y = b[i];
  unsigned ux = x, uy = y;
  int *o = out + i * 16;
  o[0] = y && !(y == -1 && x == (int)0x80000000) ? x / y : 0; o[1] = y && y != -1 ? x % y : 0; o[2] = uy ? ux / uy : 0; o[3] = uy ? ux % uy : 0;
  o[4] = __mulhi(x, y); o[5] = __umulhi(ux, uy); o[6] = __funnelshift_l(x, y, x); o[7] = __byte_perm(x, y, x & 0x7777);
  o[8] = __popc(x) + __clz(y) + __ffs(x); o[9] = __brev(x); o[10] = __dp4a(x, y, x); o[11] = __sad(x, y, 7);
  o[12] = (int8_t)x * (uint8_t)y + (int16_t)x; o[13] = (x & y) ^ (~x | y); o[14] = min(x, y) - max(ux, uy); o[15] = x >> (y & 31);
}

extern "C" __global__ void histogram(unsigned *bins, float *total, const int *keys, int n) {
  __shared__ unsigned local[64];
  for (int i = threadIdx.x; i < 64; i += blockDim.x) local[i] = 0;
  __syncthreads();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    atomicAdd(&local[keys[i] & 63], 1u);
    atomicAdd(total, (float)keys[i]);
    atomicMax((int *)bins + 64, keys[i]);
  }
  __syncthreads();
  for (int k = threadIdx.x; k < 64; k += blockDim.x) atomicAdd(&bins[k], local[k]);
}

extern "C" __global__ void warpOps(unsigned *out, const int *keys) {
  int lane = threadIdx.x;
  int k = keys[lane];
  unsigned *o = out + lane * 8;
  o[0] = __ballot_sync(~0u, k & 1);
  o[1] = __all_sync(~0u, k > -100) | __any_sync(~0u, k == 3) << 1;
  o[2] = __match_any_sync(~0u, k);
  o[3] = __reduce_add_sync(~0u, k);
  o[4] = __reduce_max_sync(~0u, (unsigned)k);
  o[5] = __shfl_up_sync(~0u, k, 3) + __shfl_down_sync(~0u, k, 5, 16);
  o[6] = __shfl_sync(~0u, k, lane * 7, 8);
  o[7] = lane & 1 ? __activemask() : 0;
}

__device__ __noinline__ int collatz(int n) {
  int steps = 0;
  while (n != 1) {
    n = n & 1 ? 3 * n + 1 : n / 2;
    steps++;
  }
  return steps;
}

// Divergent loops and a device function that is called.
extern "C" __global__ void steps(int *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = collatz(i + 1) + (i & 1 ? collatz(i + 7) : 0);
}

// Local memory: a dynamically indexed array.
extern "C" __global__ void localSort(int *out, const int *in, int n) {
  int v[16];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  for (int k = 0; k < 16; k++) v[k] = in[i * 16 + k];
  for (int a = 1; a < 16; a++) {
    int key = v[a], b = a - 1;
    while (b >= 0 && v[b] > key) { v[b + 1] = v[b]; b--; }
    v[b + 1] = key;
  }
  for (int k = 0; k < 16; k++) out[i * 16 + k] = v[k];
}

// The .ptx beside this file: nvcc -std=c++17 -ptx -arch=compute_80 -lineinfo, paths in its .file lines cut to names.
