// Kernels that move elements, as bits: rows of a matrix into another, two axes exchanged, broadcast copies, cache appends.
#include "broadcast.cuh"
#include "flat.cuh"

/// y[r, begin + j] = x[r, from + j] for j below `length`, four neighbours a thread.
template <class T>
INLINE void copyRows(T *y, const T *x, i32 rows, i32 length, i64 yRow, i64 begin, i64 row, i64 from) {
  constexpr int N = 4;
  rowRun<N>(rows, length, [&](i64 r, i32 j, i32 count) {
    store<N>(y + r * yRow + begin + j, load<N>(x + r * row + from + j, count), count);
  });
}

#define COPY_ROWS(T, _)                                                                                                \
  ENTRY(256) copyRows_##T(T *y, const T *x, i32 rows, i32 length, i32 yRow, i32 begin, i32 row, i32 from) {            \
    copyRows(y, x, rows, length, yRow, begin, row, from);                                                              \
  }
COMPUTE_TYPES(COPY_ROWS, )
COPY_ROWS(i32, )

/// cache[at …] = rows[0 … n)
#define APPEND_ROWS(T, _)                                                                                              \
  ENTRY(256) appendRows_##T(T *cache, const T *rows, i32 at, i32 n) {                                                  \
    copyRows(cache, rows, 1, n, 0, at, 0, 0);                                                                          \
  }
COMPUTE_TYPES(APPEND_ROWS, )

/// y[o, b, m, a] = x[o, a, m, b]: tiles of 32×32 through shared memory, so that both sides are read and written in rows.
template <class T> INLINE void transposeTiles(T *y, const T *x, i32 outer, i32 A, i32 middle, i32 B) {
  __shared__ T tile[32][33];
  i32 m = blockIdx.z % middle, o = blockIdx.z / middle;
  x += (i64)o * A * middle * B + (i64)m * B;
  y += (i64)o * A * middle * B + (i64)m * A;
  i32 a = blockIdx.y * 32, b = blockIdx.x * 32;
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    if (a + k < A && b + threadIdx.x < B) tile[k][threadIdx.x] = x[(i64)(a + k) * middle * B + b + threadIdx.x];
  }
  __syncthreads();
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    if (b + k < B && a + threadIdx.x < A) y[(i64)(b + k) * middle * A + a + threadIdx.x] = tile[threadIdx.x][k];
  }
}

/// The same with an inner axis, which moves as a whole.
template <class T> INLINE void transposeRows(T *y, const T *x, i32 outer, i32 A, i32 middle, i32 B, i32 inner) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)outer * A * middle * B * inner) return;
  i64 rest = i / inner;
  i32 c = (i32)(i - rest * inner), a = rest % A, m = rest / A % middle;
  rest = rest / A / middle;
  i64 b = rest % B, o = rest / B;
  y[i] = x[(((o * A + a) * middle + m) * B + b) * inner + c];
}

#define TRANSPOSE(T, _)                                                                                                \
  ENTRY(256) transpose_##T##_tiles(T *y, const T *x, i32 outer, i32 A, i32 middle, i32 B, i32 inner) {                 \
    transposeTiles(y, x, outer, A, middle, B);                                                                         \
  }                                                                                                                    \
  ENTRY(256) transpose_##T##_rows(T *y, const T *x, i32 outer, i32 A, i32 middle, i32 B, i32 inner) {                  \
    transposeRows(y, x, outer, A, middle, B, inner);                                                                   \
  }
COMPUTE_TYPES(TRANSPOSE, )
TRANSPOSE(i32, )

#define EXPAND(T, _)                                                                                                   \
  ENTRY(256) expand_##T(T *y, const T *x, Broadcast<1> shape) {                                                        \
    broadcastRuns<4>(shape, [&](uint32_t i, i32 count, const i64(&at)[1]) {                                            \
      if (count == 1) y[i] = x[at[0]];                                                                                 \
      else store<4>(y + i, loadRun<4>(x + at[0], shape.strides[0][MAX_RANK - 1]));                                     \
    });                                                                                                                \
  }
COMPUTE_TYPES(EXPAND, )
