// Batched products of activations, either operand read transposed.
#include "mma.cuh"

template <class C> INLINE auto write(C *c, i32 N) {
  return [=](i32 m, i32 n, const Four &sums) { storeFour(c + m * (i64)N + n, sums, N - n); };
}

template <bool transA, bool transB, class C, class T>
INLINE void matmul(C *c, const T *a, const T *b, f32 *partial, i32 M, i32 N, i32 K, i32 strideA, i32 strideB, i32 chunk) {
  Tile<T> tile(M, N);
  i64 batch = tile.batch;
  Stored<T> left{a + batch * strideA, transA ? K : M, transA ? M : K};
  Stored<T> right{b + batch * strideB, transB ? N : K, transB ? K : N};
  partOfProduct<!transA, transB>(tile, left, right, M, N, K, partial, chunk, write(c + batch * M * N, N));
}

#define MATMUL(NAME, C, T, LAYOUT, TRANS_A, TRANS_B)                                                                   \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  NAME##_##LAYOUT(C *c, const T *a, const T *b, f32 *partial, i32 M, i32 N, i32 K, i32 strideA, i32 strideB,           \
                  i32 chunk) {                                                                                         \
    matmul<TRANS_A, TRANS_B>(c, a, b, partial, M, N, K, strideA, strideB, chunk);                                      \
  }
#define LAYOUTS(NAME, C, T)                                                                                            \
  MATMUL(NAME, C, T, nn, false, false)                                                                                 \
  MATMUL(NAME, C, T, nt, false, true)                                                                                  \
  MATMUL(NAME, C, T, tn, true, false)                                                                                  \
  MATMUL(NAME, C, T, tt, true, true)                                                                                   \
  ENTRY(256) NAME##_total(C *c, const T *, const T *, const f32 *partial, i32 M, i32 N, i32 parts) {                   \
    total(partial, M, N, parts, write(c, N));                                                                          \
  }
LAYOUTS(matmul_f32, f32, f32)
#if SM >= 80
LAYOUTS(matmul_bf16, bf16, bf16)
LAYOUTS(matmul_bf16_f32, f32, bf16)
#endif
