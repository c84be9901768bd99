// Targets of a loss over logits [R, V]: i32 [R], a token for each row, or pairs (row, token) [n, 2]; `columns` is 1 or
// 2. What depends on a token outside the logits becomes NaN; a row outside belongs to no row's sums.
#pragma once
#include "common.cuh"

/// The first ints of every launch.
struct Targets {
  i32 R, V, n, columns;

  INLINE i32 row(const i32 *targets, i32 i) const { return columns == 1 ? i : targets[2 * (i64)i]; }
  INLINE i32 token(const i32 *targets, i32 i) const { return targets[(i64)columns * i + columns - 1]; }
  INLINE bool inside(const i32 *targets, i32 i) const {
    return (uint32_t)row(targets, i) < (uint32_t)R && (uint32_t)token(targets, i) < (uint32_t)V;
  }

  /// Calls `visit(i, token)` for those targets of `of` that the threads of the block share out among themselves.
  template <class F> INLINE void share(const i32 *targets, i32 of, F visit) const {
    if (columns == 1) {
      if (threadIdx.x == 0) visit(of, targets[of]);
      return;
    }
    for (i32 i = threadIdx.x; i < n; i += blockDim.x) {
      if (targets[2 * (i64)i] == of) visit(i, targets[2 * (i64)i + 1]);
    }
  }

  /// Calls `visit(i, token)` for each target of row `of`, in ascending order, by all threads of a block of THREADS
  /// together.
  template <int THREADS, class F> INLINE void each(const i32 *targets, i32 of, F visit) const {
    if (columns == 1) {
      visit(of, targets[of]);
      return;
    }
    __shared__ i32 rows[THREADS];
    for (i32 begin = 0; begin < n; begin += THREADS) {
      i32 i = begin + threadIdx.x, own = i < n ? targets[2 * (i64)i] : -1;
      if (!__syncthreads_or(own == of)) continue;
      rows[threadIdx.x] = own;
      __syncthreads();
      for (i32 j = 0; j < THREADS; j++) {
        if (rows[j] == of) visit(begin + j, targets[2 * (i64)(begin + j) + 1]);
      }
      // __syncthreads_or stands between these reads and the next writes.
    }
  }

  /// Σ of the weights of a row's targets, for every thread of the block.
  template <int THREADS> INLINE f32 weightOf(const i32 *targets, const f32 *weights, i32 of) const {
    f32 sum = 0;
    share(targets, of, [&](i32 i, i32 token) { sum += (uint32_t)token < (uint32_t)V ? weights[i] : NOT_A_NUMBER; });
    return blockReduce<Sum, THREADS>(sum);
  }
};
