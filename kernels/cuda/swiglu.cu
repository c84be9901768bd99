// The gated activation of LLaMA's MLP.
#include "flat.cuh"

#define SWIGLU(T, _)                                                                                                   \
  ENTRY(256) swiglu_##T(T *y, const T *gate, const T *up, i32 n) {                                                     \
    flat(n, [](f32 gate, f32 up) { return gate / (1 + expf(-gate)) * up; }, y, gate, up);                              \
  }
COMPUTE_TYPES(SWIGLU, )

template <class T> INLINE void swigluGrad(T *dGate, T *dUp, const T *g, const T *gate, const T *up, i32 n) {
  constexpr int N = packetOf<T>;
  flatRun<N>(n, [&](i64 i, i32 count) {
    Packet<T, N> gs = load<N>(g + i, count), gates = load<N>(gate + i, count), ups = load<N>(up + i, count);
    Packet<T, N> dGates, dUps;
#pragma unroll
    for (int j = 0; j < N; j++) {
      f32 g = widen(gs.at[j]), x = widen(gates.at[j]), sigmoid = 1 / (1 + expf(-x));
      dGates.at[j] = narrow<T>(g * widen(ups.at[j]) * sigmoid * (1 + x * (1 - sigmoid)));
      dUps.at[j] = narrow<T>(g * x * sigmoid);
    }
    store<N>(dGate + i, dGates, count);
    store<N>(dUp + i, dUps, count);
  });
}

#define SWIGLU_GRAD(T, _)                                                                                              \
  ENTRY(256) swigluGrad_##T(T *dGate, T *dUp, const T *g, const T *gate, const T *up, i32 n) {                         \
    swigluGrad(dGate, dUp, g, gate, up, n);                                                                            \
  }
COMPUTE_TYPES(SWIGLU_GRAD, )
