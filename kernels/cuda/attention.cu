// Attention over segments (engine/segments.ts) on ordinary cores (attentionMma.cuh has the tensor cores): forward, and
// the gradients for q and for k and v, for head widths up to 128. Online softmax and recomputed probabilities as in
// FlashAttention-2 (Dao 2023).
//
// The three share one scheme. A block owns up to ROWS rows of a tile of the plan (queries; for the gradients of k and
// v, keys) and streams the rows of the other side through shared memory, STREAM at a time. A warp computes for OWN of
// the rows: first scores, of which a lane has those of one streamed row; then, with the weights made of them, sums of
// streamed rows, of which a lane has the columns lane, lane + 32 …. The plan alone gives the order of summation.
#include "attentionMmaGrad.cuh"

constexpr int ROWS = 16, WARPS = 4, THREADS = 32 * WARPS, OWN = ROWS / WARPS, STREAM = 32, MAX_D = 128;
constexpr int COLUMNS = MAX_D / 32;
typedef f32 Sums[OWN][COLUMNS];

extern __shared__ float4 shared[];

/// The block's shared memory: rows of its own for up to two operands, streamed rows of two, and each warp's weights.
struct Space {
  i32 padded, stride;
  f32 *own[2], *streamed[2];

  /// Multiples of 8 make the streamed rows' 16-byte reads, a row a lane, free of bank conflicts.
  INLINE Space(i32 D) : padded((D + 7) & ~7), stride(padded + 4) {
    own[0] = reinterpret_cast<f32 *>(shared);
    own[1] = own[0] + ROWS * padded;
    streamed[0] = own[1] + ROWS * padded;
    streamed[1] = streamed[0] + STREAM * stride;
  }

  /// Weights `i` of this warp: those of its OWN rows for each streamed row.
  INLINE float4 *weights(int i) const {
    f32 *all = streamed[1] + STREAM * stride;
    return reinterpret_cast<float4 *>(all) + (i * WARPS + threadIdx.x / 32) * STREAM;
  }
  /// This warp's rows of operand `i`.
  INLINE const f32 *ownRows(int i) const { return own[i] + threadIdx.x / 32 * OWN * padded; }
};

/// One head's rows [first, first + count) of x [T, heads, D] as f32; zeros in the rest of `rows` rows and behind column
/// D.
template <class T>
INLINE void loadRows(f32 *to, i32 stride, i32 rows, const T *x, i32 heads, i32 head, i32 D, i32 first, i32 count) {
  i32 packets = (D + 7) / 8 * 2;
  for (i32 i = threadIdx.x; i < rows * packets; i += THREADS) {
    i32 r = i / packets, c = (i - r * packets) * 4;
    Packet<T, 4> x4 = load<4>(x + ((i64)(r < count ? first + r : 0) * heads + head) * D + c, r < count ? D - c : 0);
    float4 y = {widen(x4.at[0]), widen(x4.at[1]), widen(x4.at[2]), widen(x4.at[3])};
    *reinterpret_cast<float4 *>(to + r * stride + c) = y;
  }
}

/// Products of the warp's own rows with the lane's streamed row.
INLINE void products(f32 (&s)[OWN], const f32 *own, const f32 *streamed, i32 padded) {
#pragma unroll
  for (int r = 0; r < OWN; r++) s[r] = 0;
  for (i32 c = 0; c < padded; c += 4) {
    float4 b = *reinterpret_cast<const float4 *>(streamed + c);
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      float4 a = *reinterpret_cast<const float4 *>(own + r * padded + c);
      s[r] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    }
  }
}

/// sums += weights · streamed rows
INLINE void accumulate(Sums &sums, const float4 *weights, const f32 *streamed, i32 stride, i32 D) {
  i32 lane = threadIdx.x % 32;
  for (i32 j = 0; j < STREAM; j++) {
    float4 w = weights[j];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
      f32 x = c * 32 + lane < D ? streamed[j * stride + c * 32 + lane] : 0;
      sums[0][c] += w.x * x;
      sums[1][c] += w.y * x;
      sums[2][c] += w.z * x;
      sums[3][c] += w.w * x;
    }
  }
}

