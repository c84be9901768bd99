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
#include "weight.cuh"

constexpr int THREADS = 256, TILE = 64, DEPTH = 16;

/// ints of every phase. The last ones say where in the scratch memory, in units of 256 bytes, things begin: W's chunk
/// (−1: it is not widened), z [R, capacity], e [R, capacity], a [pieces, R, C]. m, l and shrink [R] stand at its
/// beginning.
struct Chunk {
  Targets shape;
  i32 C, begin, count, capacity, pieces, widened, z, e, a;

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
  i32 packets = (chunk.C + 3) / 4;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)chunk.count * packets) return;
  i64 row = i / packets;
  i32 c = (i32)(i - row * packets) * 4;
  Four from = Weight<W>{w, chunk.shape.V, chunk.C}.at(chunk.begin + row, c);
  Packet<T, 4> to;
#pragma unroll
  for (int j = 0; j < 4; j++) to.at[j] = narrow<T>(from.at[j]);
  store<4>(chunk.at<T>(scratch, chunk.widened) + row * chunk.C + c, to, chunk.C - c);
}

/// An operand of a product, DEPTH × TILE in shared memory.
typedef float4 Operand[DEPTH][TILE / 4 + 1];

/// From rows that lie along the depth: x [rows, stride], of which [row, …) × [k, depth) are read.
template <class T> INLINE void loadAlong(Operand &to, const T *x, i32 stride, i32 row, i32 rows, i32 k, i32 depth) {
  i32 r = threadIdx.x / 4, d = threadIdx.x % 4 * 4;
  bool inside = row + r < rows;
  Packet<T, 4> from = load<4>(x + (inside ? (i64)(row + r) * stride + k + d : 0), inside ? depth - k - d : 0);
#pragma unroll
  for (int j = 0; j < 4; j++) reinterpret_cast<f32 *>(to[d + j])[r] = widen(from.at[j]);
}

/// From rows that lie across it: x [depth, columns], of which [k, depth) × [column, …) are read.
template <class T> INLINE void loadAcross(Operand &to, const T *x, i32 columns, i32 column, i32 k, i32 depth) {
  i32 d = threadIdx.x / 16, c = threadIdx.x % 16 * 4;
  bool inside = k + d < depth;
  i64 at = inside ? (i64)(k + d) * columns + column + c : 0;
  Packet<T, 4> from = load<4>(x + at, inside ? columns - column - c : 0);
  to[d][c / 4] = {widen(from.at[0]), widen(from.at[1]), widen(from.at[2]), widen(from.at[3])};
}

/// A tile of a product over the depth [k, end), each thread 4 × 4 of it: `loadA(k)`, `loadB(k)` fill a step's operands,
/// `store(row, column, sums)` takes four neighbours.
template <class A, class B, class S>
INLINE void product(i32 k, i32 end, Operand &a, Operand &b, A loadA, B loadB, S store) {
  i32 y = threadIdx.x / 16, x = threadIdx.x % 16;
  f32 sums[4][4] = {};
  for (; k < end; k += DEPTH) {
    loadA(k);
    loadB(k);
    __syncthreads();
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      float4 u = a[d][y], v = b[d][x];
      f32 left[4] = {u.x, u.y, u.z, u.w}, right[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; i++) store(y * 4 + i, x * 4, sums[i]);
}

template <class T> INLINE void logits(const T *h, const T *w, char *scratch, const Chunk &chunk) {
  __shared__ Operand a, b;
  i32 row = blockIdx.x * TILE, column = blockIdx.y * TILE, C = chunk.C;
  f32 *z = chunk.at<f32>(scratch, chunk.z);
  product(
      0, C, a, b, [&](i32 k) { loadAlong(a, h, C, row, chunk.shape.R, k, C); },
      [&](i32 k) { loadAlong(b, w, C, column, chunk.count, k, C); },
      [&](i32 r, i32 c, const f32(&sums)[4]) {
        for (int j = 0; j < 4; j++) {
          if (row + r < chunk.shape.R && column + c + j < chunk.count)
            z[(i64)(row + r) * chunk.capacity + column + c + j] = sums[j];
        }
      });
}

/// A block a row of z. Only for the gradient is there an e.
template <class T, bool GRAD> INLINE void carry(f32 *logProbs, const i32 *targets, char *scratch, const Chunk &chunk) {
  i32 row = blockIdx.x;
  f32 *z = chunk.at<f32>(scratch, chunk.z) + (i64)row * chunk.capacity;
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
    if (GRAD) chunk.at<T>(scratch, chunk.e)[(i64)row * chunk.capacity + v] = narrow<T>(e);
  }
  sum = blockReduce<Sum, THREADS>(sum);
  if (threadIdx.x == 0) {
    f32 shrink = chunk.begin > 0 ? expf(before - now) : 0;
    *largest = now;
    *total = chunk.begin > 0 ? *total * shrink + sum : sum;
    chunk.shrink(scratch)[row] = shrink;
  }
}

template <class T> INLINE void addRows(const T *w, char *scratch, const Chunk &chunk) {
  __shared__ Operand a, b;
  i32 row = blockIdx.x * TILE, column = blockIdx.y * TILE, C = chunk.C, R = chunk.shape.R;
  // Whole steps, so that a piece begins where 16-byte packets do.
  i32 length = (chunk.count + chunk.pieces * DEPTH - 1) / (chunk.pieces * DEPTH) * DEPTH;
  i32 begin = min(chunk.count, (i32)blockIdx.z * length), end = min(chunk.count, begin + length);
  const T *e = chunk.at<T>(scratch, chunk.e);
  const f32 *shrink = chunk.shrink(scratch);
  f32 *sum = chunk.at<f32>(scratch, chunk.a) + (i64)blockIdx.z * R * C;
  product(
      begin, end, a, b, [&](i32 k) { loadAlong(a, e, chunk.capacity, row, R, k, end); },
      [&](i32 k) { loadAcross(b, w, C, column, k, end); },
      [&](i32 r, i32 c, const f32(&sums)[4]) {
        for (int j = 0; j < 4; j++) {
          if (row + r >= R || column + c + j >= C) continue;
          f32 &to = sum[(i64)(row + r) * C + column + c + j];
          to = chunk.begin > 0 ? to * shrink[row + r] + sums[j] : sums[j];
        }
      });
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
#define CHUNKS(T, _)                                                                                                   \
  ENTRY(THREADS) linearLogProbs_##T##_logits PLAIN(T, void) {                                                          \
    logits<T>(h, chunk.weight<T>(w, scratch), scratch, chunk);                                                         \
  }                                                                                                                    \
  ENTRY(THREADS) linearLogProbsGrad_##T##_logits WITH_GRAD(T, void) {                                                  \
    logits<T>(h, chunk.weight<T>(w, scratch), scratch, chunk);                                                         \
  }                                                                                                                    \
  ENTRY(THREADS) linearLogProbsGrad_##T##_carry WITH_GRAD(void, void) {                                                \
    carry<T, true>(logProbs, targets, scratch, chunk);                                                                 \
  }                                                                                                                    \
  ENTRY(THREADS) linearLogProbsGrad_##T##_sums WITH_GRAD(void, void) {                                                 \
    addRows<T>(chunk.weight<T>(w, scratch), scratch, chunk);                                                           \
  }

COMPUTE_TYPES(CHUNKS, )
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
WEIGHT_TYPES(ROWS, bf16)
WIDEN(bf16, f32)
WIDEN(bf16, f16)
BLOCK_TYPES(WIDEN, bf16)
#endif
