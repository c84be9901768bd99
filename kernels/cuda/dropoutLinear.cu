// y = s·(m⊙x)·Aᵀ and its gradients for x and A, for x [T, K] and A f32 [r, K]: the products that LoRA begins with. The mask is
// applied where x is read or written.
#include "mma.cuh"

/// m: a bit an element, rows of whole words.
struct Mask {
  const uint32_t *words;
  i32 columns;

  /// x where the mask has a 1, else 0, for four neighbours of a row.
  INLINE Four apply(const Four &x, i32 row, i32 column) const {
    uint32_t bits = words[row * (i64)((columns + 31) / 32) + column / 32] >> column % 32;
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

#define DROPOUT_LINEAR(T, _)                                                                                           \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  dropoutLinear_##T(T *y, const T *x, const f32 *a, const uint32_t *mask, i32 rows, i32 K, i32 r, f32 s) {             \
    Masked<T> masked{{x, rows, K}, {mask, K}};                                                                         \
    product<true, true>(Tile<T>(rows, r), masked, Stored<f32>{a, r, K}, rows, r, K, [=](i32 t, i32 j, Four sums) {     \
      storeFour(y + t * (i64)r + j, times(s, sums), r - j);                                                            \
    });                                                                                                                \
  }                                                                                                                    \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  dropoutLinearGradInput_##T(T *dx, const T *g, const f32 *a, const uint32_t *mask, i32 rows, i32 K, i32 r, f32 s) {   \
    Stored<T> gradient{g, rows, r};                                                                                    \
    product<true, false>(Tile<T>(rows, K), gradient, Stored<f32>{a, r, K}, rows, K, r, [=](i32 t, i32 k, Four sums) {  \
      storeFour(dx + t * (i64)K + k, Mask{mask, K}.apply(times(s, sums), t, k), K - k);                                \
    });                                                                                                                \
  }                                                                                                                    \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  dropoutLinearGradWeight_##T(f32 *da, const T *g, const T *x, const uint32_t *mask, i32 rows, i32 K, i32 r, f32 s) {  \
    Masked<T> masked{{x, rows, K}, {mask, K}};                                                                         \
    product<false, false>(Tile<T>(r, K), Stored<T>{g, rows, r}, masked, r, K, rows, [=](i32 j, i32 k, Four sums) {     \
      storeFour(da + j * (i64)K + k, times(s, sums), K - k);                                                           \
    });                                                                                                                \
  }
COMPUTE_TYPES(DROPOUT_LINEAR, )
