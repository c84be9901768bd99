// Attention of bf16 heads of 64 or 128 columns on tensor cores (FlashAttention-2, Dao 2023).
//
// A block has four neighbouring tiles of the plan and one query head; a warp has 16 of the 128 queries, with its scores, sums
// and softmax in registers. Keys and values come through shared memory in blocks of 64 rows, the next one while this one is
// computed. Tiles that see the same spans share them; tiles of different segments take turns.
#pragma once
#include "attention.cuh"
#include "mma.cuh"

#if SM >= 80
namespace mma {

constexpr int TILES = 4, WARPS = 8, THREADS = 32 * WARPS, KEYS = 64;

/// Rows of D elements in shared memory. Of eight neighbouring rows, the same 16 bytes lie in eight different groups of banks.
template <int D> struct Rows {
  static constexpr int BYTES = KEYS * D * 2;
  INLINE static uint32_t offset(int row, int chunk) { return row * D * 2 + (chunk ^ row % 8) * 16; }
};

/// One head's rows [first, first + count) of x [T, heads, D], zeros behind them. `background`: x is a multiple of 16.
template <int D>
INLINE void loadRows(uint8_t *shared, const bf16 *x, i32 heads, i32 head, i32 first, i32 count, bool background) {
#pragma unroll
  for (int i = threadIdx.x; i < KEYS * D / 8; i += THREADS) {
    int row = i / (D / 8), chunk = i % (D / 8);
    bool inside = row < count;
    const bf16 *from = x + ((i64)(inside ? first + row : 0) * heads + head) * D + chunk * 8;
    uint8_t *to = shared + Rows<D>::offset(row, chunk);
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

/// The largest or the sum over the four lanes that share a row.
template <class Op> INLINE f32 rowReduce(f32 x) {
  x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return Op::of(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// Blocks of up to KEYS keys of the spans [span, spanEnd), as far as keys are below `limit`.
struct KeyBlocks {
  const i32 *spans;
  i32 span, spanEnd, limit, key, end;

  INLINE KeyBlocks(const i32 *spans, i32 span, i32 spanEnd, i32 limit)
      : spans(spans), span(span - 1), spanEnd(spanEnd), limit(limit), key(0), end(0) {
    next();
  }
  INLINE void next() {
    key += KEYS;
    while (key >= end && ++span < spanEnd) {
      key = spans[2 * span];
      end = min(spans[2 * span + 1], limit);
    }
  }
  INLINE bool any() const { return span < spanEnd; }
  INLINE i32 count() const { return min(KEYS, end - key); }
};

/// A warp's 16 queries. A lane has rows lane / 4 and lane / 4 + 8, of each 8 columns the two from lane % 4 · 2.
template <int D> struct Queries {
  uint32_t q[D / 16][4];
  f32 o[D / 8][4];
  f32 largest[2], total[2];

  INLINE void start(const bf16 *x, i32 stride, i32 count) {
    i32 row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        i32 r = row + i % 2 * 8;
        q[k][i] = pair(x + (r < count ? (i64)r * stride : 0) + k * 16 + i / 2 * 8 + column, r < count);
      }
    }
#pragma unroll
    for (int j = 0; j < D / 8; j++) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
    largest[0] = largest[1] = Max::start;
    total[0] = total[1] = 0;
  }

  /// Takes in a block of keys; the query of the warp's row 0 sees the first `visible` of them, each further one one more,
  /// up to `count`.
  INLINE void block(uint32_t keys, uint32_t values, i32 visible, i32 count, f32 scale) {
    int lane = threadIdx.x % 32, row = lane % 8, second = lane / 8 % 2, third = lane / 16;
    f32 s[KEYS / 8][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
      for (int n = 0; n < KEYS / 16; n++) {
        uint32_t b[4];
        loadMatrices<false>(b, keys + Rows<D>::offset(n * 16 + third * 8 + row, k * 2 + second));
        multiplyAdd(s[2 * n], q[k], b[0], b[1]);
        multiplyAdd(s[2 * n + 1], q[k], b[2], b[3]);
      }
    }
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
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
      const f32(&u)[4] = s[2 * k], (&v)[4] = s[2 * k + 1];
      uint32_t p[4] = {pack(u[0], u[1]), pack(u[2], u[3]), pack(v[0], v[1]), pack(v[2], v[3])};
#pragma unroll
      for (int j = 0; j < D / 16; j++) {
        uint32_t b[4];
        loadMatrices<true>(b, values + Rows<D>::offset(k * 16 + second * 8 + row, j * 2 + third));
        multiplyAdd(o[2 * j], p, b[0], b[1]);
        multiplyAdd(o[2 * j + 1], p, b[2], b[3]);
      }
    }
  }

  /// Writes the rows below `count`: o [rows, stride] and lse [rows, heads].
  INLINE void finish(bf16 *y, i32 stride, f32 *lse, i32 heads, i32 count) {
    i32 lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      i32 row = lane / 4 + half * 8;
      f32 sum = rowReduce<Sum>(total[half]), factor = 1 / sum;
      if (row >= count) continue;
      // Scores are in units of log2(e).
      if (lane % 4 == 0) lse[(i64)row * heads] = largest[half] * 0.69314718f + logf(sum);
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        Packet<bf16, 2> two = {narrow<bf16>(o[j][2 * half] * factor), narrow<bf16>(o[j][2 * half + 1] * factor)};
        store<2>(y + (i64)row * stride + j * 8 + lane % 4 * 2, two);
      }
    }
  }
};