/// Writes the warp's rows, those below `count`, each times its factor; y is where the block's row 0 of this head
/// begins.
template <class T>
INLINE void storeRows(T *y, const Sums &sums, const f32 (&factors)[OWN], i32 count, i64 stride, i32 D) {
  i32 lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
#pragma unroll
  for (int r = 0; r < OWN; r++) {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
      if (first + r < count && c * 32 + lane < D)
        y[(first + r) * stride + c * 32 + lane] = narrow<T>(sums[r][c] * factors[r]);
    }
  }
}

template <class T>
INLINE void forward(T *o, f32 *lse, const T *q, const T *k, const T *v, const i32 *tiles, const i32 *spans, Sizes n,
                    f32 scale) {
  QueryTile tile(tiles, blockIdx.x, ROWS);
  if (tile.count <= 0) return;
  Space space(n.D);
  i32 head = blockIdx.y, keyHead = head / n.group(), lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
  loadRows(space.own[0], space.padded, ROWS, q, n.H, head, n.D, tile.first, tile.count);
  f32 largest[OWN], total[OWN];
  Sums sums = {};
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    largest[r] = Max::start;
    total[r] = 0;
  }
  for (i32 s = tile.span; s < tile.spanEnd; s++) {
    i32 end = min(spans[2 * s + 1], tile.row + tile.count);
    for (i32 key = spans[2 * s]; key < end; key += STREAM) {
      i32 count = min(STREAM, end - key);
      __syncthreads();
      loadRows(space.streamed[0], space.stride, STREAM, k, n.KVH, keyHead, n.D, key, count);
      loadRows(space.streamed[1], space.stride, STREAM, v, n.KVH, keyHead, n.D, key, count);
      __syncthreads();
      f32 p[OWN];
      products(p, space.ownRows(0), space.streamed[0] + lane * space.stride, space.padded);
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        // A tile's first span begins at or before its first query, so that the largest score is finite from the first
        // block on.
        bool visible = lane < count && key + lane <= tile.row + first + r;
        f32 score = visible ? scale * p[r] : Max::start;
        f32 before = largest[r];
        largest[r] = fmaxf(before, warpReduce<Max>(score));
        f32 shrink = expf(before - largest[r]);
        p[r] = expf(score - largest[r]);
        total[r] = total[r] * shrink + p[r];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) sums[r][c] *= shrink;
      }
      space.weights(0)[lane] = {p[0], p[1], p[2], p[3]};
      __syncwarp();
      accumulate(sums, space.weights(0), space.streamed[1], space.stride, n.D);
    }
  }
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    f32 sum = warpReduce<Sum>(total[r]);
    if (lane == 0 && first + r < tile.count) lse[(i64)(tile.first + first + r) * n.H + head] = largest[r] + logf(sum);
    total[r] = 1 / sum;
  }
  storeRows(o + ((i64)tile.first * n.H + head) * n.D, sums, total, tile.count, (i64)n.H * n.D, n.D);
}

/// Σ g·o of a row of D elements, for every lane.
template <class T> INLINE f32 rowProduct(const T *g, const T *o, i32 D) {
  f32 sum = 0;
  for (i32 c = threadIdx.x % 32; c < D; c += 32) sum += widen(g[c]) * widen(o[c]);
  return warpReduce<Sum>(sum);
}

