// Stored weights: elements f32, f16 or bf16, or llama.cpp's blocks. Rows are whole blocks, and blocks are read as they lie in the
// file, two bytes at a time, which is all the alignment that most formats have. Memory traffic is the blocks' own bytes, since
// neighbouring lanes use up each sector; the price is instructions (3 loads for 4 elements of q4_0, where planes of quants and of
// scales, repacked on upload, would take 2 for 32). A backend could not repack: it is given bytes, and knows no types.
#pragma once
#include "common.cuh"

struct q8_0 {
  f16 d;
  uint16_t quants[16];
};
struct q4_0 {
  f16 d;
  uint16_t low[8];
};
struct q4_1 {
  f16 d, m;
  uint16_t low[8];
};
struct q5_0 {
  f16 d;
  uint16_t high[2], low[8];
};
struct q5_1 {
  f16 d, m;
  uint16_t high[2], low[8];
};
struct q4_k {
  f16 d, dmin;
  uint8_t scales[12];
  uint16_t low[64];
};
struct q5_k {
  f16 d, dmin;
  uint8_t scales[12];
  uint16_t high[16], low[64];
};
struct q6_k {
  uint16_t low[64], high[32];
  int8_t scales[16];
  f16 d;
};

/// Elements that one W holds.
template <class W> constexpr int blockOf = 1;
template <> constexpr int blockOf<q8_0> = 32;
template <> constexpr int blockOf<q4_0> = 32;
template <> constexpr int blockOf<q4_1> = 32;
template <> constexpr int blockOf<q5_0> = 32;
template <> constexpr int blockOf<q5_1> = 32;
template <> constexpr int blockOf<q4_k> = 256;
template <> constexpr int blockOf<q5_k> = 256;
template <> constexpr int blockOf<q6_k> = 256;

typedef Packet<f32, 4> Four;

/// Bytes i … i + 3 of an array; i is even.
INLINE uint32_t bytes4(const uint16_t *p, int i) { return p[i / 2] | (uint32_t)p[i / 2 + 1] << 16; }
/// The j-th byte of four.
INLINE i32 byteOf(uint32_t four, int j) { return four >> 8 * j & 255; }

template <class F> INLINE Four four(F f) {
  Four y;
#pragma unroll
  for (int j = 0; j < 4; j++) y.at[j] = f(j);
  return y;
}

// decode(block, e): elements e … e + 3 of a block, e a multiple of 4.

INLINE Four decode(const q8_0 &b, int e) {
  f32 d = widen(b.d);
  uint32_t q = bytes4(b.quants, e);
  return four([=](int j) { return d * (int8_t)byteOf(q, j); });
}

/// Elements 0–15 are low nibbles, 16–31 high ones.
template <class W> INLINE uint32_t nibbles(const W &b, int e) {
  return bytes4(b.low, e & 15) >> (e & 16 ? 4 : 0) & 0x0f0f0f0f;
}
/// With a fifth bit each.
template <class W> INLINE uint32_t fiveBits(const W &b, int e) {
  uint32_t high = (uint32_t)b.high[e / 16] >> (e & 15) & 15;
  // Bit j goes to bit 4 of byte j.
  return nibbles(b, e) | (high & 1) << 4 | (high & 2) << 11 | (high & 4) << 18 | (high & 8) << 25;
}
INLINE Four decode(const q4_0 &b, int e) {
  f32 d = widen(b.d);
  uint32_t q = nibbles(b, e);
  return four([=](int j) { return d * (byteOf(q, j) - 8); });
}
INLINE Four decode(const q4_1 &b, int e) {
  f32 d = widen(b.d), m = widen(b.m);
  uint32_t q = nibbles(b, e);
  return four([=](int j) { return fmaf(d, (f32)byteOf(q, j), m); });
}
INLINE Four decode(const q5_0 &b, int e) {
  f32 d = widen(b.d);
  uint32_t q = fiveBits(b, e);
  return four([=](int j) { return d * (byteOf(q, j) - 16); });
}
INLINE Four decode(const q5_1 &b, int e) {
  f32 d = widen(b.d), m = widen(b.m);
  uint32_t q = fiveBits(b, e);
  return four([=](int j) { return fmaf(d, (f32)byteOf(q, j), m); });
}

