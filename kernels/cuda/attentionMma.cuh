// Attention of bf16 heads of 64 or 128 columns on tensor cores (FlashAttention-2, Dao 2023).
//
// A block has four neighbouring tiles of the plan and one query head; a warp has 16 of the 128 queries, with its
// scores, sums and softmax in registers. Keys and values come through shared memory in blocks of 64 rows, the next one
// while this one is computed. Tiles that see the same spans share them; tiles of different segments take turns.
#pragma once
#include "attention.cuh"
#include "mma.cuh"

#if SM >= 80
namespace mma {

constexpr int TILES = 4, WARPS = 8, THREADS = 32 * WARPS, KEYS = 64;
// Scores are in units of log2(e) inside, since 2ˣ is what the hardware has.
constexpr f32 LOG2_E = 1.44269504f, LN_2 = 0.69314718f;

/// Where 16 bytes of rows of D elements are in shared memory: of eight neighbouring rows, the same ones lie in eight
/// different groups of banks.
template <int D> INLINE uint32_t offset(int row, int chunk) { return row * D * 2 + (chunk ^ row % 8) * 16; }

/// One head's rows [first, first + count) of x [T, heads, D], zeros in the rest of ROWS, by COUNT threads of which this
/// is `thread`. `background`: x is a multiple of 16.
template <int D, int ROWS, int COUNT>
INLINE void loadRows(uint8_t *shared, const bf16 *x, i32 heads, i32 head, i32 first, i32 count, int thread,
                     bool background) {
#pragma unroll
  for (int i = thread; i < ROWS * D / 8; i += COUNT) {
    int row = i / (D / 8), chunk = i % (D / 8);
    bool inside = row < count;
    const bf16 *from = x + ((i64)(inside ? first + row : 0) * heads + head) * D + chunk * 8;
    uint8_t *to = shared + offset<D>(row, chunk);
    if (background) {
      copyAsync(sharedAddress(to), from, inside);
    } else {
      Packet<bf16, 8> packet = load<8>(from, inside ? 8 : 0);
      *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(&packet);
    }
  }
}

INLINE uint32_t pack(f32 low, f32 high) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

/// Two neighbouring elements as one register.
INLINE uint32_t pair(const bf16 *x, bool inside) {
  Packet<bf16, 2> packet = load<2>(x, inside ? 2 : 0);
  return packet.at[0].bits | (uint32_t)packet.at[1].bits << 16;
}

/// 16 rows of x as the left operand of products: a lane has rows lane / 4 and lane / 4 + 8, of each 8 columns the two
/// from lane % 4 · 2. Zeros for rows from `count` on.
template <int D> INLINE void loadLeft(uint32_t (&to)[D / 16][4], const bf16 *x, i32 stride, i32 count) {
  i32 row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      i32 r = row + i % 2 * 8;
      to[k][i] = pair(x + (r < count ? (i64)r * stride : 0) + k * 16 + i / 2 * 8 + column, r < count);
    }
  }
}

/// s = left · rowsᵀ: the k-th 16 columns of a warp's 16 rows are `left(k, …)`, the other side's ROWS rows in shared
/// memory.
template <int D, int ROWS, class Left> INLINE void products(f32 (&s)[ROWS / 8][4], Left left, uint32_t rows) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < ROWS / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    uint32_t a[4];
    left(k, a);
#pragma unroll
    for (int n = 0; n < ROWS / 16; n++) {
      uint32_t b[4];
      loadMatrices<false>(b, rows + offset<D>(n * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
      multiplyAdd(s[2 * n], a, b[0], b[1]);
      multiplyAdd(s[2 * n + 1], a, b[2], b[3]);
    }
  }
}
/// `left` of products from registers.
template <int N> INLINE auto registers(const uint32_t (&x)[N][4]) {
  return [&](int k, uint32_t(&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = x[k][i];
  };
}

/// sums += weights · rows, both sides rounded to bf16.
template <int D, int ROWS>
INLINE void accumulate(f32 (&sums)[D / 8][4], const f32 (&weights)[ROWS / 8][4], uint32_t rows) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < ROWS / 16; k++) {
    const f32(&u)[4] = weights[2 * k], (&v)[4] = weights[2 * k + 1];
    uint32_t a[4] = {pack(u[0], u[1]), pack(u[2], u[3]), pack(v[0], v[1]), pack(v[2], v[3])};
#pragma unroll
    for (int j = 0; j < D / 16; j++) {
      uint32_t b[4];
      loadMatrices<true>(b, rows + offset<D>(k * 16 + lane / 8 % 2 * 8 + lane % 8, j * 2 + lane / 16));
      multiplyAdd(sums[2 * j], a, b[0], b[1]);
      multiplyAdd(sums[2 * j + 1], a, b[2], b[3]);
    }
  }
}

