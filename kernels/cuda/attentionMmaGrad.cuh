// The gradients of attention for bf16 heads of 64 or 128 columns on tensor cores, blocks and warps as in the forward
// pass. P is computed again from the scores and their log-sum-exps; dS = P ⊙ (g·vᵀ − δ) with δ = rowsum(g ⊙ o).
#pragma once
#include "attentionMma.cuh"

#if SM >= 80
namespace mma {

/// Rows that are streamed at a time: as many as leave registers for the sums.
template <int D> constexpr int keyStep = D > 64 ? 16 : 32;
template <int D> constexpr int queryStep = D > 64 ? 16 : 32;

/// The two elements of a register.
INLINE f32 low(uint32_t x) { return __uint_as_float(x << 16); }
INLINE f32 high(uint32_t x) { return __uint_as_float(x & 0xffff0000); }

template <int D>
INLINE void gradQuery(bf16 *dq, const bf16 *g, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *o,
                      const f32 *lse, const i32 *tiles, const i32 *spans, Sizes n, f32 scale) {
  extern __shared__ uint4 space[];
  uint8_t *shared = reinterpret_cast<uint8_t *>(space);
  constexpr int STEP = keyStep<D>, STAGE = 2 * STEP * D * 2;
  i32 first = blockIdx.x * TILES, tilesHere = min(TILES, n.tiles - first), head = blockIdx.y, keyHead = head / n.group();
  i32 lane = threadIdx.x % 32, stride = n.H * D;
  bool background = aligned<bf16, 8>(k) && aligned<bf16, 8>(v);
  QueryTile own = ownTile<QueryTile>(tiles, first, tilesHere);
  i64 at = own.count > 0 ? (i64)own.first * n.H + head : 0;
  uint32_t query[D / 16][4], gradient[D / 16][4];
  loadLeft<D>(gradient, g + at * D, stride, own.count);
  f32 logSum[2] = {}, delta[2] = {}, sums[D / 8][4] = {};
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      i32 row = lane / 4 + i % 2 * 8;
      bool inside = row < own.count;
      i64 column = k * 16 + i / 2 * 8 + lane % 4 * 2;
      uint32_t output = pair(o + at * D + (inside ? (i64)row * stride : 0) + column, inside);
      delta[i % 2] += low(gradient[k][i]) * low(output) + high(gradient[k][i]) * high(output);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    delta[half] = rowReduce<Sum>(delta[half]);
    i32 row = lane / 4 + half * 8;
    if (row < own.count) logSum[half] = lse[at + (i64)row * n.H] * LOG2_E;
  }
  loadLeft<D>(query, q + at * D, stride, own.count);

  eachGroup<QueryTile>(tiles, first, tilesHere, [&](const QueryTile &tile, const QueryTile &last, bool mine) {
    typedef KeyBlocks<STEP> Blocks;
    auto fetch = [&](const Blocks &block, int stage) {
      uint8_t *to = shared + stage * STAGE;
      loadRows<D, STEP, THREADS>(to, k, n.KVH, keyHead, block.key, block.count(), threadIdx.x, background);
      loadRows<D, STEP, THREADS>(to + STAGE / 2, v, n.KVH, keyHead, block.key, block.count(), threadIdx.x, background);
    };
    stream(Blocks(spans, tile.span, tile.spanEnd, last.row + last.count), fetch, [&](const Blocks &block, int stage) {
      i32 visible = own.row - block.key + 1;
      if (!mine || own.count <= 0 || visible + own.count <= 1) return;
      uint32_t keys = sharedAddress(shared + stage * STAGE);
      f32 ds[STEP / 8][4], dp[STEP / 8][4];
      products<D, STEP>(ds, registers(query), keys);
      products<D, STEP>(dp, registers(gradient), keys + STAGE / 2);
#pragma unroll
      for (int n = 0; n < STEP / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          i32 half = i / 2, key = n * 8 + lane % 4 * 2 + i % 2;
          bool seen = key < min(block.count(), visible + lane / 4 + half * 8);
          ds[n][i] = seen ? exp2f(scale * LOG2_E * ds[n][i] - logSum[half]) * (dp[n][i] - delta[half]) : 0;
        }
      }
      accumulate<D, STEP>(sums, ds, keys);
    });
  });
  storeRows<D>(dq + at * D, sums, {scale, scale}, stride, own.count);
}

/// Blocks of up to STEP queries that see the key `firstKey`, of the spans [spanBegin, spanEnd) and, of each, the query
/// heads [head, headEnd).
template <int STEP> struct QueryBlocks {
  const i32 *spans;
  i32 firstKey, spanBegin, spanEnd, head, headEnd, span, query, end, shift;

  INLINE QueryBlocks(const i32 *spans, const KeyTile &tile, i32 head, i32 heads)
      : spans(spans), firstKey(tile.first), spanBegin(tile.span), spanEnd(tile.spanEnd), head(head - 1),
        headEnd(head + heads), span(tile.spanEnd), query(0), end(0), shift(0) {
    next();
  }
  INLINE void next() {
    query += STEP;
    while (query >= end) {
      if (++span >= spanEnd) {
        span = spanBegin;
        if (spanBegin == spanEnd) head = headEnd;
        else head++;
        if (!any()) return;
      }
      shift = spans[3 * span + 2] - spans[3 * span];
      query = max(spans[3 * span], firstKey - shift);
      end = spans[3 * span + 1];
    }
  }
  INLINE bool any() const { return head < headEnd; }
  INLINE i32 count() const { return min(STEP, end - query); }
};

