// Products of matrices on tensor cores: tiles of 128×128 by 32 of k, eight warps of 64×32, stages in shared memory that `ldmatrix`
// reads without bank conflicts (NVIDIA, "CUTLASS", describes both). Operands are bf16, and on sm_75, which has none, f32 rounded
// to f16. Sums are f32, over k upwards in steps of 16, on sm_75 of 8.
#pragma once
#include "gemm.cuh"
#include "mask.cuh"

typedef TileOf<128, 128, 256> MmaTile;

/// The way products of activations of type T take: PlainTile or MmaTile.
template <class T> struct TileFor;
template <class T> using Tile = typename TileFor<T>::type;

#if SM >= 80
template <> struct TileFor<f32> {
  typedef PlainTile type;
};
template <> struct TileFor<bf16> {
  typedef MmaTile type;
};

/// What operands are in shared memory.
typedef bf16 Half;
INLINE Half toHalf(f32 x) { return narrow<bf16>(x); }

/// c += a·b, 16×8 by 16 of k
INLINE void multiplyAdd(f32 (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
template <> struct TileFor<f32> {
  typedef MmaTile type;
};

typedef f16 Half;
constexpr f32 LARGEST_HALF = 65504;
/// Of right operands. Numbers beyond f16's range become its largest ones: a model's few outliers then lose some size, where an
/// infinity would lose their column and all that follows from it. Infinities and NaN stay what they are, since they tell that a
/// training diverges. Below 2^-14 numbers lose precision, and to 2^-25 they become 0.
INLINE Half toHalf(f32 x) { return narrow<f16>(isfinite(x) ? fminf(fmaxf(x, -LARGEST_HALF), LARGEST_HALF) : x); }

/// The same in two steps of 8: registers of a fragment 16 deep are those of two 8 deep.
INLINE void multiplyAdd(f32 (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[2 * i]), "r"(a[2 * i + 1]), "r"(i ? b1 : b0));
  }
}
#endif

INLINE uint32_t sharedAddress(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/// Four 8×8 matrices, of which lane 8i + j gives the address of row j of the i-th; transposed on the way where TRANS.
template <bool TRANS> INLINE void loadMatrices(uint32_t (&to)[4], uint32_t address) {
  if (TRANS) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
}

/// 16 bytes to shared memory in the background; zeros where `inside` is false.
INLINE void copyAsync(uint32_t to, const void *from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
INLINE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING> INLINE void waitForCopies() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

/// An operand in shared memory: 128 of m or n by 32 of k, in chunks of 8 elements, 8 KB. Of eight neighbouring rows, the same
/// chunk lies in eight different groups of four banks.
template <bool kInRows> struct MmaShared {
  static constexpr int BYTES = 128 * 32 * 2;

  /// The i-th chunk as it is stored: (row, first column) in the tile.
  INLINE static int2 place(int i) { return kInRows ? int2{i / 4, i % 4 * 8} : int2{i / 16, i % 16 * 8}; }
  INLINE static uint32_t offset(int row, int column) {
    return kInRows ? row * 64 + (column / 8 ^ row / 2 % 4) * 16 : row * 256 + (column / 8 ^ row % 8) * 16;
  }
  /// A lane's address for the four matrices of [16 of m or n from `at`] × [16 of k from `k`], of which the second is the next along
  /// m or n as fragments of A have it, or along k as those of B do.
  template <bool K_FIRST> INLINE static uint32_t fragment(int at, int k) {
    int lane = threadIdx.x % 32, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    int outer = at + (K_FIRST ? third : second), inner = k + (K_FIRST ? second : third);
    return kInRows ? offset(outer + lane % 8, inner) : offset(inner + lane % 8, outer);
  }
  /// That address, moved by `outer` along m or n and `k` along k, multiples of 16 inside the warp's part of the tile. Such chunks
  /// differ in bits that the first one has not set; stages begin at multiples of 128, so that they are the address's own.
  INLINE static uint32_t moved(uint32_t address, int outer, int k) {
    return kInRows ? (address ^ k * 2) + outer * 64 : (address ^ outer * 2) + k * 256;
  }
};

/// One operand's way from global to shared memory, tile after tile along k. A thread moves two chunks of each.
template <bool kInRows, bool ASYNC, class Source> struct MmaOperand {
  typedef MmaShared<kInRows> Shared;
  Source source;
  i32 first, k;
  Packet<Half, 8> fetched[2];

  INLINE MmaOperand(const Source &source, i32 first, i32 k) : source(source), first(first), k(k) {}

  /// Begins to move the next tile.
  INLINE void fetch(uint32_t, i32) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = Shared::place(threadIdx.x + i * 256);
      i32 row = (kInRows ? first : k) + at.x, column = (kInRows ? k : first) + at.y;
      Four halves[2] = {source.at(row, column), source.at(row, column + 4)};
#pragma unroll
      for (int j = 0; j < 8; j++) fetched[i].at[j] = toHalf(halves[j / 4].at[j % 4]);
    }
    k += 32;
  }
  /// Ends it.
  INLINE void put(uint8_t *shared) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = Shared::place(threadIdx.x + i * 256);
      *reinterpret_cast<uint4 *>(shared + Shared::offset(at.x, at.y)) = *reinterpret_cast<const uint4 *>(&fetched[i]);
    }
  }
};

