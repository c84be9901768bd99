// Stored weights as numbers of a compute type: all of a tensor (cast), or the rows that ids name (embedding).
#include "weight.cuh"

/// y[r, c … c + 3] = x[from, c … c + 3] for a thread of rows × ⌈columns/4⌉; NaN where `from`, a function of r, is negative.
template <class T, class W, class From> INLINE void copyRows(T *y, const W *x, i32 rows, i32 columns, From from) {
  i32 perRow = (columns + 3) / 4;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)rows * perRow) return;
  i64 r = i / perRow;
  i32 c = (i32)(i - r * perRow) * 4;
  i64 source = from(r);
  Packet<T, 4> out;
  if (source >= 0) {
    Four in = loadFour(x + source * (columns / blockOf<W>), c, columns);
#pragma unroll
    for (int j = 0; j < 4; j++) out.at[j] = narrow<T>(in.at[j]);
  } else {
#pragma unroll
    for (int j = 0; j < 4; j++) out.at[j] = narrow<T>(__int_as_float(0x7fc00000));
  }
  store<4>(y + r * columns + c, out, columns - c);
}

#define CAST(T, W)                                                                                                     \
  ENTRY(256) cast_##T##_##W(T *y, const W *x, i32 M, i32 N) {                                                          \
    copyRows(y, x, M, N, [](i64 r) { return r; });                                                                         \
  }
#define EMBEDDING(T, W)                                                                                                \
  ENTRY(256) embedding_##T##_##W(T *y, const W *weight, const i32 *ids, i32 M, i32 C, i32 V) {                         \
    copyRows(y, weight, M, C, [=](i64 t) { return ids[t] < V ? (i64)ids[t] : -1; });                                       \
  }
#define STORED(T, _)                                                                                                   \
  CAST(T, i32)                                                                                                         \
  WEIGHT_TYPES(CAST, T)                                                                                                \
  WEIGHT_TYPES(EMBEDDING, T)
COMPUTE_TYPES(STORED, )
