// Products of activations with weights of any stored type: linear, its gradient for the input, and the second half of a
// low-rank adapter. A product of up to eight rows reads the weight as it is stored; for more of them a weight of another type
// than the activations' is widened first, all of it, into scratch memory.
#include "mma.cuh"

/// y = x·Wᵀ (+ bias) for M ≤ 8: a warp for each column, whose lanes take k in fours.
template <class T, class W>
INLINE void gemv(T *y, const T *x, const W *w, const f32 *bias, i32 M, i32 N, i32 K, i32 hasBias) {
  constexpr int ROWS = 8;
  i32 n = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (n >= N) return;
  const W *row = w + n * (i64)(K / blockOf<W>);
  f32 sums[ROWS] = {};
  for (i32 k = lane * 4; k < K; k += 128) {
    Four weights = loadFour(row, k, K);
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
      if (m >= M) break;
      Four in = loadFour(x + m * (i64)K, k, K);
#pragma unroll
      for (int j = 0; j < 4; j++) sums[m] = fmaf(in.at[j], weights.at[j], sums[m]);
    }
  }
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    if (m >= M) break;
    f32 sum = warpReduce<Sum>(sums[m]);
    if (lane == 0) y[m * (i64)N + n] = narrow<T>(hasBias ? sum + bias[n] : sum);
  }
}

/// What precedes partial sums in scratch memory: a widened weight, in units of 256 bytes, or nothing.
struct Scratch {
  uint8_t *data;
  i32 units;

  template <class T> INLINE const T *weight(const T *stored) const { return units ? (const T *)data : stored; }
  INLINE f32 *partial() const { return (f32 *)(data + units * 256LL); }
};

template <class T> INLINE auto writeLinear(T *y, const f32 *bias, i32 N, i32 hasBias) {
  return [=](i32 m, i32 n, Four sums) {
    if (hasBias) sums = plus(sums, load<4>(bias + n, N - n));
    storeFour(y + m * (i64)N + n, sums, N - n);
  };
}
/// y = x·Wᵀ (+ bias)
template <bool ASYNC, class T>
INLINE void linear(T *y, const T *x, const T *w, const f32 *bias, Scratch scratch, i32 M, i32 N, i32 K, i32 hasBias,
                   i32 chunk) {
  Stored<T> weight{scratch.weight(w), N, K};
  partOfProduct<true, true, ASYNC>(Tile<T>(M, N), Stored<T>{x, M, K}, weight, M, N, K, scratch.partial(), chunk,
                                   writeLinear(y, bias, N, hasBias));
}

template <class T> INLINE auto writeGradInput(T *dx, i32 K) {
  return [=](i32 m, i32 k, const Four &sums) { storeFour(dx + m * (i64)K + k, sums, K - k); };
}
/// dx = g·W
template <bool ASYNC, class T>
INLINE void gradInput(T *dx, const T *g, const T *w, Scratch scratch, i32 M, i32 N, i32 K, i32 chunk) {
  Stored<T> weight{scratch.weight(w), N, K};
  partOfProduct<true, false, ASYNC>(Tile<T>(M, K), Stored<T>{g, M, N}, weight, M, K, N, scratch.partial(), chunk,
                                    writeGradInput(dx, K));
}

/// y += x·Wᵀ, few k. `wide` is the weight in type T, null where it is stored so.
template <bool ASYNC, class T> INLINE void linearAdd(T *y, const T *x, const T *w, const T *wide, i32 M, i32 N, i32 K) {
  Stored<T> weight{wide ? wide : w, N, K};
  product<true, true, ASYNC>(Tile<T>(M, N), Stored<T>{x, M, K}, weight, M, N, K, [=](i32 m, i32 n, Four sums) {
    T *at = y + m * (i64)N + n;
    storeFour(at, plus(loadFour(at, 0, N - n), sums), N - n);
  });
}

#define GEMV(T, W)                                                                                                     \
  ENTRY(128)                                                                                                           \
  linear_##T##_##W##_gemv(T *y, const T *x, const W *w, const f32 *bias, T *, i32 M, i32 N, i32 K, i32 hasBias) {      \
    gemv(y, x, w, bias, M, N, K, hasBias);                                                                             \
  }
#define WIDEN(T, W)                                                                                                    \
  ENTRY(256) linear_##T##_##W##_widen(T *, const T *, const W *w, const f32 *, T *wide, i32 n) {                       \
    copyAll(wide, w, n);                                                                                               \
  }                                                                                                                    \
  ENTRY(256) linearGradInput_##T##_##W##_widen(T *, const T *, const W *w, T *wide, i32 n) { copyAll(wide, w, n); }
#define PRODUCTS(T, SUFFIX, ASYNC)                                                                                     \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  linear_##T##SUFFIX(T *y, const T *x, const T *w, const f32 *bias, uint8_t *scratch, i32 M, i32 N, i32 K,             \
                     i32 hasBias, i32 units, i32 chunk) {                                                              \
    linear<ASYNC>(y, x, w, bias, {scratch, units}, M, N, K, hasBias, chunk);                                           \
  }                                                                                                                    \
  ENTRY(Tile<T>::THREADS) linearAdd_##T##SUFFIX(T *y, const T *x, const T *w, const T *wide, i32 M, i32 N, i32 K) {    \
    linearAdd<ASYNC>(y, x, w, wide, M, N, K);                                                                          \
  }                                                                                                                    \
  ENTRY(Tile<T>::THREADS)                                                                                              \
  linearGradInput_##T##SUFFIX(T *dx, const T *g, const T *w, uint8_t *scratch, i32 M, i32 N, i32 K, i32 units,         \
                              i32 chunk) {                                                                             \
    gradInput<ASYNC>(dx, g, w, {scratch, units}, M, N, K, chunk);                                                      \
  }
#define TOTALS(T)                                                                                                      \
  ENTRY(256)                                                                                                           \
  linear_##T##_total(T *y, const T *, const T *, const f32 *bias, uint8_t *scratch, i32 M, i32 N, i32, i32 hasBias,    \
                     i32 units, i32 parts) {                                                                           \
    total(Scratch{scratch, units}.partial(), M, N, parts, writeLinear(y, bias, N, hasBias));                           \
  }                                                                                                                    \
  ENTRY(256)                                                                                                           \
  linearGradInput_##T##_total(T *dx, const T *, const T *, uint8_t *scratch, i32 M, i32, i32 K, i32 units,             \
                              i32 parts) {                                                                             \
    total(Scratch{scratch, units}.partial(), M, K, parts, writeGradInput(dx, K));                                      \
  }
WEIGHT_TYPES(GEMV, f32)
BLOCK_TYPES(WIDEN, f32)
WIDEN(f32, f16)
WIDEN(f32, bf16)
PRODUCTS(f32, , false)
TOTALS(f32)
#if SM >= 80
WEIGHT_TYPES(GEMV, bf16)
BLOCK_TYPES(WIDEN, bf16)
WIDEN(bf16, f16)
WIDEN(bf16, f32)
PRODUCTS(bf16, , false)
PRODUCTS(bf16, _async, true)
TOTALS(bf16)
ENTRY(256) linearAdd_bf16_f32_widen(bf16 *, const bf16 *, const f32 *w, bf16 *wide, i32 n) { copyAll(wide, w, n); }
#endif