/// Writes a warp's rows below `count`, each half times its factor, to y [rows, stride].
template <int D>
INLINE void storeRows(bf16 *y, const f32 (&sums)[D / 8][4], const f32 (&factors)[2], i64 stride, i32 count) {
  i32 lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    i32 row = lane / 4 + half * 8;
    if (row >= count) continue;
#pragma unroll
    for (int j = 0; j < D / 8; j++) {
      f32 factor = factors[half];
      Packet<bf16, 2> two = {narrow<bf16>(sums[j][2 * half] * factor), narrow<bf16>(sums[j][2 * half + 1] * factor)};
      store<2>(y + row * stride + j * 8 + lane % 4 * 2, two);
    }
  }
}

/// The largest or the sum over the four lanes that share a row.
template <class Op> INLINE f32 rowReduce(f32 x) {
  x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return Op::of(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// Blocks of up to STEP keys of the spans [span, spanEnd), as far as keys are below `limit`.
template <int STEP> struct KeyBlocks {
  const i32 *spans;
  i32 span, spanEnd, limit, key, end;

  INLINE KeyBlocks(const i32 *spans, i32 span, i32 spanEnd, i32 limit)
      : spans(spans), span(span - 1), spanEnd(spanEnd), limit(limit), key(0), end(0) {
    next();
  }
  INLINE void next() {
    key += STEP;
    while (key >= end && ++span < spanEnd) {
      key = spans[2 * span];
      end = min(spans[2 * span + 1], limit);
    }
  }
  INLINE bool any() const { return span < spanEnd; }
  INLINE i32 count() const { return min(STEP, end - key); }
};

/// Calls run(tile, last, mine) for each row of a block's `count` tiles from `first` on that see the same spans, with
/// the first and last of them and whether this warp's tile is among them.
template <class Tile, class F> INLINE void eachGroup(const i32 *tiles, i32 first, i32 count, F run) {
  i32 own = threadIdx.x / 64;
  for (i32 begin = 0, end; begin < count; begin = end) {
    Tile tile(tiles, first + begin, TILE), last = tile;
    for (end = begin + 1; end < count; end++) {
      Tile next(tiles, first + end, TILE);
      if (next.span != tile.span || next.spanEnd != tile.spanEnd) break;
      last = next;
    }
    run(tile, last, own >= begin && own < end);
  }
}

/// Streams blocks of rows through two stages of shared memory: while compute(block, stage) runs, fetch(block, stage) of
/// the next one is on its way.
template <class Blocks, class Fetch, class Compute> INLINE void stream(Blocks now, Fetch fetch, Compute compute) {
  if (now.any()) fetch(now, 0);
  commitCopies();
  for (int stage = 0; now.any(); stage ^= 1) {
    Blocks next = now;
    next.next();
    if (next.any()) fetch(next, stage ^ 1);
    commitCopies();
    waitForCopies<1>();
    __syncthreads();
    compute(now, stage);
    __syncthreads();
    now = next;
  }
}

/// Tile of a warp, 16 of its rows; none where the block has fewer tiles.
template <class Tile> INLINE Tile ownTile(const i32 *tiles, i32 first, i32 count) {
  i32 warp = threadIdx.x / 32;
  Tile tile(tiles, (first + min(warp / 2, count - 1)) * 2 + warp % 2, 16);
  if (warp / 2 >= count) tile.count = 0;
  return tile;
}

/// A warp's 16 queries: their running softmax, of which a lane has two rows.
template <int D> struct Queries {
  uint32_t q[D / 16][4];
  f32 o[D / 8][4] = {};
  f32 largest[2] = {Max::start, Max::start}, total[2] = {};

  /// Takes in a block of keys; the query of the warp's row 0 sees the first `visible` of them, each further one one
  /// more, up to `count`.
  INLINE void block(uint32_t keys, uint32_t values, i32 visible, i32 count, f32 scale) {
    int lane = threadIdx.x % 32;
    f32 s[KEYS / 8][4];
    products<D, KEYS>(s, registers(q), keys);
    if (visible < KEYS || count < KEYS) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          i32 key = n * 8 + lane % 4 * 2 + i % 2;
          if (key >= min(count, visible + lane / 4 + i / 2 * 8)) s[n][i] = Max::start;
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      f32 now = Max::start, sum = 0;
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) now = fmaxf(now, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      // Every query sees the first key of its first span, so that the largest score is finite from the first block on.
      now = fmaxf(largest[half], scale * rowReduce<Max>(now));
      f32 shrink = exp2f(largest[half] - now);
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          s[n][i] = exp2f(scale * s[n][i] - now);
          sum += s[n][i];
        }
      }
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        o[j][2 * half] *= shrink;
        o[j][2 * half + 1] *= shrink;
      }
      total[half] = total[half] * shrink + sum;
      largest[half] = now;
    }
    accumulate<D, KEYS>(o, s, values);
  }

  /// Writes the rows below `count`: o [rows, stride] and lse [rows, heads].
  INLINE void finish(bf16 *y, i32 stride, f32 *lse, i32 heads, i32 count) {
    i32 lane = threadIdx.x % 32;
    f32 factors[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      i32 row = lane / 4 + half * 8;
      f32 sum = rowReduce<Sum>(total[half]);
      factors[half] = 1 / sum;
      if (row < count && lane % 4 == 0) lse[(i64)row * heads] = (largest[half] + log2f(sum)) * LN_2;
    }
    storeRows<D>(y, o, factors, stride, count);
  }
};

