// What the caller hands over: sizes, options and memory of one layer. `Layer` in kernels/library.py mirrors it.
#pragma once
#include <cstdint>
#include <limits>
#include "simd.h"

namespace egru {

// When silent units are skipped: where that is faster; or never or always, to measure what it is worth.
enum Skip { never = 0, always = 1, adaptive = 2 };

struct Layer {
  int64_t steps, batch, inputs, units, threads;
  int64_t after, threshold_reset;  // reset="after", state_reset="threshold"
  int64_t skip;                    // see Skip
  int64_t sparse_input;            // add rows of the input weights for inputs that are not zero
  int64_t ordered;                 // the packed weights are there already
  double gamma, eps;
  // Rows, one after another. Masks and lists are made inside.
  const void *x, *c0, *y0, *weight_ih, *weight_hh, *bias_ih, *bias_hh, *theta;
  const int64_t* lengths;  // or null
  // Weights in the kernels' order, recurrent and of inputs, behind these a number per unit that is NaN if one of its
  // weights is; egru_size says how many. kept may be null: nothing is kept for a backward pass.
  void *workspace, *packed, *packed_inputs, *kept;
  void *y, *o, *c_last, *y_last;    // o may be null
  // Backward; the gradients on outputs may be null, their strides are of step and sequence.
  const void *grad_y, *grad_o, *grad_c_last, *grad_y_last;
  int64_t grad_y_step, grad_y_sequence, grad_o_step, grad_o_sequence;
  void *grad_x, *grad_weight_ih, *grad_weight_hh, *grad_bias_ih, *grad_bias_hh, *grad_theta, *grad_c0,
      *grad_y0;  // grad_x and grad_y0 may be null
};

// Share of active units above which a product with all of them is faster. It uses every weight that it loads for
// several sequences; with few sequences it has no such advantage.
inline double dense_share(const Layer& layer) {
  if (layer.skip != adaptive) return layer.skip == always ? 2.0 : -1.0;
  if (layer.batch < 4) return 2.0;
  return vector_bytes > 32 ? 0.4 : 0.5;  // as measured
}

template <class T>
inline int panels_of(int64_t units) {
  return int((units + panel<T> - 1) / panel<T>);
}

// What is kept for the backward pass: steps x panels x sequences x fields x panel, in the order in which it
// is written and read; behind it the potentials, without the fields. Fields are z, r, g, and for
// reset="after" the candidate's recurrent part q.
template <class T>
struct Kept {
  T *values, *potentials;
  int64_t panels, batch, fields;

  explicit Kept(const Layer& layer)
      : values(static_cast<T*>(layer.kept)), potentials(nullptr), panels(panels_of<T>(layer.units)),
        batch(layer.batch), fields(layer.after ? 4 : 3) {
    if (values) potentials = values + layer.steps * panels * batch * fields * panel<T>;
  }
  T* value(int64_t t, int64_t b, int p) const {
    return values + ((t * panels + p) * batch + b) * fields * panel<T>;
  }
  T* potential(int64_t t, int64_t b, int p) const {
    return potentials + ((t * panels + p) * batch + b) * panel<T>;
  }
};

// Hands out parts of one piece of memory; without memory it only counts.
class Arena {
 public:
  explicit Arena(void* memory) : base(static_cast<char*>(memory)) {}
  template <class E>
  E* take(int64_t count) {
    const int64_t at = used;
    used += (count * int64_t(sizeof(E)) + 63) / 64 * 64;
    return base ? reinterpret_cast<E*>(base + at) : nullptr;
  }
  int64_t used = 0;

 private:
  char* base;
};

// Copy a vector's first `count` lanes, for the last panel, which may reach beyond the units.
template <class T>
inline V<T> load_some(const T* p, int count) {
  if (count >= width<T>) return load<T>(p);
  V<T> v{};
  for (int i = 0; i < count; i++) v[i] = p[i];
  return v;
}
template <class T>
inline void store_some(T* p, V<T> v, int count) {
  if (count >= width<T>) return store<T>(p, v);
  for (int i = 0; i < count; i++) p[i] = v[i];
}

// Call body(gate, v, unit, k) for the squares of vectors that cover the weights (3H x sources) of one panel, sources
// from..to, as far as whole ones go, and one(gate, u, unit, k) for the single weights of the rest: units of vector v
// from `unit` on, or the panel's u-th unit, and sources from k on. Strips of sources keep what is written near.
template <class T, class Square, class One>
inline void for_squares(int64_t units, int p, int64_t from, int64_t to, Square&& square, One&& one) {
  constexpr int P = panel<T>, W = width<T>;
  constexpr int64_t strip = 4 * W;
  for (int64_t first = from; first < to; first += strip) {
    const int64_t last = first + strip < to ? first + strip : to;
    for (int gate = 0; gate < 3; gate++) {
      for (int v = 0; v < 2; v++) {
        const int64_t unit = int64_t(p) * P + v * W;
        int64_t k = first;
        if (unit + W <= units)
          for (; k + W <= last; k += W) square(gate, v, unit, k);
        for (int u = 0; u < W; u++)
          for (int64_t rest = k; rest < last; rest++) one(gate, v * W + u, unit + u, rest);
      }
    }
  }
}

// Weights (3H x sources) of one panel as sources x 3 x panel: the row of a source lies together. Units that have a weight
// which is no number are noted in `wrong`, a panel of numbers: events skip weights, and would skip that one.
template <class T>
void pack_rows(const T* weight, int64_t units, int64_t sources, int p, T* packed, T* wrong) {
  constexpr int P = panel<T>, W = width<T>;
  Mask<T> unordered[2] = {};
  for_squares<T>(
      units, p, 0, sources,
      [&](int gate, int v, int64_t unit, int64_t k) {
        const T* from = weight + (gate * units + unit) * sources + k;
        V<T> rows[W];
#pragma GCC unroll 16
        for (int u = 0; u < W; u++) {
          rows[u] = load<T>(from + u * sources);
          __builtin_prefetch(from + u * sources + 4 * W, 0, 2);  // the next strip's: its rows are far apart
        }
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) {
          store<T>(packed + ((k + i) * 3 + gate) * P + v * W, rows[i]);
          unordered[v] |= rows[i] != rows[i];
        }
      },
      [&](int gate, int u, int64_t unit, int64_t k) {
        const T value = unit < units ? weight[(gate * units + unit) * sources + k] : T(0);
        packed[(k * 3 + gate) * P + u] = value;
        if (value != value) wrong[u] = value;
      });
  for (int v = 0; v < 2; v++)
    store<T>(wrong + v * W, select<T>(unordered[v], splat(std::numeric_limits<T>::quiet_NaN()), load<T>(wrong + v * W)));
}

// The inverse: a packed gradient's panel, sources from..to, into its rows of 3H x sources.
template <class T>
void unpack_rows(const T* packed, int64_t units, int64_t sources, int p, int64_t from, int64_t to, T* weight) {
  constexpr int P = panel<T>, W = width<T>;
  for_squares<T>(
      units, p, from, to,
      [&](int gate, int v, int64_t unit, int64_t k) {
        V<T> rows[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) rows[i] = load<T>(packed + ((k + i) * 3 + gate) * P + v * W);
        transpose<T>(rows);
        T* to_row = weight + (gate * units + unit) * sources + k;
#pragma GCC unroll 16
        for (int u = 0; u < W; u++) store<T>(to_row + u * sources, rows[u]);
      },
      [&](int gate, int u, int64_t unit, int64_t k) {
        if (unit < units) weight[(gate * units + unit) * sources + k] = packed[(k * 3 + gate) * P + u];
      });
}

}  // namespace egru
