// Rotary position embedding.
#include "flat.cuh"

/// Pairs (x[j], x[j + D/2]) of every head of x [T, H, D], rotated by the angles whose cosines and sines are line
/// positions[t] of table [P, D]; backwards if `inverse`. NaN for a position outside the table.
template <class T>
INLINE void rope(T *y, const T *x, const i32 *positions, const f32 *table, i32 rows, i32 H, i32 D, i32 P, i32 inverse) {
  constexpr int N = 4;
  i32 half = D / 2;
  rowRun<N>((i64)rows * H, half, [&](i64 head, i32 j, i32 count) {
    i32 position = positions[head / H];
    bool inside = position >= 0 && position < P;
    const f32 *line = table + (inside ? (i64)position * D : 0) + j;
    Packet<f32, N> cosines = load<N>(line, inside ? count : 0), sines = load<N>(line + half, inside ? count : 0);
    Packet<T, N> a = load<N>(x + head * D + j, count), b = load<N>(x + head * D + half + j, count), u, v;
#pragma unroll
    for (int k = 0; k < N; k++) {
      f32 cosine = inside ? cosines.at[k] : NOT_A_NUMBER, sine = inverse ? -sines.at[k] : sines.at[k];
      u.at[k] = narrow<T>(widen(a.at[k]) * cosine - widen(b.at[k]) * sine);
      v.at[k] = narrow<T>(widen(b.at[k]) * cosine + widen(a.at[k]) * sine);
    }
    store<N>(y + head * D + j, u, count);
    store<N>(y + head * D + half + j, v, count);
  });
}

#define ROPE(T, _)                                                                                                     \
  ENTRY(256) rope_##T(T *y, const T *x, const i32 *positions, const f32 *table, i32 rows, i32 H, i32 D, i32 P,         \
                      i32 inverse) {                                                                                   \
    rope(y, x, positions, table, rows, H, D, P, inverse);                                                              \
  }
COMPUTE_TYPES(ROPE, )
