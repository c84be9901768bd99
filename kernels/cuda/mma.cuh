// Products of bf16 matrices on tensor cores: tiles of 128×128 by 32 of k, eight warps of 64×32, three stages in shared memory
// that `ldmatrix` reads without bank conflicts (NVIDIA, "CUTLASS", describes both). Sums are f32, in steps of 16 over k upwards.
#pragma once
#include "gemm.cuh"

#if SM >= 80

template <> struct Tile<bf16> : TileOf<128, 128, 256> {
  using TileOf::TileOf;
};

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

/// c += a·b, 16×8 by 16 of k
INLINE void multiplyAdd(f32 (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
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
};

/// One operand's way from global to shared memory, tile after tile along k. A thread moves two chunks of each.
template <bool kInRows, bool ASYNC, class Source> struct MmaOperand {
  typedef MmaShared<kInRows> Shared;
  Source source;
  i32 first, k;
  Packet<bf16, 8> fetched[2];

  INLINE MmaOperand(const Source &source, i32 first, i32 k) : source(source), first(first), k(k) {}

  /// Begins to move the next tile.
  INLINE void fetch(uint32_t) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = Shared::place(threadIdx.x + i * 256);
      i32 row = (kInRows ? first : k) + at.x, column = (kInRows ? k : first) + at.y;
      Four halves[2] = {source.at(row, column), source.at(row, column + 4)};
#pragma unroll
      for (int j = 0; j < 8; j++) fetched[i].at[j] = narrow<bf16>(halves[j / 4].at[j % 4]);
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

/// The same with cp.async: nothing passes through registers. Only k ends in zeros; rows and columns of the product beyond its
/// edge, which nobody asks for, repeat the last chunk.
template <bool kInRows> struct MmaOperand<kInRows, true, Stored<bf16>> {
  typedef MmaShared<kInRows> Shared;
  const bf16 *from[2];
  i64 step;
  /// Of k, from this thread's first chunk on.
  i32 left;
  uint32_t to;

  INLINE MmaOperand(const Stored<bf16> &source, i32 first, i32 k) {
    int2 at = Shared::place(threadIdx.x);
    to = Shared::offset(at.x, at.y);
    left = (kInRows ? source.columns - at.y : source.rows - at.x) - k;
    step = kInRows ? 32 : 32 * (i64)source.columns;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      at = Shared::place(threadIdx.x + i * 256);
      i32 row = kInRows ? min(first + at.x, source.rows - 1) : at.x;
      i32 column = kInRows ? at.y : min(first + at.y, source.columns - 8);
      from[i] = source.data + row * (i64)source.columns + column + k / 32 * step;
    }
  }
  INLINE void fetch(uint32_t shared) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      // The second half of the tile is laid out as the first: 64 rows below it, or 16 of k.
      copyAsync(shared + to + i * (Shared::BYTES / 2), from[i], left > (kInRows ? 0 : i * 16));
      from[i] += step;
    }
    left -= 32;
  }
  INLINE void put(uint8_t *) const {}
};

/// `product` on tensor cores. ASYNC operands are `Stored<bf16>` at multiples of 16 bytes, with a multiple of 8 columns.
template <bool aKInRows, bool bKInRows, bool ASYNC = false, class A, class B, class Finish>
INLINE void product(Tile<bf16> tile, A a, B b, i32 M, i32 N, Range range, Finish finish) {
  constexpr int STAGES = 3, DEPTH = 32;
  typedef MmaOperand<aKInRows, ASYNC, A> Left;
  typedef MmaOperand<bKInRows, ASYNC, B> Right;
  constexpr int HALF = Left::Shared::BYTES, STAGE = 2 * HALF;
  __shared__ alignas(128) uint8_t shared[STAGES * STAGE];
  uint32_t base = sharedAddress(shared);
  Left left(a, tile.m, range.begin);
  Right right(b, tile.n, range.begin);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, m = warp % 2 * 64, n = warp / 2 * 32;
  f32 sums[4][4][4] = {};

  auto fetch = [&](int stage, i32 k) {
    if (k < range.end) {
      left.fetch(base + stage * STAGE);
      right.fetch(base + stage * STAGE + HALF);
    }
    if (ASYNC) commitCopies();
  };
  auto put = [&](int stage, i32 k) {
    if (k >= range.end) return;
    left.put(shared + stage * STAGE);
    right.put(shared + stage * STAGE + HALF);
  };
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; stage++) {
    fetch(stage, range.begin + stage * DEPTH);
    put(stage, range.begin + stage * DEPTH);
  }
  int stage = 0, next = STAGES - 1;
  for (i32 k = range.begin; k < range.end; k += DEPTH) {
    // The next tile is there, and nobody reads the one before this any more, whose place is filled now.
    if (ASYNC) waitForCopies<STAGES - 2>();
    __syncthreads();
    fetch(next, k + (STAGES - 1) * DEPTH);
#pragma unroll
    for (int kk = 0; kk < DEPTH; kk += 16) {
      uint32_t x[4][4], y[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        uint32_t at = Left::Shared::template fragment<false>(m + i * 16, kk);
        loadMatrices<!aKInRows>(x[i], base + stage * STAGE + at);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        uint32_t at = Right::Shared::template fragment<true>(n + j * 16, kk);
        loadMatrices<!bKInRows>(y[j], base + stage * STAGE + HALF + at);
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) multiplyAdd(sums[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
      }
    }
    put(next, k + (STAGES - 1) * DEPTH);
    stage = stage == STAGES - 1 ? 0 : stage + 1;
    next = next == STAGES - 1 ? 0 : next + 1;
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
      if (row + i * 16 < M && column + j * 8 < N) finish(row + i * 16, column + j * 8, y);
    }
  }
}

#endif
