// Optimizer steps, in place on flat parameters.
#include "flat.cuh"

/// What changes every step; engine/ops/optimizer.ts explains the slots.
struct State {
  f32 lr, biasCorrection1, biasCorrection2, norm, clip, bad, loss, unused;
};

constexpr int THREADS = 256;

/// partial[block] = Σ g² of the block's `chunk` elements, in float64.
ENTRY(THREADS) globalNorm_f32_squares(State *, const f32 *g, double *partial, i32 n, i32 chunk, f32) {
  constexpr int N = 4;
  i64 begin = (i64)blockIdx.x * chunk, end = min(begin + chunk, (i64)n);
  double sum = 0;
  for (i64 i = begin + threadIdx.x * N; i < end; i += THREADS * N) {
    Packet<f32, N> packet = load<N>(g + i, (i32)min((i64)N, end - i));
#pragma unroll
    for (int j = 0; j < N; j++) sum += (double)packet.at[j] * packet.at[j];
  }
  sum = blockReduce<Sum, THREADS>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// Writes the norm and the factor that clips the gradient, and raises the flag when norm or loss is not finite.
ENTRY(THREADS) globalNorm_f32_finish(State *state, const f32 *, const double *partial, i32 pieces, f32 maxNorm) {
  double sum = 0;
  for (i32 i = threadIdx.x; i < pieces; i += THREADS) sum += partial[i];
  double norm = sqrt(blockReduce<Sum, THREADS>(sum));
  if (threadIdx.x != 0) return;
  state->norm = (f32)norm;
  state->clip = (f32)fmin(1.0, maxNorm / (norm + 1e-6));
  if (!isfinite(state->norm) || !isfinite(state->loss)) state->bad = 1;
}

ENTRY(THREADS) adamwStep_f32(f32 *p, f32 *m, f32 *v, const f32 *g, const State *state, i32 n, f32 rest1, f32 beta2,
                             f32 rest2, f32 eps, f32 weightDecay, f32 lrScale) {
  if (state->bad != 0) return;
  f32 clip = state->clip, lr = state->lr * lrScale, keep = 1 - lr * weightDecay;
  f32 step = lr / state->biasCorrection1, root = sqrtf(state->biasCorrection2);
  constexpr int N = 4;
  flatRun<N>(n, [&](i64 i, i32 count) {
    Packet<f32, N> ps = load<N>(p + i, count), ms = load<N>(m + i, count), vs = load<N>(v + i, count);
    Packet<f32, N> gs = load<N>(g + i, count);
#pragma unroll
    for (int j = 0; j < N; j++) {
      f32 gradient = gs.at[j] * clip;
      ms.at[j] += rest1 * (gradient - ms.at[j]);
      vs.at[j] = beta2 * vs.at[j] + rest2 * (gradient * gradient);
      ps.at[j] = ps.at[j] * keep - step * (ms.at[j] / (sqrtf(vs.at[j]) / root + eps));
    }
    store<N>(p + i, ps, count);
    store<N>(m + i, ms, count);
    store<N>(v + i, vs, count);
  });
}

ENTRY(THREADS) sgdStep_f32(f32 *p, f32 *buffer, const f32 *g, const State *state, i32 n, f32 momentum, f32 weightDecay,
                           f32 lrScale, f32 nesterov) {
  if (state->bad != 0) return;
  f32 clip = state->clip, lr = state->lr * lrScale;
  constexpr int N = 4;
  flatRun<N>(n, [&](i64 i, i32 count) {
    Packet<f32, N> ps = load<N>(p + i, count), buffers = load<N>(buffer + i, count), gs = load<N>(g + i, count);
#pragma unroll
    for (int j = 0; j < N; j++) {
      f32 d = gs.at[j] * clip + weightDecay * ps.at[j];
      f32 velocity = buffers.at[j] = momentum * buffers.at[j] + d;
      // Nesterov's looks one step ahead.
      ps.at[j] -= lr * (nesterov != 0 ? d + momentum * velocity : velocity);
    }
    store<N>(p + i, ps, count);
    store<N>(buffer + i, buffers, count);
  });
}
