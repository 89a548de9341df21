// Products of small tiles whose sums stay in registers.
#pragma once
#include "simd.h"

namespace egru {

// acc[m][v] += sum over k < count of a[m * a_row + k * a_step] * b[k * b_step + v * width], where the
// last NB of the NA + NB vectors are at c instead of b.
template <class T, int M, int NA, int NB>
inline void multiply(V<T> (&acc)[M][NA + NB], long count, const T* a, long a_row, long a_step, const T* b,
                     long b_step, const T* c, long c_step) {
  constexpr int N = NA + NB;
  for (long k = 0; k < count; k++) {
    const auto row = [&](int v) __attribute__((always_inline)) {
      return v < NA ? load<T>(b + k * b_step + v * width<T>) : load<T>(c + k * c_step + (v - NA) * width<T>);
    };
    const auto factor = [&](int m) __attribute__((always_inline)) { return splat<T>(a[m * a_row + k * a_step]); };
    // The fewer of the two stay in registers beside the sums; of the others there is one at a time.
    if constexpr (N < M) {
      V<T> rows[N];
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) rows[v] = row(v);
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) {
        const V<T> one = factor(m);
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) acc[m][v] += one * rows[v];
      }
    } else {
      V<T> factors[M];
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) factors[m] = factor(m);
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) {
        const V<T> one = in_register<T>(row(v));
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) acc[m][v] += factors[m] * one;
      }
    }
  }
}

// Rows of a tile of `vectors` vectors, so that its sums fill most registers.
constexpr int tile_rows(int vectors) {
  const int rows = (registers == 32 ? 24 : 12) / vectors;
  return rows > 8 ? 8 : rows;
}

// Call body.template operator()<M>(first) for row tiles that cover 0..rows, M at most MAX.
template <int MAX, class Body>
inline void for_tiles(int rows, Body&& body) {
  int first = 0;
  for (; first + MAX <= rows; first += MAX) body(std::integral_constant<int, MAX>{}, first);
  if constexpr (MAX > 1) {
    if (first < rows) {
      for_tiles<MAX - 1>(rows - first,
                         [&](auto m, int next) __attribute__((always_inline)) { body(m, first + next); });
    }
  }
}

}  // namespace egru
