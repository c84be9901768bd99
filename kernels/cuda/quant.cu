// Stored weights as numbers of a compute type: all of a tensor (cast), or the rows that ids name (embedding).
#include "weight.cuh"

#define CAST(T, W)                                                                                                     \
  ENTRY(256) cast_##T##_##W(T *y, const W *x, i32 n) { copyAll(y, x, n); }
#define EMBEDDING(T, W)                                                                                                \
  ENTRY(256) embedding_##T##_##W(T *y, const W *weight, const i32 *ids, i32 M, i32 C, i32 V) {                         \
    copyRows(y, Weight<W>{weight, V, C}, M, [=](i64 t) { return ids[t] < V ? (i64)ids[t] : -1; });                     \
  }
#define STORED(T, _)                                                                                                   \
  CAST(T, i32)                                                                                                         \
  WEIGHT_TYPES(CAST, T)                                                                                                \
  WEIGHT_TYPES(EMBEDDING, T)
COMPUTE_TYPES(STORED, )
