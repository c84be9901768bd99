// Kernels whose threads have a packet of neighbours each: of n elements in a row, or of a row of a matrix.
#pragma once
#include "common.cuh"

/// `run(i, count)` for this thread's elements [i, i + count): N, fewer at the end, none beyond it.
template <int N, class F> INLINE void flatRun(i32 n, F run) {
  i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (i < n) run(i, (i32)min((i64)N, n - i));
}

/// `run(row, c, count)` for this thread's elements [c, c + count) of a row: N, fewer at each row's end.
template <int N, class F> INLINE void rowRun(i64 rows, i32 columns, F run) {
  i32 perRow = (columns + N - 1) / N;
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows * perRow) return;
  i64 row = i / perRow;
  i32 c = (i32)(i - row * perRow) * N;
  run(row, c, min(N, columns - c));
}

/// y[i] = f(x[i] …), 16 bytes a thread.
template <class T, class F, class... X> INLINE void flat(i32 n, F f, T *y, const X *...x) {
  constexpr int N = packetOf<T>;
  flatRun<N>(n, [&](i64 i, i32 count) {
    auto apply = [&](Packet<X, N>... in) {
      Packet<T, N> out;
#pragma unroll
      for (int j = 0; j < N; j++) out.at[j] = narrow<T>(f(widen(in.at[j])...));
      store<N>(y + i, out, count);
    };
    apply(load<N>(x + i, count)...);
  });
}
