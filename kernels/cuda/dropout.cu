// Dropout masks, a pure function of seed, step, module, owner, position and feature, and their application.
#include "flat.cuh"
#include "mask.cuh"

/// Philox4x32-10 (Salmon et al., SC 2011; engine/random.ts): four random words of a counter and a key.
INLINE uint4 philox(uint4 x, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    uint32_t high0 = __umulhi(0xd2511f53u, x.x), low0 = 0xd2511f53u * x.x;
    uint32_t high1 = __umulhi(0xcd9e8d57u, x.z), low1 = 0xcd9e8d57u * x.z;
    x = make_uint4(high1 ^ x.y ^ key.x, low1, high0 ^ x.w ^ key.y, low0);
    key = make_uint2(key.x + 0x9e3779b9u, key.y + 0xbb67ae85u);
  }
  return x;
}

/// A word of the mask a thread. rng = (seed, step); rows = (owner, position) of each row.
ENTRY(256) dropoutMask_i32(uint32_t *mask, const uint32_t *rng, const uint32_t *rows, i32 T, i32 columns, i32 module,
                           uint32_t threshold) {
  i32 words = maskWords(columns);
  i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (i64)T * words) return;
  i64 t = i / words;
  i32 word = (i32)(i - t * words);
  uint32_t bits = 0;
#pragma unroll 1
  for (int quad = 0; quad < 8; quad++) {
    // A counter serves four elements.
    uint4 counter = make_uint4(word * 8 + quad, rows[2 * t + 1], rows[2 * t], module);
    uint4 x = philox(counter, make_uint2(rng[0], rng[1]));
    uint32_t kept = (x.x >= threshold) | (x.y >= threshold) << 1 | (x.z >= threshold) << 2 | (x.w >= threshold) << 3;
    bits |= kept << 4 * quad;
  }
  mask[i] = bits & 0xffffffffu >> (32 - min(32, columns - word * 32));
}

/// y = m⊙x·scale, four neighbours a thread.
template <class T> INLINE void dropout(T *y, const T *x, const uint32_t *mask, i32 rows, i32 C, f32 scale) {
  constexpr int N = 4;
  rowRun<N>(rows, C, [&](i64 t, i32 c, i32 count) {
    Packet<T, N> in = load<N>(x + t * C + c, count), out;
    uint32_t bits = maskBits(mask, C, t, c);
#pragma unroll
    for (int j = 0; j < N; j++) out.at[j] = narrow<T>(bits >> j & 1 ? widen(in.at[j]) * scale : 0);
    store<N>(y + t * C + c, out, count);
  });
}

#define DROPOUT(T, _)                                                                                                  \
  ENTRY(256) dropout_##T(T *y, const T *x, const uint32_t *mask, i32 rows, i32 C, f32 scale) {                         \
    dropout(y, x, mask, rows, C, scale);                                                                               \
  }
COMPUTE_TYPES(DROPOUT, )
