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

// 1 / x for x between 2^-126 and 2^126, where an estimate and one step of Newton's method are exact to an ulp.
static inline Vector reciprocal(Vector x) {
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

// x between two bounds; NaN stays NaN, since these instructions give their second operand then.
static inline Vector clamp(Vector x, float low, float high) {
#if defined(__AVX512F__)
  return (Vector)_mm512_min_ps((__m512)splat(high), _mm512_max_ps((__m512)splat(low), (__m512)x));
#elif defined(__AVX2__)
  return (Vector)_mm256_min_ps((__m256)splat(high), _mm256_max_ps((__m256)splat(low), (__m256)x));
#else
  x = x < low ? splat(low) : x;
  return x > high ? splat(high) : x;
#endif
}

// exp(x) for x in [-104, 89], below which it is zero and above which it is infinite.
static inline Vector exponential_within(Vector x) {
  const float to_integer = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  Vector k = (x * 1.44269504f + to_integer) - to_integer;
  Vector r = (x - k * 0.693359375f) + k * 2.12194440e-4f;  // x - k log(2), in two parts
  Vector p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.f);
  return times_power_of_2(p, k);
}

static inline Vector exponential(Vector x) { return exponential_within(clamp(x, -104.f, 89.f)); }

static inline Vector sigmoid(Vector x) { return reciprocal(1.f + exponential_within(clamp(-x, -104.f, 87.f))); }

// x P(x^2) / Q(x^2), from which tanh differs by a few ulp.
static inline Vector hyperbolic_tangent(Vector whole) {
  Vector x = clamp(whole, -7.90531110763549805f, 7.90531110763549805f);
  Vector z = x * x;
  Vector p = -2.76076847742355e-16f * z + 2.00018790482477e-13f;
  p = p * z - 8.60467152213735e-11f;
  p = p * z + 5.12229709037114e-08f;
  p = p * z + 1.48572235717979e-05f;
  p = p * z + 6.37261928875436e-04f;
  p = p * z + 4.89352455891786e-03f;
  Vector q = 1.19825839466702e-06f * z + 1.18534705686654e-04f;
  q = q * z + 2.26843463243900e-03f;
  q = q * z + 4.89352518554385e-03f;
  Vector y = x * p * reciprocal(q);
  return absolute(whole) > 9.02f ? with_sign_of(splat(1.f), whole) : y;  // exactly 1, as 1 - tanh^2 has to be 0 there
}
