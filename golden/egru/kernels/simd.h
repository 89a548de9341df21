// One machine vector of float or double, and the functions of it that the gates need.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace egru {

// While it lives, this thread takes numbers below the smallest normal one for zero, and writes zero for them. The
// gradients of long sequences fade into that range, where a processor needs a hundred cycles for one operation.
class FlushTiny {
#if defined(__SSE2__)
  static constexpr unsigned flush = 0x8040;  // results (FTZ) and operands (DAZ)
  const unsigned before = _mm_getcsr();

 public:
  FlushTiny() { _mm_setcsr(before | flush); }
  ~FlushTiny() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  static constexpr uint64_t flush = uint64_t(1) << 24;  // FZ
  uint64_t before;

 public:
  FlushTiny() {
    asm volatile("mrs %0, fpcr" : "=r"(before));
    asm volatile("msr fpcr, %0" : : "r"(before | flush));
  }
  ~FlushTiny() { asm volatile("msr fpcr, %0" : : "r"(before)); }
#else
 public:
  FlushTiny() {}
  ~FlushTiny() {}
#endif
  FlushTiny(const FlushTiny&) = delete;
  FlushTiny& operator=(const FlushTiny&) = delete;
};

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, registers = 32;
#elif defined(__AVX__)
constexpr int vector_bytes = 32, registers = 16;
#elif defined(__aarch64__)
constexpr int vector_bytes = 16, registers = 32;
#else
constexpr int vector_bytes = 16, registers = 16;
#endif

template <class T>
struct Vector;

template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(vector_bytes)));
  typedef int32_t bits __attribute__((vector_size(vector_bytes)));
  typedef float unaligned __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
};

template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(vector_bytes)));
  typedef int64_t bits __attribute__((vector_size(vector_bytes)));
  typedef double unaligned __attribute__((vector_size(vector_bytes), aligned(8), may_alias));
};

template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::bits;  // all ones where true
template <class T>
constexpr int width = vector_bytes / int(sizeof(T));
// Units are handled in panels of two vectors; a row of a panel holds their gates z, r, g side by side.
template <class T>
constexpr int panel = 2 * width<T>;

template <class T>
inline V<T> load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::unaligned*>(p);
}
template <class T>
inline void store(T* p, V<T> v) {
  *reinterpret_cast<typename Vector<T>::unaligned*>(p) = v;
}
template <class T>
inline V<T> splat(T value) {
  return value - V<T>{};  // not +, which would turn -0 into 0
}

// A vector that is loaded once, where a compiler would rather load it again for each use.
template <class T>
inline V<T> in_register(V<T> v) {
#if defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

template <class T>
inline V<T> select(Mask<T> mask, V<T> yes, V<T> no) {
  return mask ? yes : no;
}
template <class T>
inline T sum(V<T> v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps((__m512)v);
  if constexpr (sizeof(T) == 8) return _mm512_reduce_add_pd((__m512d)v);
#endif
  T total = v[0];
  for (int i = 1; i < width<T>; i++) total += v[i];
  return total;
}

// Bit i is set where lane i of a mask is true.
template <class T>
inline uint32_t lane_bits(Mask<T> mask) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
  if constexpr (sizeof(T) == 8) return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4) return _mm256_movemask_ps((__m256)mask);
  if constexpr (sizeof(T) == 8) return _mm256_movemask_pd((__m256d)mask);
#endif
  uint32_t bits = 0;
  for (int i = 0; i < width<T>; i++) bits |= uint32_t(mask[i] & 1) << i;
  return bits;
}

// Lanes of two vectors by turns: of their first halves, or of their second halves.
template <class T, bool second, int... lane>
inline V<T> interleave(V<T> a, V<T> b, std::integer_sequence<int, lane...>) {
  constexpr int W = width<T>;
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (lane / 2 + (second ? W / 2 : 0) + (lane % 2 ? W : 0))...);
#else
  return __builtin_shuffle(a, b, Mask<T>{(lane / 2 + (second ? W / 2 : 0) + (lane % 2 ? W : 0))...});
#endif
}

// Transpose a square of vectors.
template <class T>
inline void transpose(V<T> (&rows)[width<T>]) {
  constexpr int W = width<T>;
  using Lanes = std::make_integer_sequence<int, W>;
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
    V<T> from[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) from[i] = rows[i];
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; i++) {
      rows[2 * i] = interleave<T, false>(from[i], from[i + W / 2], Lanes{});
      rows[2 * i + 1] = interleave<T, true>(from[i], from[i + W / 2], Lanes{});
    }
  }
}

