// What all kernels share: element types, 16-byte packets, reductions in a fixed order.
// SM (75 or 80) is set by build.mjs. Counts are i32; products of counts and byte offsets are 64-bit.
#pragma once
#include <stdint.h>

typedef float f32;
typedef int32_t i32;
typedef int64_t i64;
/// Bit patterns; arithmetic is done in f32.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

#define INLINE __device__ __forceinline__
/// Head of a kernel: the ABI's name, a fixed number of threads and, where ptxas would rather spill than take more registers,
/// how many blocks a multiprocessor is to hold.
#define ENTRY(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

/// KERNEL(T, …) for every type activations come in; sm_75 has no bf16.
#if SM >= 80
#define COMPUTE_TYPES(KERNEL, ...) KERNEL(f32, __VA_ARGS__) KERNEL(bf16, __VA_ARGS__)
#else
#define COMPUTE_TYPES(KERNEL, ...) KERNEL(f32, __VA_ARGS__)
#endif

#define NOT_A_NUMBER __int_as_float(0x7fc00000)

// Conversions

INLINE f32 widen(f32 x) { return x; }
INLINE f32 widen(i32 x) { return (f32)x; }
INLINE f32 widen(bf16 x) { return __uint_as_float((uint32_t)x.bits << 16); }
INLINE f32 widen(f16 x) {
  f32 y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

/// To the nearest value of type T, ties to even.
template <class T> INLINE T narrow(f32 x);
template <> INLINE f32 narrow<f32>(f32 x) { return x; }
template <> INLINE i32 narrow<i32>(f32 x) { return (i32)x; }
template <> INLINE f16 narrow<f16>(f32 x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
#if SM >= 80
template <> INLINE bf16 narrow<bf16>(f32 x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
#endif

// Packets: N neighbouring elements, moved by one access where their address allows it

template <class T, int N> struct alignas(N * sizeof(T) <= 16 ? N * sizeof(T) : 16) Packet {
  T at[N];
};

template <class T, int N> INLINE bool aligned(const T *p) {
  return ((uintptr_t)p & (alignof(Packet<T, N>) - 1)) == 0;
}

template <int BYTES> struct Bits;
template <> struct Bits<4> {
  typedef uint32_t type;
};
template <> struct Bits<8> {
  typedef uint2 type;
};
template <> struct Bits<16> {
  typedef uint4 type;
};

/// p[0 … count); one access where all N are wanted and `p` is aligned. The rest of the packet is 0.
template <int N, class T> INLINE Packet<T, N> load(const T *p, i32 count = N) {
  Packet<T, N> packet;
  typedef typename Bits<sizeof(packet)>::type B;
  if (count >= N && aligned<T, N>(p)) {
    *reinterpret_cast<B *>(&packet) = *reinterpret_cast<const B *>(p);
  } else {
#pragma unroll
    for (int j = 0; j < N; j++) packet.at[j] = j < count ? p[j] : T{};
  }
  return packet;
}

template <int N, class T> INLINE void store(T *p, const Packet<T, N> &packet, i32 count = N) {
  typedef typename Bits<sizeof(packet)>::type B;
  if (count >= N && aligned<T, N>(p)) {
    *reinterpret_cast<B *>(p) = *reinterpret_cast<const B *>(&packet);
  } else {
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (j < count) p[j] = packet.at[j];
    }
  }
}

/// Elements of T in 16 bytes.
template <class T> constexpr int packetOf = 16 / sizeof(T);

// Reductions. The order depends on the number of threads alone, and every thread gets the result.

struct Sum {
  static constexpr f32 start = 0;
  template <class V> static INLINE V of(V a, V b) { return a + b; }
};
struct Max {
  static constexpr f32 start = -__builtin_huge_valf();
  static INLINE f32 of(f32 a, f32 b) { return fmaxf(a, b); }
  static INLINE uint64_t of(uint64_t a, uint64_t b) { return max(a, b); }
};

/// Over the 32 lanes of a warp, all of which must take part.
template <class Op, class V> INLINE V warpReduce(V x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, mask));
  return x;
}

/// Over a block of THREADS (a multiple of 32, at most 1024) in x. May be called again at once.
template <class Op, int THREADS, class V> INLINE V blockReduce(V x) {
  constexpr int warps = THREADS / 32;
  __shared__ V partial[warps];
  x = warpReduce<Op>(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  V y = partial[0];
#pragma unroll
  for (int w = 1; w < warps; w++) y = Op::of(y, partial[w]);
  __syncthreads();
  return y;
}
