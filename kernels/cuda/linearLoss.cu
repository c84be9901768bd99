// Log-probabilities of targets under softmax(h·Wᵀ) and, with the loss Σ w·(lse − z[target]), the gradient for h. Logits
// exist for a chunk of the vocabulary at a time. Phases for each chunk:
//
//   widen    the chunk's rows of W in the compute type, unless they are stored so
//   logits   z = h·Wᵀ
//   carry    the targets' z are written out; largest logit m, total l = Σ e^(z−m) so far, for the gradient e = e^(z−m)
//   sums     a = a·shrink + e·W, where shrink is e^(m before − m) (the running softmax of attention); in `pieces`
//            sums, each over a part of every chunk
//
// and at last `rows`: lse and dh = share·Σ a/l − Σ w·W[token], then `targets`: log-probabilities.
#include "loss.cuh"
#include "mma.cuh"

constexpr int THREADS = 256;

/// f32 is multiplied as it is on sm_75 too: by what a logit is rounded, a log-probability is off.
template <class T> struct LossTileFor : TileFor<T> {};
template <> struct LossTileFor<f32> {
  typedef PlainTile type;
};
template <class T> using LossTile = typename LossTileFor<T>::type;

/// ints of every phase. The last ones say where in the scratch memory, in units of 256 bytes, things begin: W's chunk
/// (−1: it is not widened), z [R, count], e [R, count], a [pieces, R, C]. m, l and shrink [R] stand at its beginning.
struct Chunk {
  Targets shape;
  i32 C, begin, count, pieces, widened, z, e, a;

  template <class X> INLINE X *at(char *scratch, i32 offset) const {
    return reinterpret_cast<X *>(scratch + (i64)offset * 256);
  }
  INLINE f32 *largest(char *scratch) const { return reinterpret_cast<f32 *>(scratch); }
  INLINE f32 *total(char *scratch) const { return largest(scratch) + shape.R; }
  INLINE f32 *shrink(char *scratch) const { return total(scratch) + shape.R; }
  template <class T, class W> INLINE const T *weight(const W *w, char *scratch) const {
    return widened < 0 ? reinterpret_cast<const T *>(w) + (i64)begin * C : at<T>(scratch, widened);
  }
};

template <class T, class W> INLINE void widenChunk(const W *w, char *scratch, const Chunk &chunk) {
  copyRows(chunk.at<T>(scratch, chunk.widened), Weight<W>{w, chunk.shape.V, chunk.C}, chunk.count,
           [=](i64 r) { return (uint64_t)(chunk.begin + r); });
}

template <bool ASYNC, class T> INLINE void logits(const T *h, const T *w, char *scratch, const Chunk &chunk) {
  i32 R = chunk.shape.R, C = chunk.C, count = chunk.count;
  f32 *z = chunk.at<f32>(scratch, chunk.z);
  Stored<T> left{h, R, C}, right{w, count, C};
  product<true, true, ASYNC>(LossTile<T>(R, count), left, right, R, count, C, [=](i32 row, i32 v, const Four &sums) {
    storeFour(z + row * (i64)count + v, sums, count - v);
  });
}

/// A block a row of z. Only for the gradient is there an e.
template <class T, bool GRAD> INLINE void carry(f32 *logProbs, const i32 *targets, char *scratch, const Chunk &chunk) {
  i32 row = blockIdx.x;
  f32 *z = chunk.at<f32>(scratch, chunk.z) + (i64)row * chunk.count;
  f32 *largest = chunk.largest(scratch) + row, *total = chunk.total(scratch) + row;
  chunk.shape.share(targets, row, [&](i32 i, i32 token) {
    uint32_t column = token - chunk.begin;
    if (column < (uint32_t)chunk.count) logProbs[i] = z[column];
  });
  f32 before = chunk.begin > 0 ? *largest : Max::start, now = before, sum = 0;
  for (i32 v = threadIdx.x; v < chunk.count; v += THREADS) now = fmaxf(now, z[v]);
  now = blockReduce<Max, THREADS>(now);
  for (i32 v = threadIdx.x; v < chunk.count; v += THREADS) {
    f32 e = expf(z[v] - now);
    sum += e;
    if (GRAD) chunk.at<T>(scratch, chunk.e)[(i64)row * chunk.count + v] = narrow<T>(e);
  }
  sum = blockReduce<Sum, THREADS>(sum);
  if (threadIdx.x == 0) {
    f32 shrink = chunk.begin > 0 ? expf(before - now) : 0;
    *largest = now;
    *total = chunk.begin > 0 ? *total * shrink + sum : sum;
    chunk.shrink(scratch)[row] = shrink;
  }
}

template <bool ASYNC, class T> INLINE void addRows(const T *w, char *scratch, const Chunk &chunk) {
  i32 R = chunk.shape.R, C = chunk.C, count = chunk.count, parts = chunk.pieces * 32;
  i32 length = (count + parts - 1) / parts * 32;
  i32 begin = min(count, (i32)blockIdx.y * length), end = min(count, begin + length);
  bool first = chunk.begin == 0;
  const f32 *shrink = chunk.shrink(scratch);
  f32 *a = chunk.at<f32>(scratch, chunk.a) + (i64)blockIdx.y * R * C;
  Stored<T> left{chunk.at<T>(scratch, chunk.e), R, count}, right{w, count, C};
  auto add = [=](i32 row, i32 c, const Four &sums) {
    f32 *to = a + row * (i64)C + c;
    Four before = load<4>(to, first ? 0 : C - c);
    storeFour(to, four([&](int j) { return before.at[j] * shrink[row] + sums.at[j]; }), C - c);
  };
  product<true, false, ASYNC>(LossTile<T>(R, C), left, right, R, C, Range(begin, end), add);
}

