// Rows of n elements: their extremes, softmax and its logarithm.
#include "rows.cuh"

/// fmaxf drops a NaN; here it stays, as the reference has it.
struct MaxOrNan {
  static INLINE f32 of(f32 a, f32 b) { return a != a || a > b ? a : b; }
};

template <class Op, int GROUP, class T, class F> INLINE auto rowReduce(const T *x, i32 n, F f) {
  auto result = f(widen(x[0]), 0);
  eachColumns<GROUP, 1>(n, [&](i64 i, i32) { result = Op::of(result, f(widen(x[i]), (i32)i)); });
  return groupReduce<Op, GROUP>(result);
}

/// y[row] = sign · max(sign · x[row, …])
template <int GROUP, class T> INLINE void extreme(T *y, const T *x, i32 rows, i32 n, f32 sign) {
  i64 row = groupRow<GROUP>();
  if (row >= rows) return;
  f32 best = rowReduce<MaxOrNan, GROUP>(x + row * n, n, [=](f32 x, i32) { return sign * x; });
  if (isFirst<GROUP>()) y[row] = narrow<T>(sign * best);
}

/// Orders as numbers do, equal ones by lower index; NaN is above all.
INLINE uint64_t rank(f32 x, i32 index) {
  // −0 becomes 0.
  uint32_t bits = __float_as_uint(x + 0.0f);
  uint32_t order = x != x ? ~0u : bits >> 31 ? ~bits : bits | 1u << 31;
  return (uint64_t)order << 32 | ~(uint32_t)index;
}

/// Index of the first largest element, −1 where one is NaN.
template <int GROUP, class T> INLINE void argmax(i32 *y, const T *x, i32 rows, i32 n) {
  i64 row = groupRow<GROUP>();
  if (row >= rows) return;
  uint64_t best = rowReduce<Max, GROUP>(x + row * n, n, [](f32 x, i32 i) { return rank(x, i); });
  if (isFirst<GROUP>()) y[row] = (best >> 32) == ~0u ? -1 : (i32) ~(uint32_t)best;
}

/// y = eˣ / Σ eˣ, or its logarithm
template <bool LOGARITHM, int GROUP, class T> INLINE void softmax(T *y, const T *x, i32 rows, i32 n) {
  i64 row = groupRow<GROUP>();
  if (row >= rows) return;
  x += row * n;
  y += row * n;
  f32 top = rowReduce<Max, GROUP>(x, n, [](f32 x, i32) { return x; });
  f32 sum = 0;
  eachColumns<GROUP, 1>(n, [&](i64 i, i32) { sum += expf(widen(x[i]) - top); });
  sum = groupReduce<Sum, GROUP>(sum);
  f32 lse = top + logf(sum);
  eachColumns<GROUP, 1>(n, [&](i64 i, i32) {
    f32 value = widen(x[i]);
    y[i] = narrow<T>(LOGARITHM ? value - lse : expf(value - top) / sum);
  });
}

#define SOFTMAX(T, GROUP, SUFFIX, ...)                                                                                 \
  ENTRY(BLOCK) max_##T##_##SUFFIX(T *y, const T *x, i32 rows, i32 n) { extreme<GROUP>(y, x, rows, n, 1); }             \
  ENTRY(BLOCK) min_##T##_##SUFFIX(T *y, const T *x, i32 rows, i32 n) { extreme<GROUP>(y, x, rows, n, -1); }            \
  ENTRY(BLOCK) argmax_##T##_##SUFFIX(i32 *y, const T *x, i32 rows, i32 n) { argmax<GROUP>(y, x, rows, n); }            \
  ENTRY(BLOCK) softmax_##T##_##SUFFIX(T *y, const T *x, i32 rows, i32 n) { softmax<false, GROUP>(y, x, rows, n); }     \
  ENTRY(BLOCK) logSoftmax_##T##_##SUFFIX(T *y, const T *x, i32 rows, i32 n) { softmax<true, GROUP>(y, x, rows, n); }
COMPUTE_TYPES(ROWWISE, SOFTMAX, )