/// The same with cp.async: nothing passes through registers.
template <bool kInRows> struct MmaOperand<kInRows, true, Stored<bf16>> {
  typedef MmaShared<kInRows> Shared;
  /// This thread's first chunk of the next tile. The second one is 64 rows below it, or 16 of k, and so it is in the tile.
  const bf16 *from;
  i32 columns;
  /// Where the two are along k in a tile; behind all of it where they are beyond the product's edge.
  i32 k[2];
  uint32_t to;

  INLINE MmaOperand(const Stored<bf16> &source, i32 first, i32 begin) : columns(source.columns) {
    int2 at = Shared::place(threadIdx.x);
    to = Shared::offset(at.x, at.y);
    i32 row = (kInRows ? first : begin) + at.x, column = (kInRows ? begin : first) + at.y;
    from = source.data + row * (i64)columns + column;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      bool inside = kInRows ? row + i * 64 < source.rows : column < columns;
      k[i] = inside ? (kInRows ? at.y : at.x + i * 16) : INT32_MAX;
    }
  }
  /// `left`: of k, from this tile on.
  INLINE void fetch(uint32_t shared, i32 left) {
    copyAsync(shared + to, from, k[0] < left);
    copyAsync(shared + to + Shared::BYTES / 2, from + (kInRows ? 64 : 16) * (i64)columns, k[1] < left);
    from += kInRows ? 32 : 32 * (i64)columns;
  }
  INLINE void put(uint8_t *) const {}
};

#if SM < 80
/// 1/x of a power of two, neither of them denormal.
INLINE f32 inverse(f32 x) { return __uint_as_float((254 << 23) - __float_as_uint(x)); }

/// The left operand on sm_75, which is the gradient where there is one: f16 would keep few digits of most, or none. Numbers are
/// multiplied by a power of two, and so are the sums, until they are finished, which is exact. It follows the largest number that
/// the block has met: what is at least 2^-28 of that keeps 11 bits, below 2^-39 of it all may become 0.
template <bool kInRows, class Source> struct ScaledOperand {
  typedef MmaShared<kInRows> Shared;
  Source source;
  i32 first, k;
  Four fetched[4];
  /// So large that the first number that matters asks for another one.
  f32 scale = 0x1p100f;

  INLINE ScaledOperand(const Source &source, i32 first, i32 k) : source(source), first(first), k(k) {}

  INLINE void fetch(uint32_t, i32) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int2 at = Shared::place(threadIdx.x + i / 2 * 256);
      i32 row = (kInRows ? first : k) + at.x, column = (kInRows ? k : first) + at.y;
      fetched[i] = source.at(row, column + i % 2 * 4);
    }
    k += 32;
  }
  INLINE void put(uint8_t *shared) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = Shared::place(threadIdx.x + i * 256);
      Packet<Half, 8> halves;
