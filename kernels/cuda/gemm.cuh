// Products of matrices on ordinary cores: C[M,N] = A·B in f32, tiles of 64×64 in shared memory, 8×4 sums a thread, each over k
// upwards. An operand is stored [M or N, K] (`kInRows`) or transposed. mma.cuh has the tensor cores.
#pragma once
#include "weight.cuh"

/// A matrix as it is stored: `rows` of `columns` elements.
template <class T> struct Stored {
  const T *data;
  i32 rows, columns;

  /// Four neighbours of a row; 0 outside.
  INLINE Four at(i32 row, i32 column) const {
    return loadFour(data + row * (i64)columns, column, row < rows ? columns : 0);
  }
};

/// The tile of C[M, N] that is a block's: neighbouring blocks go down eight rows of tiles before they go right, so that both
/// operands' tiles are met again while they are in the cache. Matrices of a batch follow one another.
template <int HEIGHT, int WIDTH, int COUNT> struct TileOf {
  static constexpr int THREADS = COUNT;
  i32 m, n, batch;

  INLINE TileOf(i32 M, i32 N) {
    constexpr int group = 8;
    i32 down = (M + HEIGHT - 1) / HEIGHT, right = (N + WIDTH - 1) / WIDTH, i = blockIdx.x % (down * right);
    batch = blockIdx.x / (down * right);
    i32 top = i / (group * right) * group, rows = min(group, down - top);
    i -= top * right;
    m = (top + i % rows) * HEIGHT;
    n = i / rows * WIDTH;
  }
};
typedef TileOf<64, 64, 128> PlainTile;

/// Four f32 at an address that is a multiple of 16.
INLINE Four &alignedFour(f32 *p) { return *reinterpret_cast<Four *>(p); }

INLINE Four plus(const Four &a, const Four &b) {
  return four([&](int j) { return a.at[j] + b.at[j]; });
}

/// One operand's way through shared memory: 64 rows or columns of the product by 16 of k.
template <bool kInRows, class Source> struct Operand {
  static constexpr int DEPTH = 16;
  typedef f32 Shared[DEPTH][64 + 4];
  Source source;
  i32 first;
  Four fetched[2];

  /// (k, position in the tile) of a thread's i-th four. With `kInRows` a warp has two of k in each of sixteen rows: in shared
  /// memory those are sixteen banks apart, and its 32 numbers go to as many banks.
  INLINE static int2 place(int i) {
    int thread = threadIdx.x;
    return kInRows ? int2{(thread % 2 + i * 2) * 4, thread / 2} : int2{thread / 16 + i * 8, thread % 16 * 4};
  }
  INLINE void fetch(i32 k) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = place(i);
      fetched[i] = kInRows ? source.at(first + at.y, k + at.x) : source.at(k + at.x, first + at.y);
    }
  }
  INLINE void put(Shared tile) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int2 at = place(i);
      if (kInRows) {
#pragma unroll
        for (int j = 0; j < 4; j++) tile[at.x + j][at.y] = fetched[i].at[j];
      } else {
        alignedFour(&tile[at.x][at.y]) = fetched[i];
      }
    }
  }
};

/// x[0 … count) in type T.
template <class T> INLINE void storeFour(T *y, const Four &x, i32 count) {
  Packet<T, 4> out;
#pragma unroll
  for (int j = 0; j < 4; j++) out.at[j] = narrow<T>(x.at[j]);
  store<4>(y, out, count);
}

/// y[0 … count) += x
INLINE void addFour(f32 *y, const Four &x, i32 count) { storeFour(y, plus(loadFour(y, 0, count), x), count); }

/// Some of k. `begin` is a multiple of 32, and so is `end` unless it is K.
struct Range {
  i32 begin, end;

  INLINE Range(i32 K) : begin(0), end(K) {}
  INLINE Range(i32 begin, i32 end) : begin(begin), end(end) {}
};

/// The tile of A·B that is this block's: finish(m, n, sums of C[m, n … n + 3]) for all m < M, n < N in it, n a multiple of 4.
/// A and B have `at(row, column)`, four numbers as they are stored.
template <bool aKInRows, bool bKInRows, bool = false, class A, class B, class Finish>
INLINE void product(PlainTile tile, A a, B b, i32 M, i32 N, Range range, Finish finish) {
  typedef Operand<aKInRows, A> Left;
  typedef Operand<bKInRows, B> Right;
  constexpr int DEPTH = Left::DEPTH;
  __shared__ alignas(16) typename Left::Shared as[2];
  __shared__ alignas(16) typename Right::Shared bs[2];
  Left left{a, tile.m};
  Right right{b, tile.n};
  int row = threadIdx.x / 16 * 8, column = threadIdx.x % 16 * 4;
  f32 sums[8][4] = {};

  auto fetch = [&](i32 k) {
    left.fetch(k);
    right.fetch(k);
  };
  auto put = [&](int stage) {
    left.put(as[stage]);
    right.put(bs[stage]);
    __syncthreads();
  };
  if (range.begin < range.end) {
    fetch(range.begin);
    put(0);
  }
  int stage = 0;
  for (i32 k = range.begin; k < range.end; k += DEPTH, stage ^= 1) {
    bool more = k + DEPTH < range.end;
    if (more) fetch(k + DEPTH);
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      Four x[2] = {alignedFour(&as[stage][d][row]), alignedFour(&as[stage][d][row + 4])};
      Four y = alignedFour(&bs[stage][d][column]);
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] = fmaf(x[i / 4].at[i % 4], y.at[j], sums[i][j]);
      }
    }
    if (more) put(stage ^ 1);
  }
  if (tile.n + column >= N) return;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (tile.m + row + i < M) finish(tile.m + row + i, tile.n + column, four([&](int j) { return sums[i][j]; }));
  }
}

/// `product` where there may be too few tiles to keep a GPU busy (gemm.ts: `cut`): the grid's y-th row of blocks sums `chunk` of k
/// into the y-th matrix of `partial`; `total` adds these up in that order. With one row it is a product like others.
template <bool aKInRows, bool bKInRows, bool ASYNC = false, class Tile, class A, class B, class Finish, class... Firsts>
INLINE void partOfProduct(Tile tile, A a, B b, i32 M, i32 N, i32 K, f32 *partial, i32 chunk, Finish finish,
                          const Firsts &...first) {
  i32 begin = blockIdx.y * chunk;
  Range range(begin, K - begin > chunk ? begin + chunk : K);
  partial += blockIdx.y * (i64)M * N;
  auto finishPart = [=](i32 m, i32 n, const Four &sums) {
    if (gridDim.y == 1) finish(m, n, sums);
    else storeFour(partial + m * (i64)N + n, sums, N - n);
  };
  product<aKInRows, bKInRows, ASYNC>(tile, a, b, M, N, range, finishPart, first...);
}

template <class Finish> INLINE void total(const f32 *partial, i32 M, i32 N, i32 parts, Finish finish) {
  i32 perRow = (N + 3) / 4;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)M * perRow) return;
  i32 m = (i32)(i / perRow), n = (i32)(i % perRow) * 4;
  Four sums{};
  for (i32 part = 0; part < parts; part++) sums = plus(sums, load<4>(partial + (part * (i64)M + m) * N + n, N - n));
  finish(m, n, sums);
}