/// Of the group-th 32 elements: d·scale·q − dmin·min.
template <class W> INLINE Four scaled(const W &b, int group, uint32_t q) {
  // Eight 6-bit pairs in 12 bytes: four whole ones, whose upper two bits belong to the other four.
  const uint8_t *s = b.scales;
  i32 scale, min;
  if (group < 4) {
    scale = s[group] & 63;
    min = s[group + 4] & 63;
  } else {
    scale = s[group + 4] & 15 | s[group - 4] >> 6 << 4;
    min = s[group + 4] >> 4 | s[group] >> 6 << 4;
  }
  f32 d = widen(b.d) * scale, m = widen(b.dmin) * min;
  return four([=](int j) { return fmaf(d, (f32)byteOf(q, j), -m); });
}
/// Two groups of 32 share 32 bytes: low nibbles, then high ones.
template <class W> INLINE uint32_t nibblesOfGroups(const W &b, int e) {
  return bytes4(b.low, e / 64 * 32 + e % 32) >> (e & 32 ? 4 : 0) & 0x0f0f0f0f;
}
INLINE Four decode(const q4_k &b, int e) { return scaled(b, e / 32, nibblesOfGroups(b, e)); }
INLINE Four decode(const q5_k &b, int e) {
  uint32_t high = bytes4(b.high, e % 32) >> e / 32 & 0x01010101;
  return scaled(b, e / 32, nibblesOfGroups(b, e) | high << 4);
}
INLINE Four decode(const q6_k &b, int e) {
  int part = e / 128, quarter = e / 32 % 4, l = e % 32;
  uint32_t low = bytes4(b.low, part * 64 + (quarter & 1) * 32 + l) >> (quarter & 2 ? 4 : 0) & 0x0f0f0f0f;
  uint32_t high = bytes4(b.high, part * 32 + l) >> 2 * quarter & 0x03030303;
  uint32_t q = low | high << 4;
  f32 d = widen(b.d) * b.scales[e / 16];
  return four([=](int j) { return d * (byteOf(q, j) - 32); });
}

/// Elements column … column + 3 of a row of `columns` elements of stored type W, column a multiple of 4; 0 beyond the row's end.
template <class W> INLINE Four loadFour(const W *row, i32 column, i32 columns) {
  if constexpr (blockOf<W> > 1) {
    if (column >= columns) return Four{};
    return decode(row[column / blockOf<W>], column % blockOf<W>);
  } else {
    Packet<W, 4> in = load<4>(row + column, min(4, columns - column));
    return four([&](int j) { return widen(in.at[j]); });
  }
}

/// y[r, c … c + 3] = x[from(r), c … c + 3] for a thread of rows × ⌈columns/4⌉; NaN where `from` is negative.
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

/// y = x, n elements, four a thread. Rows are whole blocks, so that all of them are one.
template <class T, class W> INLINE void copyAll(T *y, const W *x, i32 n) {
  copyRows(y, x, 1, n, [](i64 r) { return r; });
}

/// KERNEL(T, W) for every type that weights are stored in.
#define BLOCK_TYPES(KERNEL, T)                                                                                         \
  KERNEL(T, q8_0)                                                                                                      \
  KERNEL(T, q4_0)                                                                                                      \
  KERNEL(T, q4_1) KERNEL(T, q5_0) KERNEL(T, q5_1) KERNEL(T, q4_k) KERNEL(T, q5_k) KERNEL(T, q6_k)
#define WEIGHT_TYPES(KERNEL, T) KERNEL(T, f32) KERNEL(T, f16) KERNEL(T, bf16) BLOCK_TYPES(KERNEL, T)
