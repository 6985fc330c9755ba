// Vectors of floats, and the elementary functions on them.
//
// One source serves every processor through the vector extensions of GCC and Clang: the width follows from the flags
// it is compiled with. Functions pass NaN on, and are right at infinities, denormals and zeros.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

// Every row of every value begins at, and is padded to, a multiple of this many floats, whatever the processor:
// loops run over whole vectors and may read and write past the width of a value, into its padding.
constexpr int64_t PADDING = 16;

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));

static inline Vector load(const float* p) { return *(const Unaligned*)p; }
static inline void store(float* p, Vector x) { *(Unaligned*)p = x; }
static inline Vector splat(float x) { return x - Vector{}; }
static inline Vector one_where(Integers condition) { return condition ? splat(1.f) : splat(0.f); }
static inline Vector absolute(Vector x) { return (Vector)((Integers)x & 0x7fffffff); }
static inline Vector with_sign_of(Vector size, Vector x) { return (Vector)((Integers)size | ((Integers)x & (int32_t)0x80000000)); }

static inline float sum_of_lanes(Vector x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += x[i];
  return sum;
#endif
}

template <class Function>
static inline Vector each_lane(Vector x, Function f) {
  Vector y;
  for (int i = 0; i < LANES; i++) y[i] = f(x[i]);
  return y;
}

static inline Vector square_root(Vector x) {
#if defined(__AVX512F__)
  return (Vector)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vector)_mm256_sqrt_ps((__m256)x);
#else
  return each_lane(x, [](float a) { return std::sqrt(a); });
#endif
}

// 1 / x for x in [1, 2], where an estimate and one step of Newton's method are exact to an ulp.
static inline Vector reciprocal_of_1_to_2(Vector x) {
#if defined(__AVX512F__)
  Vector y = (Vector)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.f - x * y);
#else
  return 1.f / x;
#endif
}

// p * 2^k for whole numbers k in [-151, 129]; overflows and underflows as multiplication does.
static inline Vector times_power_of_2(Vector p, Vector k) {
#if defined(__AVX512F__)
  return (Vector)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
  Integers n = __builtin_convertvector(k, Integers), half = n >> 1;
  return p * (Vector)((half + 127) << 23) * (Vector)((n - half + 127) << 23);
#endif
}

static inline Vector exponential(Vector x) {
  x = x < -104.f ? splat(-104.f) : x;  // underflows to zero either way
  x = x > 89.f ? splat(89.f) : x;
  const float to_integer = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  Vector k = (x * 1.44269504f + to_integer) - to_integer;
  Vector r = (x - k * 0.693359375f) + k * 2.12194440e-4f;  // x - k log(2), in two parts
  Vector p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.f);
  Vector y = times_power_of_2(p, k);
  return x != x ? x : y;
}

static inline Vector sigmoid(Vector x) {
  Vector e = exponential(-absolute(x)), r = reciprocal_of_1_to_2(1.f + e);
  Vector y = x < 0.f ? e * r : r;
  return x != x ? x : y;
}

static inline Vector hyperbolic_tangent(Vector x) {
  Vector a = absolute(x), z = x * x;
  Vector p = -5.70498872745e-3f * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  Vector near = x + x * z * p;
  Vector e = exponential(-2.f * a), far = with_sign_of((1.f - e) * reciprocal_of_1_to_2(1.f + e), x);
  Vector y = a < 0.625f ? near : far;
  return x != x ? x : y;
}