// Call body(i) for every bit i that is set, from the lowest.
template <class Body>
inline void for_bits(uint32_t bits, Body&& body) {
  for (; bits; bits &= bits - 1) body(__builtin_ctz(bits));
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// For every 8 bits, the numbers of those that are set, from the lowest, a byte each.
struct LaneOrders {
  uint64_t of[256];
  constexpr LaneOrders() : of{} {
    for (int bits = 0; bits < 256; bits++)
      for (int lane = 0, place = 0; lane < 8; lane++)
        if (bits >> lane & 1) of[bits] |= uint64_t(lane) << (8 * place++);
  }
};
inline constexpr LaneOrders lane_orders;
#endif

// Put the lanes that are set in `bits`, and their numbers from `first` on, side by side; returns how many. There is
// room for a whole vector, and what lies behind the last one may be overwritten.
template <class T>
inline int compress(uint32_t bits, V<T> values, int32_t first, int32_t* index, T* value) {
#if defined(__AVX512F__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) == 4) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_mask_compressstoreu_epi32(index, __mmask16(bits), _mm512_add_epi32(lane, _mm512_set1_epi32(first)));
    _mm512_mask_compressstoreu_ps(value, __mmask16(bits), (__m512)values);
  } else {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_mask_compressstoreu_epi32(index, __mmask8(bits), _mm256_add_epi32(lane, _mm256_set1_epi32(first)));
    _mm512_mask_compressstoreu_pd(value, __mmask8(bits), (__m512d)values);
  }
  return __builtin_popcount(bits);
#else
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(lane_orders.of[bits])));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(index), _mm256_add_epi32(order, _mm256_set1_epi32(first)));
    _mm256_storeu_ps(value, _mm256_permutevar8x32_ps((__m256)values, order));
    return __builtin_popcount(bits);
  }
#endif
  int count = 0;
  for_bits(bits, [&](int lane) {
    index[count] = first + lane;
    value[count++] = values[lane];
  });
  return count;
#endif
}

template <class T>
struct Expm1;

template <>
struct Expm1<float> {
  static constexpr float limit = 87.0f, magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int shift = 23, bias = 127, terms = 7;
};

template <>
struct Expm1<double> {
  static constexpr double limit = 708.0, magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr int shift = 52, bias = 1023, terms = 14;
};

constexpr double factorial(int k) { return k < 2 ? 1.0 : k * factorial(k - 1); }

// x within -limit..limit; a NaN stays one.
template <class T>
inline V<T> clamp(V<T> x, T limit) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), (__m512)x));
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm256_max_ps(_mm256_set1_ps(-limit), _mm256_min_ps(_mm256_set1_ps(limit), (__m256)x));
#endif
  x = select<T>(x > limit, splat<T>(limit), x);
  return select<T>(x < -limit, splat<T>(-limit), x);
}

// The functions below work on N vectors step by step, side by side: each is a long chain of operations that wait
// for one another, and a processor looks only so far ahead for others.

// exp(x) - 1: with x = n ln 2 + r, it is 2^n p + (2^n - 1) where p = exp(r) - 1 is a Taylor polynomial,
// |r| <= ln 2 / 2. A NaN stays one.
template <class T, int N>
inline void expm1(V<T> (&x)[N]) {
  using C = Expm1<T>;
  V<T> power[N], p[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) {
    x[i] = clamp<T>(x[i], C::limit);
    V<T> shifted = x[i] * T(1.442695040888963407) + C::magic;
    V<T> n = shifted - C::magic;
    Mask<T> bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << C::shift) + (decltype(bits[0] + 0)(C::bias) << C::shift);
    std::memcpy(&power[i], &bits, sizeof bits);
    x[i] = x[i] - n * C::ln2_high - n * C::ln2_low;
    p[i] = splat<T>(T(1.0 / factorial(C::terms)));
  }
#pragma GCC unroll 16
  for (int k = C::terms - 1; k > 0; k--)
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) p[i] = p[i] * x[i] + T(1.0 / factorial(k));
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) x[i] = power[i] * (p[i] * x[i]) + (power[i] - T(1));
}

// 1 / x for x from 1 to 2^127, to within one unit in the last place.
template <class T>
inline V<T> reciprocal(V<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    // A division takes as long as ten multiplications; a table entry and one step of Newton's rule do not.
    const V<T> near = (V<T>)_mm512_rcp14_ps((__m512)x);
    return near + near * (T(1) - x * near);
  }
#endif
  return T(1) / x;
}

template <class T, int N>
inline void sigmoid(V<T> (&x)[N]) {
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) x[i] = -x[i];
  expm1<T>(x);
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) x[i] = reciprocal<T>(x[i] + T(2));
}
template <class T, int N>
inline void tanh(V<T> (&x)[N]) {
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) x[i] = x[i] + x[i];
  expm1<T>(x);
#pragma GCC unroll 8
  for (int i = 0; i < N; i++) x[i] = x[i] * reciprocal<T>(x[i] + T(2));
}

}  // namespace egru
