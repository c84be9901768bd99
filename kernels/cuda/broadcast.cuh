// Elements of an output and where each broadcast input has its value for them (`collapse` in engine/ops/elementwise.ts).
#pragma once
#include "common.cuh"

/// As table.ts packs it: the last `rank` places of each array are used. The innermost strides are 0 or 1.
constexpr int MAX_RANK = 6;
template <int INPUTS> struct Broadcast {
  i32 rank;
  i32 extents[MAX_RANK];
  i32 strides[INPUTS][MAX_RANK];

  INLINE i32 elements() const {
    i32 n = 1;
#pragma unroll
    for (int axis = 0; axis < MAX_RANK; axis++) n *= extents[axis];
    return n;
  }

  /// The inputs' elements for element i of the output.
  INLINE void offsets(uint32_t i, i64 (&at)[INPUTS]) const {
#pragma unroll
    for (int k = 0; k < INPUTS; k++) at[k] = 0;
#pragma unroll
    for (int axis = MAX_RANK - 1; axis >= 0; axis--) {
      if (axis < MAX_RANK - rank) break;
      uint32_t extent = extents[axis], index = i % extent;
      i /= extent;
#pragma unroll
      for (int k = 0; k < INPUTS; k++) at[k] += (i64)index * strides[k][axis];
    }
  }
};

/// N elements of an input that lie side by side, or are one and the same.
template <int N, class T> INLINE Packet<T, N> loadRun(const T *x, i32 stride) {
  if (stride != 0) return load<N>(x);
  Packet<T, N> packet;
  T value = *x;
#pragma unroll
  for (int j = 0; j < N; j++) packet.at[j] = value;
  return packet;
}

/// What a thread does of y = f(inputs): N neighbouring elements, whose offsets are computed once where they lie in one row.
/// `run(i, count, at)` computes elements [i, i + count) from the offsets of the first; count is N or 1.
template <int N, int INPUTS, class F> INLINE void broadcastRuns(const Broadcast<INPUTS> &shape, F run) {
  uint32_t n = shape.elements(), i = (blockIdx.x * blockDim.x + threadIdx.x) * N;
  i64 at[INPUTS];
  if (i >= n) return;
  uint32_t row = shape.extents[MAX_RANK - 1];
  if (i % row + N <= row) {
    shape.offsets(i, at);
    run(i, N, at);
  } else {
    for (uint32_t end = min(i + N, n); i < end; i++) {
      shape.offsets(i, at);
      run(i, 1, at);
    }
  }
}
