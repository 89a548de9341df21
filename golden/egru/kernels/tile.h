// Products of small tiles whose sums stay in registers.
#pragma once
#include "simd.h"

namespace egru {

// acc[m][v] += sum over k < count of a[m * a_row + k * a_step] * b[k * b_step + v * width], where the
// last NB of the NA + NB vectors are at c instead of b.
template <class T, int M, int NA, int NB>
inline void multiply(V<T> (&acc)[M][NA + NB], long count, const T* a, long a_row, long a_step, const T* b,
                     long b_step, const T* c, long c_step) {
  for (long k = 0; k < count; k++) {
    V<T> factor[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) factor[m] = splat<T>(a[m * a_row + k * a_step]);
#pragma GCC unroll 8
    for (int v = 0; v < NA + NB; v++) {
      const V<T> row = v < NA ? load<T>(b + k * b_step + v * width<T>)
                              : load<T>(c + k * c_step + (v - NA) * width<T>);
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) acc[m][v] += factor[m] * row;
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
