// y = s·(m⊙x)·Aᵀ and its gradients for A and, in f32, for x, for x [T, K] and A f32 [r, K]: the products that LoRA begins with.
// The mask is applied where x is read or its gradient written. linear.cu has that one in bf16.
#include "mask.cuh"
#include "mma.cuh"

/// m
struct Mask {
  const uint32_t *words;
  i32 columns;

  /// x where the mask has a 1, else 0, for four neighbours of a row.
  INLINE Four apply(const Four &x, i32 row, i32 column) const {
    uint32_t bits = maskBits(words, columns, row, column);
    return four([&](int j) { return bits >> j & 1 ? x.at[j] : 0; });
  }
};

template <class T> struct Masked {
  Stored<T> x;
  Mask mask;

  INLINE Four at(i32 row, i32 column) const {
    if (row >= x.rows || column >= x.columns) return Four{};
    return mask.apply(x.at(row, column), row, column);
  }
};

INLINE Four times(f32 s, const Four &x) {
  return four([&](int j) { return s * x.at[j]; });
}

template <class Y> INLINE auto writeScaled(Y *y, i32 columns, f32 s) {
  return [=](i32 row, i32 column, const Four &sums) {
    storeFour(y + row * (i64)columns + column, times(s, sums), columns - column);
  };
}

#define DROPOUT_LINEAR(T, _)                                                                                           \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  dropoutLinear_##T(T *y, const T *x, const f32 *a, const uint32_t *mask, f32 *partial, i32 rows, i32 K, i32 r,        \
                    i32 chunk, f32 s) {                                                                                \
    Masked<T> masked{{x, rows, K}, {mask, K}};                                                                         \
    partOfProduct<true, true>(Tile<T>(rows, r), masked, Stored<f32>{a, r, K}, rows, r, K, partial, chunk,              \
                              writeScaled(y, r, s));                                                                   \
  }                                                                                                                    \
  ENTRY(256)                                                                                                           \
  dropoutLinear_##T##_total(T *y, const T *, const f32 *, const uint32_t *, const f32 *partial, i32 rows, i32 r,       \
                            i32 parts, f32 s) {                                                                        \
    total(partial, rows, r, parts, writeScaled(y, r, s));                                                              \
  }                                                                                                                    \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  dropoutLinearGradWeight_##T(f32 *da, const T *g, const T *x, const uint32_t *mask, f32 *partial, i32 rows, i32 K,    \
                              i32 r, i32 chunk, f32 s) {                                                               \
    Masked<T> masked{{x, rows, K}, {mask, K}};                                                                         \
    partOfProduct<false, false>(Tile<T>(r, K), Stored<T>{g, rows, r}, masked, r, K, rows, partial, chunk,              \
                                writeScaled(da, K, s));                                                                \
  }                                                                                                                    \
  ENTRY(256)                                                                                                           \
  dropoutLinearGradWeight_##T##_total(f32 *da, const T *, const T *, const uint32_t *, const f32 *partial, i32 r,      \
                                      i32 K, i32 parts, f32 s) {                                                       \
    total(partial, r, K, parts, writeScaled(da, K, s));                                                                \
  }
COMPUTE_TYPES(DROPOUT_LINEAR, )
/// dx += the gradient for x.
ENTRY(Tile<f32>::THREADS)
dropoutLinearGradInputAdd_f32(f32 *dx, const f32 *g, const f32 *a, const uint32_t *mask, i32 rows, i32 K, i32 r, f32 s) {
  Stored<f32> gradient{g, rows, r};
  product<true, false>(Tile<f32>(rows, K), gradient, Stored<f32>{a, r, K}, rows, K, r, [=](i32 t, i32 k, Four sums) {
    addFour(dx + t * (i64)K + k, Mask{mask, K}.apply(times(s, sums), t, k), K - k);
  });
}
