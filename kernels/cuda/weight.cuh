// Stored weights: elements f32, f16 or bf16, or llama.cpp's blocks of quantised ones. The parts of all blocks of a tensor lie in
// planes, one behind the other: quants, high bits, scales (weight.ts, which repacks them on upload and reads them back). Each
// plane's entries are aligned to their size or to 16 bytes, since planes of larger entries come first: a run of 16 bytes of quants
// is one access, and so is a block's scale with its minimum. Where a plane begins follows from the number of blocks.
#pragma once
#include "flat.cuh"

/// Blocks of SIZE elements. Two elements that share a byte of quants are APART from each other (0: each has its own byte); behind
/// the plane of quants come those of HIGH bytes and of SCALES bytes a block.
template <int SIZE_, int APART_, int HIGH_, int SCALES_> struct BlocksOf {
  static constexpr int SIZE = SIZE_, APART = APART_, HIGH = HIGH_, SCALES = SCALES_;
  /// Bits of an element in the plane of quants and in that of high bits.
  static constexpr int LOW_BITS = APART ? 4 : 8, HIGH_BITS = HIGH * 8 / SIZE;
  static constexpr int QUANTS = SIZE * LOW_BITS / 8;
};
struct q8_0 : BlocksOf<32, 0, 0, 2> {};
struct q4_0 : BlocksOf<32, 16, 0, 2> {};
struct q4_1 : BlocksOf<32, 16, 0, 4> {};
struct q5_0 : BlocksOf<32, 16, 4, 2> {};
struct q5_1 : BlocksOf<32, 16, 4, 4> {};
struct q4_k : BlocksOf<256, 32, 0, 16> {};
struct q5_k : BlocksOf<256, 32, 32, 16> {};
/// d has a plane of its own behind the scales.
struct q6_k : BlocksOf<256, 64, 64, 16> {};

/// Whether W is one of them; elements are not empty.
template <class W> constexpr bool inBlocks = __is_empty(W);

typedef Packet<f32, 4> Four;

/// The j-th byte of four.
INLINE i32 byteOf(uint32_t four, int j) { return four >> 8 * j & 255; }

template <class F> INLINE Four four(F f) {
  Four y;
#pragma unroll
  for (int j = 0; j < 4; j++) y.at[j] = f(j);
  return y;
}

/// Elements column … column + 3 of a row of `columns`, column a multiple of 4; 0 beyond the row's end.
template <class T> INLINE Four loadFour(const T *row, i32 column, i32 columns) {
  Packet<T, 4> in = load<4>(row + column, min(4, columns - column));
  return four([&](int j) { return widen(in.at[j]); });
}

/// What a quant q stands for: scale·q + offset. Both are exact, so that a number is rounded once.
struct Affine {
  f32 scale, offset;

  INLINE Four of(uint32_t quants) const {
    return four([=](int j) { return fmaf(scale, (f32)byteOf(quants, j), offset); });
  }
};

INLINE f32 halfOf(uint32_t bits) { return widen(f16{(uint16_t)bits}); }
template <class B> INLINE B loadAligned(const uint8_t *p) { return *reinterpret_cast<const B *>(p); }

/// Of q4_k and q5_k, d·scale·q − dmin·min of the group-th 32 elements. Eight 6-bit pairs are in 12 bytes: four whole ones, whose
/// upper two bits belong to the other four.
INLINE Affine ofGroup(uint4 header, uint32_t group) {
  uint32_t at = group % 4 * 8, first = header.y >> at, second = header.z >> at, third = header.w >> at;
  uint32_t scale = group < 4 ? first & 63 : third & 15 | (first >> 6 & 3) << 4;
  uint32_t min = group < 4 ? second & 63 : third >> 4 & 15 | (second >> 6 & 3) << 4;
  return {halfOf(header.x) * scale, -(halfOf(header.x >> 16) * min)};
}

/// 4·WORDS elements of a block from e on and, where elements share bytes, those APART from them: bits as they are stored.
template <int WORDS> struct Quants {
  Packet<uint32_t, WORDS> low, high;
};

