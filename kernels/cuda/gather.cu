// The transpose of reading rows (embedding, in quant.cu): adding into them.
#include "common.cuh"

/// y[n, C] = the sum of x[m, C] over rows[m] = n, in ascending m. A block has 128 columns of one row of y and looks through
/// `rows` 128 at a time.
template <class T> INLINE void scatterAdd(T *y, const T *x, const i32 *rows, i32 M, i32 C, i32 N) {
  __shared__ i32 row[128];
  i32 columns = (C + 127) / 128;
  i32 n = blockIdx.x / columns, c = blockIdx.x % columns * 128 + threadIdx.x;
  f32 sum = 0;
  for (i32 begin = 0; begin < M; begin += 128) {
    i32 count = min(128, M - begin);
    i32 own = threadIdx.x < count ? rows[begin + threadIdx.x] : -1;
    if (!__syncthreads_or(own == n)) continue;
    row[threadIdx.x] = own;
    __syncthreads();
    for (i32 m = 0; m < count; m++) {
      if (row[m] == n && c < C) sum += widen(x[(i64)(begin + m) * C + c]);
    }
    __syncthreads();
  }
  if (c < C) y[(i64)n * C + c] = narrow<T>(sum);
}

#define SCATTER_ADD(T, _)                                                                                              \
  ENTRY(128) scatterAdd_##T(T *y, const T *x, const i32 *rows, i32 M, i32 C, i32 N) {                                  \
    scatterAdd(y, x, rows, M, C, N);                                                                                   \
  }
COMPUTE_TYPES(SCATTER_ADD, )