template <int D>
INLINE void forward(bf16 *o, f32 *lse, const bf16 *q, const bf16 *k, const bf16 *v, const i32 *tiles, const i32 *spans,
                    Sizes n, f32 scale) {
  extern __shared__ uint4 space[];
  uint8_t *shared = reinterpret_cast<uint8_t *>(space);
  constexpr int STAGE = 2 * Rows<D>::BYTES;
  i32 head = blockIdx.y, keyHead = head / n.group(), warp = threadIdx.x / 32, first = blockIdx.x * TILES;
  i32 tilesHere = min(TILES, n.tiles - first);
  bool background = aligned<bf16, 8>(k) && aligned<bf16, 8>(v);
  // In units of log2(e), since 2ˣ is what the hardware has.
  f32 scale2 = scale * 1.44269504f;

  QueryTile own(tiles, (first + min(warp / 2, tilesHere - 1)) * 2 + warp % 2, 16);
  if (warp / 2 >= tilesHere) own.count = 0;
  i64 at = (i64)own.first * n.H + head;
  Queries<D> queries;
  queries.start(own.count > 0 ? q + at * D : q, n.H * D, own.count);

  for (i32 begin = 0, end; begin < tilesHere; begin = end) {
    QueryTile tile(tiles, first + begin, TILE), last = tile;
    for (end = begin + 1; end < tilesHere; end++) {
      QueryTile next(tiles, first + end, TILE);
      if (next.span != tile.span) break;
      last = next;
    }
    bool mine = warp / 2 >= begin && warp / 2 < end && own.count > 0;
    KeyBlocks now(spans, tile.span, tile.spanEnd, last.row + last.count);
    auto fetch = [&](const KeyBlocks &block, int stage) {
      if (block.any()) {
        loadRows<D>(shared + stage * STAGE, k, n.KVH, keyHead, block.key, block.count(), background);
        loadRows<D>(shared + stage * STAGE + STAGE / 2, v, n.KVH, keyHead, block.key, block.count(), background);
      }
      commitCopies();
    };
    fetch(now, 0);
    for (int stage = 0; now.any(); stage ^= 1) {
      KeyBlocks next = now;
      next.next();
      fetch(next, stage ^ 1);
      waitForCopies<1>();
      __syncthreads();
      i32 visible = own.row - now.key + 1;
      // Rows behind this one see up to 15 keys more.
      if (mine && visible + own.count > 1) {
        uint32_t keys = sharedAddress(shared + stage * STAGE);
        queries.block(keys, keys + STAGE / 2, visible, now.count(), scale2);
      }
      __syncthreads();
      now = next;
    }
  }
  queries.finish(o + at * D, n.H * D, lse + at, n.H, own.count);
}

} // namespace mma
#endif
