// Sums over the axes along which a tensor was broadcast. An output is the sum of its R elements of x, cut into pieces of
// `chunk` elements: piece by piece into partial sums [pieces, size], which a second phase adds in order.
#include "broadcast.cuh"

/// Some axes of x: where its element is for each combination of their indices.
struct Axes : Broadcast<1> {
  INLINE i64 offset(uint32_t i) const {
    i64 at[1];
    offsets(i, at);
    return at[0];
  }
};

/// The innermost axis is summed: a warp an output and piece, whose lanes read side by side.
template <class T, class Y>
INLINE void sumRows(Y *out, const T *x, i32 size, i32 R, i32 chunk, const Axes &kept, const Axes &summed) {
  i32 output = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (output >= size) return;
  x += kept.offset(output);
  f32 sum = 0;
  i32 begin = blockIdx.y * chunk, end = min((i64)begin + chunk, (i64)R);
  for (i32 r = begin + threadIdx.x % 32; r < end; r += 32) sum += widen(x[summed.offset(r)]);
  sum = warpReduce<Sum>(sum);
  if (threadIdx.x % 32 == 0) out[(i64)blockIdx.y * size + output] = narrow<Y>(sum);
}

/// The innermost axis is kept: a thread an output and piece.
template <class T, class Y>
INLINE void sumColumns(Y *out, const T *x, i32 size, i32 R, i32 chunk, const Axes &kept, const Axes &summed) {
  i32 output = blockIdx.x * blockDim.x + threadIdx.x;
  if (output >= size) return;
  x += kept.offset(output);
  f32 sum = 0;
  i32 begin = blockIdx.y * chunk, end = min((i64)begin + chunk, (i64)R);
  for (i32 r = begin; r < end; r++) sum += widen(x[summed.offset(r)]);
  out[(i64)blockIdx.y * size + output] = narrow<Y>(sum);
}

#define SUM_TO(T, SHAPE, RUN)                                                                                          \
  ENTRY(256) sumTo_##T##_##SHAPE(T *y, const T *x, f32 *, i32 size, i32 R, i32 chunk, Axes kept, Axes summed) {        \
    RUN(y, x, size, R, chunk, kept, summed);                                                                           \
  }                                                                                                                    \
  ENTRY(256) sumTo_##T##_##SHAPE##_partial(T *, const T *x, f32 *partial, i32 size, i32 R, i32 chunk, Axes kept,       \
                                           Axes summed) {                                                              \
    RUN(partial, x, size, R, chunk, kept, summed);                                                                     \
  }
COMPUTE_TYPES(SUM_TO, rows, sumRows)
COMPUTE_TYPES(SUM_TO, columns, sumColumns)

#define ADD_PARTIALS(T, _)                                                                                             \
  ENTRY(256) sumTo_##T##_total(T *y, const T *, const f32 *partial, i32 size, i32 pieces) {                            \
    i32 output = blockIdx.x * blockDim.x + threadIdx.x;                                                                \
    if (output >= size) return;                                                                                        \
    f32 sum = 0;                                                                                                       \
    for (i32 p = 0; p < pieces; p++) sum += partial[(i64)p * size + output];                                           \
    y[output] = narrow<T>(sum);                                                                                        \
  }
COMPUTE_TYPES(ADD_PARTIALS, )
