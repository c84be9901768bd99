// Rows normalised by their root mean square (rmsNorm), or by mean and standard deviation (layerNorm, where CENTRED).
// Statistics, weight and bias are f32.
#include "rows.cuh"

constexpr int N = 4;

/// Σ f(x …) over the row, the arguments being elements of `rows` in the same column.
template <int GROUP, class F, class... X> INLINE f32 rowSum(i32 C, F f, const X *...rows) {
  f32 sum = 0;
  eachColumns<GROUP, N>(C, [&](i64 c, i32 count) {
    auto add = [&](Packet<X, N>... in) {
#pragma unroll
      for (int j = 0; j < N; j++) {
        if (j < count) sum += f(widen(in.at[j])...);
      }
    };
    add(load<N>(rows + c, count)...);
  });
  return groupReduce<Sum, GROUP>(sum);
}

/// y[c] = f(x[c] …)
template <int GROUP, class T, class F, class... X> INLINE void rowMap(i32 C, F f, T *y, const X *...rows) {
  eachColumns<GROUP, N>(C, [&](i64 c, i32 count) {
    auto apply = [&](Packet<X, N>... in) {
      Packet<T, N> out;
#pragma unroll
      for (int j = 0; j < N; j++) out.at[j] = narrow<T>(f(widen(in.at[j])...));
      store<N>(y + c, out, count);
    };
    apply(load<N>(rows + c, count)...);
  });
}

/// `means` and `bias` are read and written where CENTRED.
template <bool CENTRED, int GROUP, class T>
INLINE void normalize(T *y, f32 *means, f32 *rstds, const T *x, const f32 *weight, const f32 *bias, i32 rows, i32 C,
                      f32 eps) {
  i64 row = groupRow<GROUP>();
  if (row >= rows) return;
  x += row * C;
  y += row * C;
  f32 mean = CENTRED ? rowSum<GROUP>(C, [](f32 x) { return x; }, x) / C : 0;
  f32 squares = rowSum<GROUP>(C, [=](f32 x) { return (x - mean) * (x - mean); }, x);
  f32 rstd = 1 / sqrtf(squares / C + eps);
  if (isFirst<GROUP>()) {
    if (CENTRED) means[row] = mean;
    rstds[row] = rstd;
  }
  if (CENTRED) {
    rowMap<GROUP>(C, [=](f32 x, f32 w, f32 b) { return (x - mean) * rstd * w + b; }, y, x, weight, bias);
  } else {
    rowMap<GROUP>(C, [=](f32 x, f32 w) { return x * rstd * w; }, y, x, weight);
  }
}

/// dx = rstd·(g⊙w − x̂·mean(g⊙w⊙x̂)), less mean(g⊙w) in the parentheses if CENTRED.
template <bool CENTRED, int GROUP, class T>
INLINE void gradInput(T *dx, const T *g, const T *x, const f32 *weight, const f32 *means, const f32 *rstds, i32 rows,
                      i32 C) {
  i64 row = groupRow<GROUP>();
  if (row >= rows) return;
  dx += row * C;
  g += row * C;
  x += row * C;
  f32 mean = CENTRED ? means[row] : 0, rstd = rstds[row];
  f32 average = CENTRED ? rowSum<GROUP>(C, [](f32 g, f32 w) { return g * w; }, g, weight) / C : 0;
  f32 dot = rowSum<GROUP>(C, [=](f32 g, f32 w, f32 x) { return g * w * ((x - mean) * rstd); }, g, weight, x) / C;
  rowMap<GROUP>(
      C, [=](f32 g, f32 w, f32 x) { return rstd * (g * w - average - (x - mean) * rstd * dot); }, dx, g, weight, x);
}

#define NORM(T, GROUP, SUFFIX, ...)                                                                                    \
  ENTRY(BLOCK) rmsNorm_##T##_##SUFFIX(T *y, f32 *rstd, const T *x, const f32 *w, i32 rows, i32 C, f32 eps) {           \
    normalize<false, GROUP>(y, nullptr, rstd, x, w, nullptr, rows, C, eps);                                            \
  }                                                                                                                    \
  ENTRY(BLOCK) rmsNormGradInput_##T##_##SUFFIX(T *dx, const T *g, const T *x, const f32 *w, const f32 *rstd, i32 rows, \
                                               i32 C) {                                                                \
    gradInput<false, GROUP>(dx, g, x, w, nullptr, rstd, rows, C);                                                      \
  }                                                                                                                    \
  ENTRY(BLOCK) layerNorm_##T##_##SUFFIX(T *y, f32 *mean, f32 *rstd, const T *x, const f32 *w, const f32 *b, i32 rows,  \
                                        i32 C, f32 eps) {                                                              \
    normalize<true, GROUP>(y, mean, rstd, x, w, b, rows, C, eps);                                                      \
  }                                                                                                                    \
  ENTRY(BLOCK) layerNormGradInput_##T##_##SUFFIX(T *dx, const T *g, const T *x, const f32 *w, const f32 *mean,         \
                                                 const f32 *rstd, i32 rows, i32 C) {                                   \
    gradInput<true, GROUP>(dx, g, x, w, mean, rstd, rows, C);                                                          \
  }
COMPUTE_TYPES(ROWWISE, NORM, )
