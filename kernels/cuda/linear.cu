// Products of activations with weights of any stored type: linear, its gradient for the input, and what a low-rank adapter adds
// to both. A product of up to eight rows reads the weight as it is stored; for more of them a weight of another type
// than the activations' is widened first, all of it, into scratch memory.
#include "mma.cuh"

/// Columns of y that a warp has (linear.ts): a run of blocks has so many elements that x, read from cache, would be most of the
/// traffic were it not read once for several of them.
template <class W> constexpr int columnsOf = inBlocks<W> ? 4 : 1;

/// Over the lanes of a warp, the sum of each of COUNT ≤ 32 numbers, a power of two: lane l gets the (l·COUNT/32)-th. At every step
/// a lane keeps half of the numbers that it still has, and gives the other half away.
template <int COUNT, int DISTANCE = 16> INLINE f32 warpSums(const f32 (&x)[COUNT]) {
  if constexpr (DISTANCE == 0) return x[0];
  else {
    constexpr int KEPT = COUNT > 1 ? COUNT / 2 : 1;
    bool upper = COUNT > 1 && threadIdx.x & DISTANCE;
    f32 kept[KEPT];
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
      f32 low = x[i], high = x[COUNT - KEPT + i];
      kept[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, DISTANCE);
    }
    return warpSums<KEPT, DISTANCE / 2>(kept);
  }
}

/// y = x·Wᵀ (+ bias) for M ≤ 8: a warp for `columnsOf` columns, whose lanes take k in runs.
template <class T, class W> INLINE void gemv(T *y, const T *x, Weight<W> w, const f32 *bias, i32 M, i32 hasBias) {
  constexpr int ROWS = 8, COLUMNS = columnsOf<W>, LANES = 32 / (ROWS * COLUMNS);
  i32 N = w.rows, K = w.columns, lane = threadIdx.x % 32;
  i32 n = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * COLUMNS;
  if (n >= N) return;
  f32 sums[ROWS * COLUMNS] = {};
  for (i32 i = lane; i < Run<W>::count(K); i += 32) {
    Run<W> runs[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) runs[c] = Run<W>(w, min(n + c, N - 1), i);
    // A loop, lest the code for all rows be there twice.
#pragma unroll 1
    for (int part = 0; part < Run<W>::PARTS; part++) {
#pragma unroll
      for (int word = 0; word < Run<W>::WORDS; word++) {
        i32 k = Run<W>::column(i, part, word);
        Four weights[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) weights[c] = runs[c].at(part, word);
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
          if (m >= M) break;
          const T *row = x + m * (i64)K;
          Four in = inBlocks<W> ? loadFour(row + k, 0, 4) : loadFour(row, k, K);
#pragma unroll
          for (int c = 0; c < COLUMNS; c++) {
            f32 &sum = sums[m * COLUMNS + c];
#pragma unroll
            for (int j = 0; j < 4; j++) sum = fmaf(in.at[j], weights[c].at[j], sum);
          }
        }
      }
    }
  }
  f32 sum = warpSums(sums);
  i32 m = lane / LANES / COLUMNS;
  n += lane / LANES % COLUMNS;
  if (lane % LANES == 0 && m < M && n < N) y[m * (i64)N + n] = narrow<T>(hasBias ? sum + bias[n] : sum);
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

#if SM >= 80
/// y = x·Wᵀ (+ bias) + u·Bᵀ, B in f32 [N, r]: the first part of a product that is cut has u·Bᵀ, so that y is written once.
template <bool ASYNC>
INLINE void loraLinear(bf16 *y, const bf16 *x, const bf16 *w, const f32 *bias, const bf16 *u, const f32 *b,
                       Scratch scratch, i32 M, i32 N, i32 K, i32 hasBias, i32 r, i32 chunk) {
  Stored<bf16> weight{scratch.weight(w), N, K};
  First<Stored<bf16>, Stored<f32>, Kept> lowRank{{u, M, r}, {b, N, r}, blockIdx.y == 0 ? r : 0, {}};
  partOfProduct<true, true, ASYNC>(MmaTile(M, N), Stored<bf16>{x, M, K}, weight, M, N, K, scratch.partial(), chunk,
                                   writeLinear(y, bias, N, hasBias), lowRank);
}

/// y += u·Bᵀ for M ≤ 8, a thread an element.
INLINE void addLowRank(bf16 *y, const bf16 *u, const f32 *b, i32 M, i32 N, i32 r) {
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)M * N) return;
  i64 m = i / N, n = i % N;
  f32 sum = widen(y[i]);
  for (i32 k = 0; k < r; k += 4) {
    Four left = loadFour(u + m * r, k, r), right = loadFour(b + n * r, k, r);
#pragma unroll
    for (int j = 0; j < 4; j++) sum = fmaf(left.at[j], right.at[j], sum);
  }
  y[i] = narrow<bf16>(sum);
}
#endif

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

