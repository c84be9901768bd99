// Stored weights as numbers of a compute type: all of a tensor (cast), or the rows that ids name (embedding).
#include "common.cuh"

/// y[i] = x[i]
template <class T, class W> INLINE void cast(T *y, const W *x, i32 rows, i32 columns) {
  constexpr int N = 4;
  i64 n = (i64)rows * columns, i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (i >= n) return;
  i32 count = min((i64)N, n - i);
  Packet<W, N> in = load<N>(x + i, count);
  Packet<T, N> out;
#pragma unroll
  for (int j = 0; j < N; j++) out.at[j] = narrow<T>(widen(in.at[j]));
  store<N>(y + i, out, count);
}

/// y[t, c] = weight[ids[t], c], NaN for an id outside [0, V)
template <class T, class W> INLINE void embedding(T *y, const W *weight, const i32 *ids, i32 rows, i32 C, i32 V) {
  constexpr int N = 4;
  i32 perRow = (C + N - 1) / N;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)rows * perRow) return;
  i64 t = i / perRow;
  i32 c = (i32)(i - t * perRow) * N, count = min(N, C - c), id = ids[t];
  bool inside = id >= 0 && id < V;
  Packet<W, N> in = load<N>(weight + (inside ? (i64)id * C + c : 0), inside ? count : 0);
  Packet<T, N> out;
#pragma unroll
  for (int j = 0; j < N; j++) out.at[j] = narrow<T>(inside ? widen(in.at[j]) : __int_as_float(0x7fc00000));
  store<N>(y + t * C + c, out, count);
}

#define CAST(T, W)                                                                                                     \
  ENTRY(256) cast_##T##_##W(T *y, const W *x, i32 rows, i32 columns) {                                                 \
    cast(y, x, rows, columns);                                                                                         \
  }
#define EMBEDDING(T, W)                                                                                                \
  ENTRY(256) embedding_##T##_##W(T *y, const W *weight, const i32 *ids, i32 rows, i32 C, i32 V) {                      \
    embedding(y, weight, ids, rows, C, V);                                                                             \
  }
COMPUTE_TYPES(CAST, f32)
COMPUTE_TYPES(CAST, f16)
COMPUTE_TYPES(CAST, bf16)
COMPUTE_TYPES(CAST, i32)
COMPUTE_TYPES(EMBEDDING, f32)
COMPUTE_TYPES(EMBEDDING, f16)
COMPUTE_TYPES(EMBEDDING, bf16)