/// lse; a thread a row.
INLINE void rows(f32 *lse, char *scratch, const Chunk &chunk) {
  i32 row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row < chunk.shape.R) lse[row] = chunk.largest(scratch)[row] + logf(chunk.total(scratch)[row]);
}

/// lse and dh; a block a row and 4·THREADS columns. W[token] is rounded as it was in the sums, so that what a sure row
/// gains and loses cancels.
template <class T, class W>
INLINE void gradRows(f32 *lse, f32 *dh, const W *w, const i32 *targets, const f32 *weights, char *scratch,
                     const Chunk &chunk) {
  i32 row = blockIdx.x, C = chunk.C, c = (blockIdx.y * THREADS + threadIdx.x) * 4, count = max(0, min(4, C - c));
  f32 total = chunk.total(scratch)[row], share = chunk.shape.weightOf<THREADS>(targets, weights, row) / total;
  Four y = {};
  for (i32 piece = 0; piece < chunk.pieces; piece++) {
    const f32 *a = chunk.at<f32>(scratch, chunk.a) + ((i64)piece * chunk.shape.R + row) * C;
    Four x = load<4>(a + c, count);
#pragma unroll
    for (int j = 0; j < 4; j++) y.at[j] += share * x.at[j];
  }
  chunk.shape.each<THREADS>(targets, row, [&](i32 i, i32 token) {
    if ((uint32_t)token >= (uint32_t)chunk.shape.V || count == 0) return;
    Four x = Weight<W>{w, chunk.shape.V, C}.at(token, c);
#pragma unroll
    for (int j = 0; j < 4; j++) y.at[j] -= weights[i] * widen(narrow<T>(x.at[j]));
  });
  store<4>(dh + (i64)row * C + c, y, count);
  if (c == 0) lse[row] = chunk.largest(scratch)[row] + logf(total);
}

/// What `carry` left, minus lse; a thread a target.
INLINE void logProbabilities(f32 *logProbs, const f32 *lse, const i32 *targets, const Chunk &chunk) {
  i32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= chunk.shape.n) return;
  bool inside = chunk.shape.inside(targets, i);
  logProbs[i] = inside ? logProbs[i] - lse[chunk.shape.row(targets, i)] : NOT_A_NUMBER;
}

#define PLAIN(H, W)                                                                                                    \
  (f32 * logProbs, f32 * lse, const H *h, const W *w, const i32 *targets, char *scratch, Chunk chunk)
#define WITH_GRAD(H, W)                                                                                                \
  (f32 * logProbs, f32 * lse, f32 * dh, const H *h, const W *w, const i32 *targets, const f32 *weights, char *scratch, \
   Chunk chunk)

#define WIDEN(T, W)                                                                                                    \
  ENTRY(256) linearLogProbs_##T##_widen_##W PLAIN(T, W) { widenChunk<T>(w, scratch, chunk); }                          \
  ENTRY(256) linearLogProbsGrad_##T##_widen_##W WITH_GRAD(T, W) { widenChunk<T>(w, scratch, chunk); }
#define ROWS(T, W)                                                                                                     \
  ENTRY(THREADS) linearLogProbsGrad_##T##_rows_##W WITH_GRAD(void, W) {                                                \
    gradRows<T>(lse, dh, w, targets, weights, scratch, chunk);                                                         \
  }
#define CARRY(T, _)                                                                                                    \
  ENTRY(THREADS) linearLogProbsGrad_##T##_carry WITH_GRAD(void, void) {                                                \
    carry<T, true>(logProbs, targets, scratch, chunk);                                                                 \
  }
#define PRODUCTS(T, SUFFIX, ASYNC)                                                                                     \
  ENTRY(LossTile<T>::THREADS) linearLogProbs_##T##_logits##SUFFIX PLAIN(T, void) {                                     \
    logits<ASYNC>(h, chunk.weight<T>(w, scratch), scratch, chunk);                                                     \
  }                                                                                                                    \
  ENTRY(LossTile<T>::THREADS) linearLogProbsGrad_##T##_logits##SUFFIX WITH_GRAD(T, void) {                             \
    logits<ASYNC>(h, chunk.weight<T>(w, scratch), scratch, chunk);                                                     \
  }                                                                                                                    \
  ENTRY(LossTile<T>::THREADS) linearLogProbsGrad_##T##_sums##SUFFIX WITH_GRAD(void, void) {                            \
    addRows<ASYNC>(chunk.weight<T>(w, scratch), scratch, chunk);                                                       \
  }

COMPUTE_TYPES(CARRY, )
PRODUCTS(f32, , false)
ENTRY(THREADS) linearLogProbs_carry PLAIN(void, void) { carry<f32, false>(logProbs, targets, scratch, chunk); }
ENTRY(256) linearLogProbs_rows PLAIN(void, void) { rows(lse, scratch, chunk); }
ENTRY(256) linearLogProbs_targets PLAIN(void, void) { logProbabilities(logProbs, lse, targets, chunk); }
ENTRY(256) linearLogProbsGrad_targets WITH_GRAD(void, void) { logProbabilities(logProbs, lse, targets, chunk); }
WEIGHT_TYPES(ROWS, f32)
// Each type but the compute type itself, of which rows are read in place.
WIDEN(f32, f16)
WIDEN(f32, bf16)
BLOCK_TYPES(WIDEN, f32)
#if SM >= 80
PRODUCTS(bf16, , false)
PRODUCTS(bf16, _async, true)
WEIGHT_TYPES(ROWS, bf16)
WIDEN(bf16, f32)
WIDEN(bf16, f16)
BLOCK_TYPES(WIDEN, bf16)
#endif