#pragma unroll
      for (int j = 0; j < 8; j++) halves.at[j] = narrow<Half>(scale * fetched[2 * i + j / 4].at[j % 4]);
      *reinterpret_cast<uint4 *>(shared + Shared::offset(at.x, at.y)) = *reinterpret_cast<const uint4 *>(&halves);
    }
  }
  /// Of the finite numbers that this thread has fetched.
  INLINE f32 largest() const {
    f32 y = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) {
      f32 x = fabsf(fetched[i / 4].at[i % 4]);
      y = fmaxf(y, isinf(x) ? 0 : x);
    }
    return y;
  }
  INLINE bool exceeds() const { return scale * largest() > LARGEST_HALF; }
  /// By all threads of a block where a number exceeds: the scale that takes the largest one to [2^14, 2^15), so that few tiles ask
  /// for another. The result is what the sums so far are to be multiplied by.
  INLINE f32 rescale() {
    f32 before = scale;
    uint32_t exponent = __float_as_uint(blockReduce<Max, MmaTile::THREADS>(largest())) >> 23;
    scale = __uint_as_float((2 * 127 + 14 - exponent) << 23);
    return scale * inverse(before);
  }
};
template <bool kInRows, bool, class Source> using LeftOperand = ScaledOperand<kInRows, Source>;
#else
template <bool kInRows, bool ASYNC, class Source> using LeftOperand = MmaOperand<kInRows, ASYNC, Source>;
#endif

/// A warp's sums of 64 rows and 32 columns: in every 8×8 of them a lane has two neighbours of a row.
typedef f32 WarpSums[4][4][4];

/// What becomes of the sums of a `First`: nothing.
struct Kept {
  INLINE void operator()(WarpSums &, i32, i32) const {}
};

/// Or they are dropped as a mask of [rows, columns] says and scaled, or, where there is none, only scaled.
struct Dropped {
  const uint32_t *mask;
  i32 rows, columns;
  f32 scale;

  /// `row` and `column` are the warp's first ones: of each row it has the elements of one word.
  INLINE void operator()(WarpSums &sums, i32 row, i32 column) const {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      i32 m = row + i * 8 + lane / 4;
      uint32_t bits = mask == nullptr ? ~0u : m < rows && column < columns ? maskBits(mask, columns, m, column) : 0;
      bits >>= lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        f32 &sum = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
        sum = bits >> (j / 2 * 8 + j % 2) & 1 ? scale * sum : 0;
      }
    }
  }
};

/// A product of few k, or none, that the sums of `product` begin with. Its operands are stored as that one's are.
template <class A, class B, class Then> struct First {
  A a;
  B b;
  i32 K;
  Then then;
};

/// Its steps, without a pipeline: there are one or two, and the multiprocessor's other block works meanwhile.
template <bool aKInRows, bool bKInRows, class A, class B, class Then, class Multiply>
INLINE void begin(const First<A, B, Then> &first, MmaTile tile, uint8_t *shared, WarpSums &sums, int m, int n,
                  Multiply multiply) {
  if (first.K == 0) return;
  MmaOperand<aKInRows, false, A> left(first.a, tile.m, 0);
  MmaOperand<bKInRows, false, B> right(first.b, tile.n, 0);
  for (i32 k = 0; k < first.K; k += 32) {
    left.fetch(0, 0);
    right.fetch(0, 0);
    __syncthreads();
    left.put(shared);
    right.put(shared + MmaShared<bKInRows>::BYTES);
    __syncthreads();
    multiply();
  }
  first.then(sums, tile.m + m, tile.n + n);
}