#if SM >= 80
/// dx = g·W + s·dropout(gu·A), A in f32 [r, K], as loraLinear does it: the mask is applied to gu·A before the sums go on.
template <bool ASYNC>
INLINE void loraGradInput(bf16 *dx, const bf16 *g, const bf16 *w, const bf16 *gu, const f32 *a, const uint32_t *mask,
                          Scratch scratch, i32 M, i32 N, i32 K, i32 r, i32 chunk, f32 s) {
  Stored<bf16> weight{scratch.weight(w), N, K};
  First<Stored<bf16>, Stored<f32>, Dropped> lowRank{{gu, M, r}, {a, r, K}, blockIdx.y == 0 ? r : 0, {mask, M, K, s}};
  partOfProduct<true, false, ASYNC>(MmaTile(M, K), Stored<bf16>{g, M, N}, weight, M, K, N, scratch.partial(), chunk,
                                    writeGradInput(dx, K), lowRank);
}
#endif

/// y += A·B, few k.
template <bool bKInRows> INLINE void addProduct(f32 *y, Stored<f32> a, Stored<f32> b, i32 M, i32 N, i32 k) {
  product<true, bKInRows>(Tile<f32>(M, N), a, b, M, N, k,
                          [=](i32 m, i32 n, const Four &sums) { addFour(y + m * (i64)N + n, sums, N - n); });
}

#define GEMV(T, W)                                                                                                     \
  ENTRY(128, 3)                                                                                                        \
  linear_##T##_##W##_gemv(T *y, const T *x, const W *w, const f32 *bias, T *, i32 M, i32 N, i32 K, i32 hasBias) {      \
    gemv(y, x, Weight<W>{w, N, K}, bias, M, hasBias);                                                                  \
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
#define LORA(SUFFIX, ASYNC)                                                                                            \
  ENTRY(MmaTile::THREADS)                                                                                              \
  loraLinear_bf16##SUFFIX(bf16 *y, const bf16 *x, const bf16 *w, const f32 *bias, const bf16 *u, const f32 *b,         \
                          uint8_t *scratch, i32 M, i32 N, i32 K, i32 hasBias, i32 r, i32 units, i32 chunk) {           \
    loraLinear<ASYNC>(y, x, w, bias, u, b, {scratch, units}, M, N, K, hasBias, r, chunk);                              \
  }                                                                                                                    \
  ENTRY(MmaTile::THREADS)                                                                                              \
  loraLinearGradInput_bf16##SUFFIX(bf16 *dx, const bf16 *g, const bf16 *w, const bf16 *gu, const f32 *a,               \
                                   const uint32_t *mask, uint8_t *scratch, i32 M, i32 N, i32 K, i32 r, i32 hasMask,    \
                                   i32 units, i32 chunk, f32 s) {                                                      \
    loraGradInput<ASYNC>(dx, g, w, gu, a, hasMask ? mask : nullptr, {scratch, units}, M, N, K, r, chunk, s);           \
  }
WEIGHT_TYPES(GEMV, f32)
BLOCK_TYPES(WIDEN, f32)
WIDEN(f32, f16)
WIDEN(f32, bf16)
PRODUCTS(f32, , false)
TOTALS(f32)
ENTRY(Tile<f32>::THREADS) linearAdd_f32(f32 *y, const f32 *u, const f32 *b, i32 M, i32 N, i32 r) {
  addProduct<true>(y, {u, M, r}, {b, N, r}, M, N, r);
}
ENTRY(Tile<f32>::THREADS) linearGradInputAdd_f32(f32 *dx, const f32 *g, const f32 *a, i32 M, i32 r, i32 K) {
  addProduct<false>(dx, {g, M, r}, {a, r, K}, M, K, r);
}
#if SM >= 80
WEIGHT_TYPES(GEMV, bf16)
BLOCK_TYPES(WIDEN, bf16)
WIDEN(bf16, f16)
WIDEN(bf16, f32)
PRODUCTS(bf16, , false)
PRODUCTS(bf16, _async, true)
TOTALS(bf16)
LORA(, false)
LORA(_async, true)
ENTRY(256) loraLinear_bf16_add(bf16 *y, const bf16 *u, const f32 *b, i32 M, i32 N, i32 r) {
  addLowRank(y, u, b, M, N, r);
}
#endif