template <int D>
INLINE void forward(bf16 *o, f32 *lse, const bf16 *q, const bf16 *k, const bf16 *v, const i32 *tiles, const i32 *spans,
                    Sizes n, f32 scale) {
  extern __shared__ uint4 space[];
  uint8_t *shared = reinterpret_cast<uint8_t *>(space);
  constexpr int STAGE = 2 * KEYS * D * 2;
  i32 first = blockIdx.x * TILES, tilesHere = min(TILES, n.tiles - first), head = blockIdx.y, keyHead = head / n.group();
  bool background = aligned<bf16, 8>(k) && aligned<bf16, 8>(v);
  QueryTile own = ownTile<QueryTile>(tiles, first, tilesHere);
  i64 at = (i64)own.first * n.H + head;
  Queries<D> queries;
  loadLeft<D>(queries.q, own.count > 0 ? q + at * D : q, n.H * D, own.count);

  eachGroup<QueryTile>(tiles, first, tilesHere, [&](const QueryTile &tile, const QueryTile &last, bool mine) {
    typedef KeyBlocks<KEYS> Blocks;
    auto fetch = [&](const Blocks &block, int stage) {
      uint8_t *to = shared + stage * STAGE;
      loadRows<D, KEYS, THREADS>(to, k, n.KVH, keyHead, block.key, block.count(), threadIdx.x, background);
      loadRows<D, KEYS, THREADS>(to + STAGE / 2, v, n.KVH, keyHead, block.key, block.count(), threadIdx.x, background);
    };
    stream(Blocks(spans, tile.span, tile.spanEnd, last.row + last.count), fetch, [&](const Blocks &block, int stage) {
      i32 visible = own.row - block.key + 1;
      // Rows behind this one see up to 15 keys more.
      if (!mine || own.count <= 0 || visible + own.count <= 1) return;
      uint32_t keys = sharedAddress(shared + stage * STAGE);
      queries.block(keys, keys + STAGE / 2, visible, block.count(), scale * LOG2_E);
    });
  });
  queries.finish(o + at * D, n.H * D, lse + at, n.H, own.count);
}

} // namespace mma
#endif