template <int D>
INLINE void gradKeyValue(bf16 *dkv, const bf16 *g, const bf16 *q, const bf16 *k, const bf16 *v, const f32 *lse,
                         const i32 *tiles, const i32 *spans, const f32 *delta, Sizes n, f32 scale) {
  extern __shared__ uint4 space[];
  uint8_t *shared = reinterpret_cast<uint8_t *>(space);
  constexpr int STEP = queryStep<D>, WARP = 16 * D * 2, OWN = WARPS * WARP, STAGE = 2 * STEP * D * 2;
  uint8_t *stages = shared + 2 * OWN;
  // Of each stage's queries, log-sum-exps and δ.
  f32 *statistics = reinterpret_cast<f32 *>(stages + 2 * STAGE);
  i32 keyHead = blockIdx.y, first = blockIdx.x * TILES, tilesHere = min(TILES, n.tiles - first);
  i32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  bool background = aligned<bf16, 8>(k) && aligned<bf16, 8>(v) && aligned<bf16, 8>(q) && aligned<bf16, 8>(g);
  KeyTile own = ownTile<KeyTile>(tiles, first, tilesHere);
  // 16 rows of each of k and v are too many registers beside the sums of both: they stay in shared memory.
  uint8_t *ownKeys = shared + warp * WARP, *ownValues = ownKeys + OWN;
  loadRows<D, 16, 32>(ownKeys, k, n.KVH, keyHead, own.first, own.count, lane, background);
  loadRows<D, 16, 32>(ownValues, v, n.KVH, keyHead, own.first, own.count, lane, background);
  auto left = [&](const uint8_t *rows) {
    uint32_t base = sharedAddress(rows);
    return [=](int k, uint32_t(&a)[4]) {
      loadMatrices<false>(a, base + offset<D>(lane / 8 % 2 * 8 + lane % 8, k * 2 + lane / 16));
    };
  };
  f32 dk[D / 8][4] = {}, dv[D / 8][4] = {};

  eachGroup<KeyTile>(tiles, first, tilesHere, [&](const KeyTile &tile, const KeyTile &, bool mine) {
    typedef QueryBlocks<STEP> Blocks;
    auto fetch = [&](const Blocks &block, int stage) {
      uint8_t *to = stages + stage * STAGE;
      i32 count = block.count();
      loadRows<D, STEP, THREADS>(to, q, n.H, block.head, block.query, count, threadIdx.x, background);
      loadRows<D, STEP, THREADS>(to + STAGE / 2, g, n.H, block.head, block.query, count, threadIdx.x, background);
      if (threadIdx.x < STEP) {
        i64 at = (i64)(block.query + min((i32)threadIdx.x, count - 1)) * n.H + block.head;
        statistics[stage * 2 * STEP + threadIdx.x] = lse[at] * LOG2_E;
        statistics[stage * 2 * STEP + STEP + threadIdx.x] = delta[at];
      }
    };
    stream(Blocks(spans, tile, keyHead * n.group(), n.group()), fetch, [&](const Blocks &block, int stage) {
      // Row of the block's first query, seen from this warp's first key.
      i32 row = block.query + block.shift - own.first;
      if (!mine || own.count <= 0 || row + block.count() <= 0) return;
      uint32_t queries = sharedAddress(stages + stage * STAGE), gradients = queries + STAGE / 2;
      const f32 *logSum = statistics + stage * 2 * STEP, *deltas = logSum + STEP;
      f32 p[STEP / 8][4], ds[STEP / 8][4];
      products<D, STEP>(p, left(ownKeys), queries);
      products<D, STEP>(ds, left(ownValues), gradients);
#pragma unroll
      for (int n = 0; n < STEP / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          i32 query = n * 8 + lane % 4 * 2 + i % 2, key = lane / 4 + i / 2 * 8;
          bool sees = query < block.count() && key <= row + query;
          p[n][i] = sees ? exp2f(scale * LOG2_E * p[n][i] - logSum[query]) : 0;
          ds[n][i] = p[n][i] * (ds[n][i] - deltas[query]);
        }
      }
      accumulate<D, STEP>(dk, ds, queries);
      accumulate<D, STEP>(dv, p, gradients);
    });
  });
  i64 at = ((i64)own.first * n.KVH + keyHead) * D, stride = (i64)n.KVH * D;
  storeRows<D>(dkv + at, dk, {scale, scale}, stride, own.count);
  storeRows<D>(dkv + n.Tk * stride + at, dv, {1, 1}, stride, own.count);
}

} // namespace mma
#endif