template <class T>
INLINE void gradQuery(T *dq, const T *g, const T *q, const T *k, const T *v, const T *o, const f32 *lse,
                      const i32 *tiles, const i32 *spans, Sizes n, f32 scale) {
  QueryTile tile(tiles, blockIdx.x, ROWS);
  if (tile.count <= 0) return;
  Space space(n.D);
  i32 head = blockIdx.y, keyHead = head / n.group(), lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
  loadRows(space.own[0], space.padded, ROWS, q, n.H, head, n.D, tile.first, tile.count);
  loadRows(space.own[1], space.padded, ROWS, g, n.H, head, n.D, tile.first, tile.count);
  f32 logSum[OWN], delta[OWN];
  Sums sums = {};
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    logSum[r] = delta[r] = 0;
    if (first + r < tile.count) {
      i64 at = (i64)(tile.first + first + r) * n.H + head;
      logSum[r] = lse[at];
      delta[r] = rowProduct(g + at * n.D, o + at * n.D, n.D);
    }
  }
  for (i32 s = tile.span; s < tile.spanEnd; s++) {
    i32 end = min(spans[2 * s + 1], tile.row + tile.count);
    for (i32 key = spans[2 * s]; key < end; key += STREAM) {
      i32 count = min(STREAM, end - key);
      __syncthreads();
      loadRows(space.streamed[0], space.stride, STREAM, k, n.KVH, keyHead, n.D, key, count);
      loadRows(space.streamed[1], space.stride, STREAM, v, n.KVH, keyHead, n.D, key, count);
      __syncthreads();
      f32 p[OWN], dp[OWN];
      products(p, space.ownRows(0), space.streamed[0] + lane * space.stride, space.padded);
      products(dp, space.ownRows(1), space.streamed[1] + lane * space.stride, space.padded);
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        bool visible = lane < count && key + lane <= tile.row + first + r;
        p[r] = visible ? expf(scale * p[r] - logSum[r]) * (dp[r] - delta[r]) : 0;
      }
      space.weights(0)[lane] = {p[0], p[1], p[2], p[3]};
      __syncwarp();
      accumulate(sums, space.weights(0), space.streamed[0], space.stride, n.D);
    }
  }
  f32 factors[OWN] = {scale, scale, scale, scale};
  storeRows(dq + ((i64)tile.first * n.H + head) * n.D, sums, factors, tile.count, (i64)n.H * n.D, n.D);
}

/// δ [Tq, H] = Σ g·o of each row, a warp a row.
template <class T> INLINE void rowProducts(f32 *delta, const T *g, const T *o, Sizes n) {
  i64 row = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (row >= (i64)n.Tq * n.H) return;
  f32 sum = rowProduct(g + row * n.D, o + row * n.D, n.D);
  if (threadIdx.x % 32 == 0) delta[row] = sum;
}

/// Zero gradients for the rows of k and v that the plan does not use.
template <class T> INLINE void clearRest(T *dkv, Sizes n) {
  i64 unused = (i64)(n.Tk - n.keys) * n.KVH * n.D, all = (i64)n.Tk * n.KVH * n.D;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < 2 * unused) dkv[(i < unused ? all : 2 * all - unused) - unused + i] = narrow<T>(0);
}

template <class T>
INLINE void gradKeyValue(T *dkv, const T *g, const T *q, const T *k, const T *v, const f32 *lse, const i32 *tiles,
                         const i32 *spans, const f32 *delta, Sizes n, f32 scale) {
  KeyTile tile(tiles, blockIdx.x, ROWS);
  if (tile.count <= 0) return;
  Space space(n.D);
  i32 keyHead = blockIdx.y, lane = threadIdx.x % 32, first = threadIdx.x / 32 * OWN;
  loadRows(space.own[0], space.padded, ROWS, k, n.KVH, keyHead, n.D, tile.first, tile.count);
  loadRows(space.own[1], space.padded, ROWS, v, n.KVH, keyHead, n.D, tile.first, tile.count);
  Sums dk = {}, dv = {};
  for (i32 head = keyHead * n.group(); head < (keyHead + 1) * n.group(); head++) {
    for (i32 s = tile.span; s < tile.spanEnd; s++) {
      i32 begin = spans[3 * s], end = spans[3 * s + 1], shift = spans[3 * s + 2] - begin;
      for (i32 query = max(begin, tile.first - shift); query < end; query += STREAM) {
        i32 count = min(STREAM, end - query);
        __syncthreads();
        loadRows(space.streamed[0], space.stride, STREAM, q, n.H, head, n.D, query, count);
        loadRows(space.streamed[1], space.stride, STREAM, g, n.H, head, n.D, query, count);
        i64 at = (i64)(query + min(lane, count - 1)) * n.H + head;
        f32 logSum = lse[at], deltaOfQuery = delta[at];
        __syncthreads();
        f32 p[OWN], ds[OWN];
        products(p, space.ownRows(0), space.streamed[0] + lane * space.stride, space.padded);
        products(ds, space.ownRows(1), space.streamed[1] + lane * space.stride, space.padded);
#pragma unroll
        for (int r = 0; r < OWN; r++) {
          bool visible = lane < count && tile.first + first + r <= query + lane + shift;
          p[r] = visible ? expf(scale * p[r] - logSum) : 0;
          ds[r] = p[r] * (ds[r] - deltaOfQuery);
        }
        space.weights(0)[lane] = {p[0], p[1], p[2], p[3]};
        space.weights(1)[lane] = {ds[0], ds[1], ds[2], ds[3]};
        __syncwarp();
        accumulate(dk, space.weights(1), space.streamed[0], space.stride, n.D);
        accumulate(dv, space.weights(0), space.streamed[1], space.stride, n.D);
      }
    }
  }
  f32 scales[OWN] = {scale, scale, scale, scale}, ones[OWN] = {1, 1, 1, 1};
  i64 at = ((i64)tile.first * n.KVH + keyHead) * n.D, stride = (i64)n.KVH * n.D;
  storeRows(dkv + at, dk, scales, tile.count, stride, n.D);
  storeRows(dkv + n.Tk * stride + at, dv, ones, tile.count, stride, n.D);
}

