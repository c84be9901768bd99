// Elementwise kernels: flat ones over n elements, and broadcast ones. Arithmetic is f32 whatever the elements are.
// Comparisons follow IEEE and give i32: with NaN only `ne` holds.
#include "broadcast.cuh"
#include "flat.cuh"

#define UNARY(T, NAME, F)                                                                                              \
  ENTRY(256) NAME##_##T(T *y, const T *x, i32 n) {                                                                     \
    flat(n, [](f32 x) { return F; }, y, x);                                                                            \
  }
#define ERF_SCALE 0.70710678118654752f
COMPUTE_TYPES(UNARY, neg, -x)
COMPUTE_TYPES(UNARY, abs, fabsf(x))
COMPUTE_TYPES(UNARY, exp, expf(x))
COMPUTE_TYPES(UNARY, log, logf(x))
COMPUTE_TYPES(UNARY, sqrt, sqrtf(x))
COMPUTE_TYPES(UNARY, rsqrt, 1 / sqrtf(x))
COMPUTE_TYPES(UNARY, tanh, tanhf(x))
COMPUTE_TYPES(UNARY, sigmoid, 1 / (1 + expf(-x)))
COMPUTE_TYPES(UNARY, silu, x / (1 + expf(-x)))
// NaN stays NaN: fmaxf would drop it.
COMPUTE_TYPES(UNARY, relu, x < 0 ? 0 : x)
COMPUTE_TYPES(UNARY, normalCdf, 0.5f * erfcf(-ERF_SCALE * x))
COMPUTE_TYPES(UNARY, gelu, x * (0.5f * erfcf(-ERF_SCALE * x)))

#define CLAMP(T, _)                                                                                                    \
  ENTRY(256) clamp_##T(T *y, const T *x, i32 n, f32 lo, f32 hi) {                                                      \
    flat(n, [=](f32 x) { return x < lo ? lo : x > hi ? hi : x; }, y, x);                                               \
  }
COMPUTE_TYPES(CLAMP, )

#define FILL(T, _)                                                                                                     \
  ENTRY(256) fill_##T(T *y, i32 n, f32 value) {                                                                        \
    flat(n, [=]() { return value; }, y);                                                                               \
  }
COMPUTE_TYPES(FILL, )

#define ACCUMULATE(T, _)                                                                                               \
  ENTRY(256) accumulate_##T(T *a, const T *b, i32 n) {                                                                 \
    flat(n, [](f32 a, f32 b) { return a + b; }, a, (const T *)a, b);                                                   \
  }
COMPUTE_TYPES(ACCUMULATE, )

template <class Y, class T, class F>
INLINE void binary(const Broadcast<2> &shape, F f, Y *y, const T *a, const T *b) {
  constexpr int N = 4, inner = MAX_RANK - 1;
  broadcastRuns<N>(shape, [&](uint32_t i, i32 count, const i64(&at)[2]) {
    if (count == 1) {
      y[i] = narrow<Y>(f(widen(a[at[0]]), widen(b[at[1]])));
      return;
    }
    Packet<T, N> left = loadRun<N>(a + at[0], shape.strides[0][inner]);
    Packet<T, N> right = loadRun<N>(b + at[1], shape.strides[1][inner]);
    Packet<Y, N> out;
#pragma unroll
    for (int j = 0; j < N; j++) out.at[j] = narrow<Y>(f(widen(left.at[j]), widen(right.at[j])));
    store<N>(y + i, out);
  });
}

#define BINARY(T, NAME, F)                                                                                             \
  ENTRY(256) NAME##_##T(T *y, const T *a, const T *b, Broadcast<2> shape) {                                            \
    binary(shape, [](f32 a, f32 b) { return F; }, y, a, b);                                                            \
  }
COMPUTE_TYPES(BINARY, add, a + b)
COMPUTE_TYPES(BINARY, sub, a - b)
COMPUTE_TYPES(BINARY, mul, a *b)
COMPUTE_TYPES(BINARY, div, a / b)
COMPUTE_TYPES(BINARY, pow, powf(a, b))

#define COMPARE(T, NAME, OPERATOR)                                                                                     \
  ENTRY(256) NAME##_##T(i32 *y, const T *a, const T *b, Broadcast<2> shape) {                                          \
    binary(shape, [](f32 a, f32 b) { return a OPERATOR b ? 1.0f : 0.0f; }, y, a, b);                                   \
  }
COMPUTE_TYPES(COMPARE, eq, ==)
COMPUTE_TYPES(COMPARE, ne, !=)
COMPUTE_TYPES(COMPARE, lt, <)
COMPUTE_TYPES(COMPARE, le, <=)
COMPUTE_TYPES(COMPARE, gt, >)
COMPUTE_TYPES(COMPARE, ge, >=)

/// a where the condition is not 0, else b: bits are moved, not numbers.
#define WHERE(T, _)                                                                                                    \
  ENTRY(256) where_##T(T *y, const i32 *condition, const T *a, const T *b, Broadcast<3> shape) {                       \
    broadcastRuns<1>(shape, [&](uint32_t i, i32, const i64(&at)[3]) {                                                  \
      y[i] = condition[at[0]] != 0 ? a[at[1]] : b[at[2]];                                                              \
    });                                                                                                                \
  }
COMPUTE_TYPES(WHERE, )