/// The planes of a tensor of quantised blocks.
template <class W> struct Planes {
  const uint8_t *quants, *high, *scales;
  i64 count;

  INLINE Planes(const W *w, i64 elements) : count((uint64_t)elements / W::SIZE) {
    quants = reinterpret_cast<const uint8_t *>(w);
    high = quants + count * W::QUANTS;
    scales = high + count * W::HIGH;
  }

  template <int WORDS> INLINE Quants<WORDS> load(i64 block, uint32_t e) const {
    typedef typename Bits<4 * WORDS>::type B;
    constexpr int APART = W::APART;
    Quants<WORDS> q;
    uint32_t byte = APART ? e / (2 * APART) * APART + e % APART : e;
    *reinterpret_cast<B *>(&q.low) = loadAligned<B>(quants + block * W::QUANTS + byte);
    if constexpr (W::SIZE == 32 && W::HIGH > 0) {
      q.high.at[0] = loadAligned<uint32_t>(high + block * W::HIGH);
    } else if constexpr (W::HIGH > 0) {
      constexpr int SHARE = 256 / W::HIGH_BITS;
      *reinterpret_cast<B *>(&q.high) = loadAligned<B>(high + block * W::HIGH + e / SHARE * 32 + e % 32);
    }
    return q;
  }

  /// Elements e … e + 3, the word-th four of those loaded from, or APART from, another e on.
  template <int WORDS> INLINE static uint32_t unpack(const Quants<WORDS> &q, int word, uint32_t e) {
    uint32_t low = q.low.at[word];
    // Signed bytes count from −128.
    if constexpr (W::APART == 0) return low ^ 0x80808080;
    else {
      low = low >> e / W::APART % 2 * 4 & 0x0f0f0f0f;
      if constexpr (W::HIGH == 0) return low;
      else if constexpr (W::SIZE == 32) {
        uint32_t bits = q.high.at[0] >> e % 32 & 15;
        // Bit j goes to bit 4 of byte j.
        return low | (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
      } else {
        constexpr int BITS = W::HIGH_BITS;
        uint32_t bits = q.high.at[word] >> e / 32 % (8 / BITS) * BITS & ((1 << BITS) - 1) * 0x01010101u;
        return low | bits << 4;
      }
    }
  }

  /// Of the 16 elements that e is among.
  INLINE Affine affine(i64 block, uint32_t e) const {
    const uint8_t *own = scales + block * W::SCALES;
    if constexpr (W::SCALES == 2) {
      // d·(q − z), where z is half of what q can be
      constexpr int ZERO = 1 << (W::LOW_BITS + W::HIGH_BITS - 1);
      f32 d = halfOf(loadAligned<uint16_t>(own));
      return {d, -ZERO * d};
    } else if constexpr (W::SCALES == 4) {
      // d·q + m
      uint32_t both = loadAligned<uint32_t>(own);
      return {halfOf(both), halfOf(both >> 16)};
    } else if constexpr (W::HIGH_BITS < 2) {
      return ofGroup(loadAligned<uint4>(own), e / 32);
    } else {
      // d·scale·(q − 32), where d has a plane of its own behind the scales
      f32 d = halfOf(loadAligned<uint16_t>(scales + count * W::SCALES + block * 2));
      f32 scale = d * loadAligned<int8_t>(own + e / 16);
      return {scale, -32 * scale};
    }
  }

  INLINE Four at(i64 block, uint32_t e) const {
    return affine(block, e).of(unpack(load<1>(block, e), 0, e));
  }
};

/// A weight of stored type W: `rows` of `columns`, which are whole blocks.
template <class W> struct Weight {
  const W *data;
  i32 rows, columns;

  INLINE Planes<W> planes() const { return {data, (i64)rows * columns}; }
  /// How many elements of a row there are from a column on, a multiple of 4, if fewer than 4.
  INLINE i32 left(i32 column) const { return inBlocks<W> ? 4 : columns - column; }
  /// Elements column … column + 3 of a row, column < columns a multiple of 4; 0 beyond the row's end.
  INLINE Four at(i64 row, i32 column) const {
    if constexpr (inBlocks<W>) {
      uint32_t c = column;
      return planes().at(row * ((uint32_t)columns / W::SIZE) + c / W::SIZE, c % W::SIZE);
    } else {
      return loadFour(data + row * columns, column, columns);
    }
  }
};

/// What a lane of a warp that reads rows takes at a time, PARTS times WORDS fours: here one.
template <class W, bool = inBlocks<W>> struct Run {
  static constexpr int PARTS = 1, WORDS = 1;
  Four elements;

  INLINE static i32 count(i32 columns) { return (columns + 3) / 4; }
  /// Where the i-th run of a row has the first of the four.
  INLINE static i32 column(i32 i, int, int) { return i * 4; }
  INLINE Run() {}
  INLINE Run(const Weight<W> &w, i64 row, i32 i) : elements(w.at(row, i * 4)) {}
  INLINE Four at(int, int) const { return elements; }
};

/// Of blocks: 16 bytes of quants, with 16 elements, or with twice 16, APART.
template <class W> struct Run<W, true> {
  static constexpr int APART = W::APART, PARTS = APART ? 2 : 1, WORDS = 4, IN_BLOCK = W::QUANTS / 16;
  /// The two parts are in different groups of large blocks.
  static constexpr int GROUPS = W::SIZE == 32 ? 1 : 2;
  Quants<WORDS> quants;
  Affine affine[GROUPS];
  uint32_t first;

  INLINE static i32 count(i32 columns) { return (uint32_t)columns / W::SIZE * IN_BLOCK; }
  /// The i-th run's first element in its block.
  INLINE static uint32_t firstOf(uint32_t i) {
    uint32_t byte = i % IN_BLOCK * 16;
    return APART ? byte / APART * (2 * APART) + byte % APART : byte;
  }
  INLINE static i32 column(uint32_t i, int part, int word) {
    return i / IN_BLOCK * W::SIZE + firstOf(i) + part * APART + word * 4;
  }
  INLINE Run() {}
  INLINE Run(const Weight<W> &w, i64 row, uint32_t i) : first(firstOf(i)) {
    Planes<W> planes = w.planes();
    i64 block = row * ((uint32_t)w.columns / W::SIZE) + i / IN_BLOCK;
    quants = planes.template load<WORDS>(block, first);
#pragma unroll
    for (int group = 0; group < GROUPS; group++) affine[group] = planes.affine(block, first + group * APART);
  }
  /// `part` may be a variable, unlike `word`: arrays that are indexed with one would leave the registers.
  INLINE Four at(int part, int word) const {
    const Affine &a = affine[0], &b = affine[GROUPS - 1];
    Affine own{part ? b.scale : a.scale, part ? b.offset : a.offset};
    return own.of(Planes<W>::unpack(quants, word, first + part * APART + word * 4));
  }
};

/// y[r, c … c + 3] = x[from(r), c … c + 3] for a thread of rows × ⌈columns/4⌉; NaN where `from` is negative, as an unsigned
/// one never is.
template <class T, class W, class From> INLINE void copyRows(T *y, Weight<W> x, i32 rows, From from) {
  rowRun<4>(rows, x.columns, [&](i64 r, i32 c, i32) {
    auto source = from(r);
    Packet<T, 4> out;
    if (source >= 0) {
      Four in = x.at(source, c);
#pragma unroll
      for (int j = 0; j < 4; j++) out.at[j] = narrow<T>(in.at[j]);
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++) out.at[j] = narrow<T>(NOT_A_NUMBER);
    }
    store<4>(y + r * x.columns + c, out, x.left(c));
  });
}

/// y = x, n elements, four a thread. Rows are whole blocks, so that all of them are one.
template <class T, class W> INLINE void copyAll(T *y, const W *x, i32 n) {
  copyRows(y, Weight<W>{x, 1, n}, 1, [](i64 r) { return r; });
}

/// KERNEL(T, W) for every type that weights are stored in.
#define BLOCK_TYPES(KERNEL, T)                                                                                         \
  KERNEL(T, q8_0)                                                                                                      \
  KERNEL(T, q4_0)                                                                                                      \
  KERNEL(T, q4_1) KERNEL(T, q5_0) KERNEL(T, q5_1) KERNEL(T, q4_k) KERNEL(T, q5_k) KERNEL(T, q6_k)
#define WEIGHT_TYPES(KERNEL, T) KERNEL(T, f32) KERNEL(T, f16) KERNEL(T, bf16) BLOCK_TYPES(KERNEL, T)