#define ATTENTION(T, _)                                                                                                \
  ENTRY(THREADS, 4) attention_##T(T *o, f32 *lse, const T *q, const T *k, const T *v, const i32 *tiles,                \
                                  const i32 *spans, Sizes n, f32 scale) {                                              \
    forward(o, lse, q, k, v, tiles, spans, n, scale);                                                                  \
  }                                                                                                                    \
  ENTRY(THREADS) attentionGradQuery_##T(T *dq, const T *g, const T *q, const T *k, const T *v, const T *o,             \
                                        const f32 *lse, const i32 *tiles, const i32 *spans, Sizes n, f32 scale) {      \
    gradQuery(dq, g, q, k, v, o, lse, tiles, spans, n, scale);                                                         \
  }                                                                                                                    \
  ENTRY(256) attentionGradKeyValue_##T##_delta(T *, const T *g, const T *, const T *, const T *, const T *o,           \
                                               const f32 *, const i32 *, const i32 *, f32 *delta, Sizes n, f32) {      \
    rowProducts(delta, g, o, n);                                                                                       \
  }                                                                                                                    \
  ENTRY(256) attentionGradKeyValue_##T##_rest(T *dkv, const T *, const T *, const T *, const T *, const T *,           \
                                              const f32 *, const i32 *, const i32 *, f32 *, Sizes n, f32) {            \
    clearRest(dkv, n);                                                                                                 \
  }                                                                                                                    \
  ENTRY(THREADS) attentionGradKeyValue_##T(T *dkv, const T *g, const T *q, const T *k, const T *v, const T *,          \
                                           const f32 *lse, const i32 *tiles, const i32 *spans, const f32 *delta,       \
                                           Sizes n, f32 scale) {                                                       \
    gradKeyValue(dkv, g, q, k, v, lse, tiles, spans, delta, n, scale);                                                 \
  }
COMPUTE_TYPES(ATTENTION, )

#if SM >= 80
#define ATTENTION_MMA(D)                                                                                               \
  ENTRY(mma::THREADS) attention_bf16_mma##D(bf16 *o, f32 *lse, const bf16 *q, const bf16 *k, const bf16 *v,            \
                                            const i32 *tiles, const i32 *spans, Sizes n, f32 scale) {                  \
    mma::forward<D>(o, lse, q, k, v, tiles, spans, n, scale);                                                          \
  }                                                                                                                    \
  ENTRY(mma::THREADS) attentionGradQuery_bf16_mma##D(bf16 *dq, const bf16 *g, const bf16 *q, const bf16 *k,            \
                                                     const bf16 *v, const bf16 *o, const f32 *lse, const i32 *tiles,   \
                                                     const i32 *spans, Sizes n, f32 scale) {                           \
    mma::gradQuery<D>(dq, g, q, k, v, o, lse, tiles, spans, n, scale);                                                 \
  }                                                                                                                    \
  ENTRY(mma::THREADS) attentionGradKeyValue_bf16_mma##D(bf16 *dkv, const bf16 *g, const bf16 *q, const bf16 *k,        \
                                                        const bf16 *v, const bf16 *, const f32 *lse,                   \
                                                        const i32 *tiles, const i32 *spans, const f32 *delta,          \
                                                        Sizes n, f32 scale) {                                          \
    mma::gradKeyValue<D>(dkv, g, q, k, v, lse, tiles, spans, delta, n, scale);                                         \
  }
ATTENTION_MMA(64)
ATTENTION_MMA(128)
#endif