/// `product` on tensor cores. ASYNC operands are `Stored<bf16>` at multiples of 16 bytes, with a multiple of 8 columns. `first` is
/// a `First` or nothing.
template <bool aKInRows, bool bKInRows, bool ASYNC = false, class A, class B, class Finish, class... Firsts>
INLINE void product(MmaTile tile, A a, B b, i32 M, i32 N, Range range, Finish finish, const Firsts &...first) {
  static_assert(sizeof...(first) == 0 || SM >= 80, "a first product's operands are not scaled");
  typedef LeftOperand<aKInRows, ASYNC, A> Left;
  typedef MmaOperand<bKInRows, ASYNC, B> Right;
  // One stage is computed from while others are filled: in the background two, else one from registers.
  constexpr int DEPTH = 32, STAGES = ASYNC ? 3 : 2, HALF = Left::Shared::BYTES, STAGE = 2 * HALF, LAST = (STAGES - 1) * STAGE;
  __shared__ alignas(128) uint8_t shared[STAGES * STAGE];
  uint32_t base = sharedAddress(shared);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, m = warp % 2 * 64, n = warp / 2 * 32;
  uint32_t leftAt = base + Left::Shared::template fragment<false>(m, 0);
  uint32_t rightAt = base + HALF + Right::Shared::template fragment<true>(n, 0);
  WarpSums sums = {};

  auto multiply = [&](int stage) {
#pragma unroll
    for (int kk = 0; kk < DEPTH; kk += 16) {
      uint32_t x[4][4], y[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) loadMatrices<!aKInRows>(x[i], Left::Shared::moved(leftAt + stage, i * 16, kk));
#pragma unroll
      for (int j = 0; j < 2; j++) loadMatrices<!bKInRows>(y[j], Right::Shared::moved(rightAt + stage, j * 16, kk));
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) multiplyAdd(sums[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
      }
    }
  };
  // In the stage that is filled last: when that happens, all warps have read it.
  (begin<aKInRows, bKInRows>(first, tile, shared + LAST, sums, m, n, [&] { multiply(LAST); }), ...);

  Left left(a, tile.m, range.begin);
  Right right(b, tile.n, range.begin);
  // Stages by where they begin; `k` is what is left of it, from the tile on.
  auto fetch = [&](int stage, i32 k) {
    if (k > 0) {
      left.fetch(base + stage, k);
      right.fetch(base + stage + HALF, k);
    }
    if (ASYNC) commitCopies();
  };
  auto put = [&](int stage, i32 k) {
    if (k <= 0) return;
    left.put(shared + stage);
    right.put(shared + stage + HALF);
  };
  i32 k = range.end - range.begin;
#pragma unroll
  for (int ahead = 0; ahead < STAGES - 1; ahead++) {
    fetch(ahead * STAGE, k - ahead * DEPTH);
    put(ahead * STAGE, k - ahead * DEPTH);
  }
  for (int stage = 0; k > 0; k -= DEPTH) {
    int before = stage == 0 ? LAST : stage - STAGE;
    // The next tile is there, and nobody reads the one before this any more, whose place is filled now.
    if (ASYNC) waitForCopies<STAGES - 2>();
    if constexpr (SM >= 80) __syncthreads();
    else if (__syncthreads_or(left.exceeds())) {
      f32 factor = left.rescale();
#pragma unroll
      for (int i = 0; i < 64; i++) sums[i / 16][i / 4 % 4][i % 4] *= factor;
      left.put(shared + stage);
      __syncthreads();
    }
    fetch(before, k - (STAGES - 1) * DEPTH);
    multiply(stage);
    put(before, k - (STAGES - 1) * DEPTH);
    stage = stage == LAST ? 0 : stage + STAGE;
  }

  // Lanes hold two neighbours in each of two rows, eight apart; pairs of lanes trade them for four in one.
  bool odd = lane % 2;
  i32 row = tile.m + m + lane / 4 + (odd ? 8 : 0), column = tile.n + n + lane % 4 / 2 * 4;
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const f32(&c)[4] = sums[i][j];
      f32 got[2];
#pragma unroll
      for (int v = 0; v < 2; v++) got[v] = __shfl_xor_sync(0xffffffffu, odd ? c[v] : c[v + 2], 1);
      Four y = odd ? Four{got[0], got[1], c[2], c[3]} : Four{c[0], c[1], got[0], got[1]};
      if constexpr (SM < 80) y = four([&](int v) { return y.at[v] * inverse(left.scale); });
      if (row + i * 16 < M && column + j * 8 < N) finish(row + i * 16, column + j * 8, y);
    }
  }
}
