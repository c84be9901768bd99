// Kernels that give each row of C columns to a group of threads: a warp, or a block where the row is long (`rowwise` in
// table.ts, by C alone). GROUP is the number of threads in it.
#pragma once
#include "common.cuh"

constexpr int WARP = 32;
/// Threads of the block that a long row has to itself.
constexpr int BLOCK = 128;

/// ENTRY for both kinds of group: KERNEL(T, NAME, GROUP, SUFFIX).
#define ROWWISE(T, KERNEL, ...) KERNEL(T, WARP, warp, __VA_ARGS__) KERNEL(T, BLOCK, block, __VA_ARGS__)

/// The row of this thread's group. Beyond the last row only whole warps are, and they may return.
template <int GROUP> INLINE i64 groupRow() { return ((i64)blockIdx.x * BLOCK + threadIdx.x) / GROUP; }

template <int GROUP> INLINE bool isFirst() { return threadIdx.x % GROUP == 0; }

/// Over the group; every thread gets the result. The order depends on GROUP alone.
template <class Op, int GROUP, class V> INLINE V groupReduce(V x) {
  if constexpr (GROUP == WARP) return warpReduce<Op>(x);
  return blockReduce<Op, GROUP>(x);
}

/// `run(c, count)` for the columns [c, c + count) of this thread, N neighbours at a time.
template <int GROUP, int N, class F> INLINE void eachColumns(i32 C, F run) {
  for (i64 c = threadIdx.x % GROUP * N; c < C; c += GROUP * N) run(c, (i32)min((i64)N, C - c));
}
