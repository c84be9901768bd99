// Cross entropy of logits that are all in memory.
#include "loss.cuh"

constexpr int THREADS = 256;

/// lse[r] = log Σ e^z over row r of the logits; a block a row.
template <class T> INLINE void logSumExp(f32 *lse, const T *logits, Targets shape) {
  const T *z = logits + (i64)blockIdx.x * shape.V;
  f32 largest = Max::start, total = 0;
  for (i32 v = threadIdx.x; v < shape.V; v += THREADS) largest = fmaxf(largest, widen(z[v]));
  largest = blockReduce<Max, THREADS>(largest);
  for (i32 v = threadIdx.x; v < shape.V; v += THREADS) total += expf(widen(z[v]) - largest);
  total = blockReduce<Sum, THREADS>(total);
  if (threadIdx.x == 0) lse[blockIdx.x] = largest + logf(total);
}

/// logProbs[i] = z[target i] − lse; a thread a target.
template <class T>
INLINE void logProbs(f32 *logProbs, const f32 *lse, const T *logits, const i32 *targets, Targets shape) {
  i32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= shape.n) return;
  f32 y = NOT_A_NUMBER;
  if (shape.inside(targets, i)) {
    i32 row = shape.row(targets, i);
    y = widen(logits[(i64)row * shape.V + shape.token(targets, i)]) - lse[row];
  }
  logProbs[i] = y;
}

/// g·Σ w·(softmax − onehot) over the targets of a row; a block a row.
template <class T>
INLINE void gradient(T *dLogits, const f32 *g, const T *logits, const i32 *targets, const f32 *weights, const f32 *lse,
                     Targets shape) {
  i32 row = blockIdx.x;
  const T *z = logits + (i64)row * shape.V;
  T *dz = dLogits + (i64)row * shape.V;
  f32 scale = g[0], weight = shape.weightOf<THREADS>(targets, weights, row), logSum = lse[row];
  for (i32 v = threadIdx.x; v < shape.V; v += THREADS) dz[v] = narrow<T>(scale * weight * expf(widen(z[v]) - logSum));
  // A target's column is written once more, whole: several targets may be one token, and a sum is rounded once.
  shape.each<THREADS>(targets, row, [&](i32, i32 token) {
    f32 own = 0;
    shape.share(targets, row, [&](i32 i, i32 other) { own += other == token ? weights[i] : 0; });
    own = blockReduce<Sum, THREADS>(own);
    if (threadIdx.x == 0 && (uint32_t)token < (uint32_t)shape.V)
      dz[token] = narrow<T>(scale * (weight * expf(widen(z[token]) - logSum) - own));
  });
}

#define CROSS_ENTROPY(T, _)                                                                                            \
  ENTRY(THREADS) logProbs_##T##_rows(f32 *, f32 *lse, const T *logits, const i32 *, Targets shape) {                   \
    logSumExp(lse, logits, shape);                                                                                     \
  }                                                                                                                    \
  ENTRY(256) logProbs_##T##_targets(f32 *y, const f32 *lse, const T *logits, const i32 *targets, Targets shape) {      \
    logProbs(y, lse, logits, targets, shape);                                                                          \
  }                                                                                                                    \
  ENTRY(THREADS) crossEntropyGrad_##T(T *dLogits, const f32 *g, const T *logits, const i32 *targets,                   \
                                      const f32 *weights, const f32 *lse, Targets shape) {                             \
    gradient(dLogits, g, logits, targets, weights, lse, shape);                                                        \
  }
COMPUTE_TYPES(CROSS_ENTROPY, )

/// loss = −Σ w·log-probability
ENTRY(THREADS) weightedLoss_f32(f32 *loss, const f32 *logProbs, const f32 *weights, i32 n) {
  f32 sum = 0;
  for (i32 i = threadIdx.x; i < n; i += THREADS) sum -= weights[i] * logProbs[i];
  sum = blockReduce<Sum, THREADS>(sum);
  if (threadIdx.x == 0) loss[0] = sum;
}
