// The backward pass of one layer; egru/backward.py has the equations, and their names are used here.
//
// A thread owns panels of units. Per step it forms dq of its units, waits for the others, and
// multiplies the dq of all units by the columns of its own. Weight gradients are added once per block of
// steps. Sums are formed in the same order whatever the number of threads.
#pragma once
#include <algorithm>
#include <limits>
#include "layer.h"
#include "team.h"
#include "tile.h"

namespace egru {

constexpr int64_t block_rows = 512;  // rows (steps x sequences) of dq at a time: they stay in the cache

// Rows of dq to add for each of some sources, with their factors.
template <class T>
struct RowLists {
  int32_t *row = nullptr, *count = nullptr;
  T *value = nullptr, *gated = nullptr;
  int64_t places = 0;

  void lay_out(Arena& arena, int64_t sources, int64_t places_each, bool with_gated) {
    places = places_each;
    row = arena.take<int32_t>(sources * places);
    value = arena.take<T>(sources * places);
    gated = with_gated ? arena.take<T>(sources * places) : value;
    count = arena.take<int32_t>(sources);
  }
};

template <class T>
struct BackwardSpace {
  static constexpr int P = panel<T>;
  T *columns, *input_columns, *dq, *da_g, *carry_y, *carry_c, *u, *sums, *theta, *grad_hh, *grad_ih, *y_dense;
  RowLists<T> events, inputs;
  int32_t *need, *need_count, *full;
  int panels, input_panels, block;
  int64_t rows;

  BackwardSpace(const Layer& layer, Arena&& arena) { lay_out(layer, arena); }
  BackwardSpace(const Layer& layer, Arena& arena) { lay_out(layer, arena); }

  void lay_out(const Layer& layer, Arena& arena) {
    const int64_t batch = layer.batch;
    panels = panels_of<T>(layer.units);
    input_panels = panels_of<T>(layer.inputs);
    block = int(block_rows / batch < 1 ? 1 : block_rows / batch);
    if (block > layer.steps) block = int(layer.steps);
    rows = block * batch;
    const int64_t padded = int64_t(panels) * P;
    columns = arena.take<T>(padded * 3 * padded);
    input_columns = arena.take<T>(layer.grad_x ? int64_t(input_panels) * P * 3 * padded : 0);
    dq = arena.take<T>(rows * 3 * padded);
    da_g = arena.take<T>(layer.after ? rows * padded : 0);
    carry_y = arena.take<T>(batch * padded);
    carry_c = arena.take<T>(batch * padded);
    u = arena.take<T>(layer.after ? 0 : batch * padded);
    sums = arena.take<T>(5 * padded);
    theta = arena.take<T>(padded);
    grad_hh = arena.take<T>(padded * 3 * layer.units);
    grad_ih = arena.take<T>(padded * 3 * layer.inputs);
    y_dense = arena.take<T>(layer.skip == always ? 0 : rows * padded);
    if (layer.skip != never) events.lay_out(arena, padded, rows, !layer.after);
    if (layer.sparse_input) inputs.lay_out(arena, layer.inputs, rows, false);
    need = arena.take<int32_t>(padded * batch);
    need_count = arena.take<int32_t>(padded);
    full = arena.take<int32_t>(panels);
  }
};

template <class T>
class Backward {
  static constexpr int P = panel<T>, W = width<T>;
  const Layer& layer;
  Team& team;
  const int me;
  BackwardSpace<T> space;
  const int64_t batch, units, inputs;
  const int first, last;
  const T gamma, eps;
  const T *x, *c0, *y0;
  const Kept<T> kept;
  enum Sum { THETA, Z, R, Q, A };

  // What a unit was at the end of a step.
  struct Before {
    V<T> c, y;
    Mask<T> needed;  // whether its dy matters: it fired, or its surrogate is not zero
  };

 public:
  Backward(const Layer& layer, Team& team, int me)
      : layer(layer), team(team), me(me), space(layer, Arena(layer.workspace)), batch(layer.batch),
        units(layer.units), inputs(layer.inputs), first(team.begin(space.panels, me)),
        last(team.begin(space.panels, me + 1)), gamma(T(layer.gamma)), eps(T(layer.eps)),
        x(static_cast<const T*>(layer.x)), c0(static_cast<const T*>(layer.c0)),
        y0(static_cast<const T*>(layer.y0)), kept(layer) {}

  void run() {
    const FlushTiny flush;
    prepare();
    team.wait();
    for (int64_t stop = layer.steps; stop > 0; stop -= space.block) {
      const int64_t start = stop > space.block ? stop - space.block : 0;
      clear_lists();
      for (int64_t t = stop - 1; t >= start; t--) {
        const int64_t row = (t - start) * batch;
        for (int p = first; p < last; p++) step(t, p, row);
        team.wait();
        if (!layer.after) {
          for (int p = first; p < last; p++) through_columns<2, 3>(p, row, space.u);
          for (int p = first; p < last; p++) gate_before(t, p, row);
          team.wait();
        }
        if (t > 0 || layer.grad_y0) {
          for (int p = first; p < last; p++) {
            if (layer.after)
              through_columns<0, 3>(p, row, space.carry_y);
            else
              through_columns<0, 2>(p, row, space.carry_y);
          }
        }
      }
      if (layer.grad_x) {
        constexpr int64_t strip = 64;
        for (int64_t n = 0; n < (stop - start) * batch; n += strip)
          input_gradient(start * batch + n, n, std::min(strip, (stop - start) * batch - n));
      }
      add_weight_gradients(start, (stop - start) * batch);
      team.wait();  // the next block writes dq
    }
    finish();
  }

 private:
  bool ended(int64_t t, int64_t b) const { return layer.lengths && t >= layer.lengths[b]; }
  T* dq_at(int p, int64_t row) const { return space.dq + (p * space.rows + row) * 3 * P; }
  const T* da_g_at(int p, int64_t row) const {
    return layer.after ? space.da_g + (p * space.rows + row) * P : dq_at(p, row) + 2 * P;
  }
  int da_g_step() const { return layer.after ? P : 3 * P; }
  T* sum_at(int p, Sum which) const { return space.sums + (p * 5 + which) * P; }

  void prepare() {
    const T *theta = static_cast<const T*>(layer.theta), *weight = static_cast<const T*>(layer.weight_hh);
    for (int p = first; p < last; p++) {
      pack_columns(weight, units, p, space.columns);
      for (int u = 0; u < P; u++) {
        const int64_t unit = int64_t(p) * P + u;
        space.theta[unit] = unit < units ? theta[unit] : std::numeric_limits<T>::max();
      }
      std::memset(sum_at(p, THETA), 0, 5 * P * sizeof(T));
      std::memset(space.carry_y + p * batch * P, 0, batch * P * sizeof(T));
      std::memset(space.carry_c + p * batch * P, 0, batch * P * sizeof(T));
      std::memset(space.grad_ih + p * inputs * 3 * P, 0, inputs * 3 * P * sizeof(T));
      std::memset(space.grad_hh + p * units * 3 * P, 0, units * 3 * P * sizeof(T));
    }
    if (layer.grad_x) {
      for (int p = team.begin(space.input_panels, me); p < team.begin(space.input_panels, me + 1); p++)
        pack_columns(static_cast<const T*>(layer.weight_ih), inputs, p, space.input_columns);
    }
  }

  // Columns p*P.. of weights (3H x sources), their rows in the order of dq: panel, gate, unit.
  void pack_columns(const T* weight, int64_t sources, int p, T* packed) {
    T* to = packed + int64_t(p) * P * 3 * space.panels * P;
    for (int q = 0; q < space.panels; q++) {
      for (int gate = 0; gate < 3; gate++) {
        for (int u = 0; u < P; u++, to += P) {
          const int64_t unit = int64_t(q) * P + u;
          for (int k = 0; k < P; k++) {
            const int64_t source = int64_t(p) * P + k;
            to[k] = unit < units && source < sources ? weight[(gate * units + unit) * sources + source] : T(0);
          }
        }
      }
    }
  }

  void clear_lists() {
    if (layer.skip != never)
      for (int64_t j = int64_t(first) * P; j < int64_t(last) * P; j++) space.events.count[j] = 0;
  }

  V<T> surrogate(V<T> distance) const {
    const V<T> size = select<T>(distance < T(0), -distance, distance);
    const V<T> h = T(1) - eps * size;
    return select<T>(h > T(0), h, V<T>{}) * gamma;
  }

  // The unit's state, event and need at the end of step t - 1.
  inline Before before(int64_t t, int64_t b, int p, int v) const {
    const int64_t unit = int64_t(p) * P + v * W;
    if (t > 0)
      return after_step(load<T>(kept.potential(t - 1, b, p) + v * W), load<T>(space.theta + unit),
                        layer.threshold_reset);
    const int count = int(units - unit);
    const int64_t at = b * units + unit;
    if (count <= 0) return {V<T>{}, V<T>{}, Mask<T>{}};
    // The gradient on y0 is asked for as it is.
    return {load_some<T>(c0 + at, count), load_some<T>(y0 + at, count), ~Mask<T>{}};
  }
  inline Before after_step(V<T> potential, V<T> theta, bool threshold_reset) const {
    const Mask<T> fired = potential > theta;
    return {threshold_reset ? select<T>(fired, potential - theta, potential) : potential,
            select<T>(fired, potential, V<T>{}), fired | (surrogate(potential - theta) > T(0))};
  }

  // Gradient on an output for a panel's units, which lie side by side; null if there is none.
  static const T* given(const void* gradient, int64_t at, int p) {
    return gradient ? static_cast<const T*>(gradient) + at + int64_t(p) * P : nullptr;
  }
  // Vector v of it, zero where there is none; `count` units are left from the panel's first on.
  static inline V<T> vector_of(const T* gradient, int v, int count) {
    return gradient && count > v * W ? load_some<T>(gradient + v * W, count - v * W) : V<T>{};
  }

  // D, dq and what is carried to step t - 1, but for products with weights.
  void step(int64_t t, int p, int64_t row) {
    V<T> sums[5][2];
    for (int k = 0; k < 5; k++)
      for (int v = 0; v < 2; v++) sums[k][v] = V<T>{};
    uint32_t needed[needs_at_once];
    int64_t total = 0;
    const double most = needed_share() * double(batch * P);
    int32_t* counts = space.need_count + int64_t(p) * P;
    for (int u = 0; u < P; u++) counts[u] = 0;
    for (int64_t group = 0; group < batch; group += needs_at_once) {
      const int64_t end = group + needs_at_once < batch ? group + needs_at_once : batch;
      for (int64_t b = group; b < end; b++) {
        needed[b - group] = 0;
        T* dq = dq_at(p, row + b);
        T* da_g = const_cast<T*>(da_g_at(p, row + b));
        if (ended(t, b)) {
          std::memset(dq, 0, 3 * P * sizeof(T));
          if (layer.after) std::memset(da_g, 0, P * sizeof(T));
          if (layer.skip == never) std::memset(space.y_dense + (p * space.rows + row + b) * P, 0, P * sizeof(T));
          continue;
        }
        const bool is_last = t == (layer.lengths ? layer.lengths[b] : layer.steps) - 1;
        if (layer.grad_y && t > 0) {
          // Its rows are too far apart for the processor to guess the next one.
          const T* ahead = given(layer.grad_y, (t - 1) * layer.grad_y_step + b * layer.grad_y_sequence, p);
          __builtin_prefetch(ahead, 0, 2);
          __builtin_prefetch(ahead + W, 0, 2);
        }
        // Looked up before anything is stored: a compiler cannot know that a store leaves these members as they are.
        const T *const kept_values = kept.value(t, b, p), *const potentials = kept.potential(t, b, p);
        const T *const earlier = t > 0 ? kept.potential(t - 1, b, p) : nullptr;
        const T* const thetas = space.theta + int64_t(p) * P;
        const T *const grad_y = given(layer.grad_y, t * layer.grad_y_step + b * layer.grad_y_sequence, p),
                *const grad_o = given(layer.grad_o, t * layer.grad_o_step + b * layer.grad_o_sequence, p);
        T *const carries_y = space.carry_y + (p * batch + b) * P,
          *const carries_c = space.carry_c + (p * batch + b) * P;
        const bool threshold_reset = layer.threshold_reset, after = layer.after;
        const int here = int(units - int64_t(p) * P);
        uint32_t fired = 0;
        T events[P];
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
          const T* values = kept_values + v * W;
          const V<T> z = load<T>(values), r = load<T>(values + P), g = load<T>(values + 2 * P);
          const V<T> potential = load<T>(potentials + v * W), theta = load<T>(thetas + v * W);
          const Before was =
              earlier ? after_step(load<T>(earlier + v * W), theta, threshold_reset) : before(0, b, p, v);
          T *carry_y = carries_y + v * W, *carry_c = carries_c + v * W;
          V<T> of_y = load<T>(carry_y) + vector_of(grad_y, v, here), of_c = load<T>(carry_c);
          const V<T> of_o = vector_of(grad_o, v, here);
          if (is_last) {
            of_y += vector_of(given(layer.grad_y_last, b * units, p), v, here);
            of_c += vector_of(given(layer.grad_c_last, b * units, p), v, here);
          }
          const V<T> h = surrogate(potential - theta);
          const Mask<T> o = potential > theta;
          V<T> s = potential * of_y + of_o;
          if (threshold_reset) s -= theta * of_c;
          s *= h;
          V<T> d = s + of_c + select<T>(o, of_y, V<T>{});
          sums[THETA][v] += s;
          if (threshold_reset) sums[THETA][v] += select<T>(o, of_c, V<T>{});
          const V<T> rest = T(1) - z;
          const V<T> da = rest * (T(1) - g * g) * d;
          const V<T> dz = (was.c - g) * z * rest * d;
          store<T>(carry_c, z * d);
          store<T>(carry_y, threshold_reset ? V<T>{} : -d);
          store<T>(dq + v * W, dz);
          sums[Z][v] += dz;
          sums[A][v] += da;
          if (after) {
            const V<T> dr = da * load<T>(values + 3 * P) * r * (T(1) - r), dq_g = da * r;
            store<T>(dq + P + v * W, dr);
            store<T>(dq + 2 * P + v * W, dq_g);
            store<T>(da_g + v * W, da);
            sums[R][v] += dr;
            sums[Q][v] += dq_g;
          } else {
            store<T>(dq + 2 * P + v * W, da);
          }
          needed[b - group] |= lane_bits<T>(was.needed) << (v * W);
          fired |= lane_bits<T>(was.y != T(0)) << (v * W);
          store<T>(events + v * W, was.y);
        }
        total += __builtin_popcount(needed[b - group]);
        note_events(t, p, row + b, fired, events);
      }
      if (double(total) <= most) {
        for (int64_t b = group; b < end; b++)
          for_bits(needed[b - group], [&](int u) { space.need[(int64_t(p) * P + u) * batch + counts[u]++] = int32_t(b); });
      }
    }
    if (double(total) > most || t == 0) counts[0] = -1;  // all of them
    for (int k = 0; k < 5; k++)
      for (int v = 0; v < 2; v++) {
        T* to = sum_at(p, Sum(k)) + v * W;
        store<T>(to, load<T>(to) + sums[k][v]);
      }
  }

  static constexpr int needs_at_once = 256;

  // Share of units that need their dy above which the full product is faster: a column that is multiplied for
  // a few sequences is loaded for them alone, and so are their dq.
  double needed_share() const {
    if (layer.skip == never) return -1.0;
    return batch < 4 ? 2.0 : 0.2;
  }

  void note_events(int64_t t, int p, int64_t row, uint32_t fired, const T* values) {
    if (layer.skip == never) {
      std::memcpy(space.y_dense + (p * space.rows + row) * P, values, P * sizeof(T));
      return;
    }
    const T* gates = kept.value(t, row % batch, p);
    for_bits(fired, [&](int u) {
      const int64_t unit = int64_t(p) * P + u, at = unit * space.rows + space.events.count[unit]++;
      space.events.row[at] = int32_t(row);
      space.events.value[at] = values[u];
      if (!layer.after) space.events.gated[at] = gates[P + u] * values[u];
    });
  }

  // reset="before": dr and the part of dy that comes through r, from u = R_g^T dg.
  void gate_before(int64_t t, int p, int64_t row) {
    V<T> sums[2] = {V<T>{}, V<T>{}};
    for (int64_t b = 0; b < batch; b++) {
      T* dq = dq_at(p, row + b) + P;
      if (ended(t, b)) continue;
      for (int v = 0; v < 2; v++) {
        const V<T> r = load<T>(kept.value(t, b, p) + P + v * W);
        const V<T> u = load<T>(space.u + (p * batch + b) * P + v * W);
        T* carry = space.carry_y + (p * batch + b) * P + v * W;
        const V<T> dr = u * before(t, b, p, v).y * r * (T(1) - r);
        store<T>(dq + v * W, dr);
        store<T>(carry, load<T>(carry) + r * u);
        sums[v] += dr;
      }
    }
    for (int v = 0; v < 2; v++) {
      T* to = sum_at(p, R) + v * W;
      store<T>(to, load<T>(to) + sums[v]);
    }
  }

  // Add to `to` (panels x batch x P; u starts at zero) the product of dq, gates G0..G1, and the columns of a
  // panel: for the units that need it, or for all of them where most do.
  template <int G0, int G1>
  void through_columns(int p, int64_t row, T* to) {
    to += p * batch * P;
    if (to == space.u + p * batch * P) std::memset(to, 0, batch * P * sizeof(T));
    const int32_t* counts = space.need_count + int64_t(p) * P;
    if (counts[0] < 0) {
      const T* columns = space.columns + int64_t(p) * P * 3 * space.panels * P;
      for_tiles<tile_rows(2)>(int(batch), [&](auto m, int b) __attribute__((always_inline)) {
        constexpr int M = decltype(m)::value;
        V<T> acc[M][2];
        load_tile<M>(acc, to + b * P);
        for (int q = 0; q < space.panels; q++)
          multiply<T, M, 2, 0>(acc, (G1 - G0) * P, dq_at(q, row + b) + G0 * P, 3 * P, 1,
                               columns + (q * 3 + G0) * P * P, P, nullptr, 0);
        store_tile<M>(acc, to + b * P);
      });
      return;
    }
    for (int u = 0; u < P; u++) {
      const int64_t unit = int64_t(p) * P + u;
      const int32_t* sequences = space.need + unit * batch;
      for_tiles<4>(counts[u], [&](auto m, int k) __attribute__((always_inline)) {
        dots<G0, G1, decltype(m)::value>(unit, row, sequences + k, to + u);
      });
    }
  }

  // dq of M sequences times the one column of a unit.
  template <int G0, int G1, int M>
  inline void dots(int64_t unit, int64_t row, const int32_t* sequences, T* to) const {
    const T* column = static_cast<const T*>(layer.packed) + unit * 3 * P;
    constexpr int A = M == 1 ? 6 : M == 2 ? 3 : 2;  // enough sums side by side for additions to overlap
    V<T> acc[A][M];
#pragma GCC unroll 8
    for (int k = 0; k < A; k++)
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) acc[k][m] = V<T>{};
    for (int q = 0; q < space.panels; q++) {
      const T* weights = column + q * units * 3 * P;
      const T* dq = dq_at(q, row);
#pragma GCC unroll 8
      for (int v = 2 * G0; v < 2 * G1; v++) {
        const V<T> weight = load<T>(weights + v * W);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) acc[v % A][m] += weight * load<T>(dq + sequences[m] * 3 * P + v * W);
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
#pragma GCC unroll 8
      for (int k = 1; k < A; k++) acc[0][m] += acc[k][m];
      to[sequences[m] * P] += sum<T>(acc[0][m]);
    }
  }

  template <int M>
  static inline void load_tile(V<T> (&acc)[M][2], const T* from) {
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      acc[m][0] = load<T>(from + m * P);
      acc[m][1] = load<T>(from + m * P + W);
    }
  }
  template <int M>
  static inline void store_tile(const V<T> (&acc)[M][2], T* to) {
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
      store<T>(to + m * P, acc[m][0]);
      store<T>(to + m * P + W, acc[m][1]);
    }
  }

  // Gradient on `rows` rows of x from `first_row` on, from dq's rows from `row` on.
  void input_gradient(int64_t first_row, int64_t row, int64_t rows) {
    for (int p = team.begin(space.input_panels, me); p < team.begin(space.input_panels, me + 1); p++) {
      const T* columns = space.input_columns + int64_t(p) * P * 3 * space.panels * P;
      const int count = int(inputs - int64_t(p) * P);
      for_tiles<tile_rows(2)>(int(rows), [&](auto m, int b) __attribute__((always_inline)) {
        constexpr int M = decltype(m)::value;
        V<T> acc[M][2];
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = V<T>{};
        for (int q = 0; q < space.panels; q++) {
          multiply<T, M, 2, 0>(acc, 2 * P, dq_at(q, row + b), 3 * P, 1, columns + q * 3 * P * P, P, nullptr, 0);
          multiply<T, M, 2, 0>(acc, P, da_g_at(q, row + b), da_g_step(), 1, columns + (q * 3 + 2) * P * P, P,
                               nullptr, 0);
        }
        T* to = static_cast<T*>(layer.grad_x) + (first_row + b) * inputs + int64_t(p) * P;
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) {
          store_some<T>(to + i * inputs, acc[i][0], count);
          store_some<T>(to + i * inputs + W, acc[i][1], count - W);
        }
      });
    }
  }

  // Weight gradients of the first `rows` rows of dq, which belong to steps from `start` on.
  void add_weight_gradients(int64_t start, int64_t rows) {
    for (int p = first; p < last; p++) space.full[p] = mostly_active(p, rows);
    for (int q = 0; q < space.panels; q++) {  // outside: a panel of dq stays in the cache for all sources
      const T* third = dq_at(q, 0) + 2 * P;
      T* gradient = space.grad_hh + q * units * 3 * P;
      for (int p = first; p < last; p++) {
        const int64_t from = int64_t(p) * P, to = std::min(from + P, units);
        if (space.full[p])
          add_dense(space.y_dense + p * space.rows * P, P, to - from, rows, q, third, 3 * P, gradient + from * 3 * P);
        else
          add_listed(space.events, from, to, q, third, 3 * P, gradient);
      }
    }
    const T* block = x + start * batch * inputs;
    if (layer.sparse_input) {
      const int64_t begin = team.begin(int(inputs), me), end = team.begin(int(inputs), me + 1);
      list_inputs(block, rows, begin, end);
      for (int q = 0; q < space.panels; q++)
        add_listed(space.inputs, begin, end, q, da_g_at(q, 0), da_g_step(), space.grad_ih + q * inputs * 3 * P);
    } else {
      for (int q = first; q < last; q++)
        add_dense(block, inputs, inputs, rows, q, da_g_at(q, 0), da_g_step(), space.grad_ih + q * inputs * 3 * P);
    }
  }

  // Whether the full product is to be used for the sources of a panel; if so, their events are made dense.
  bool mostly_active(int p, int64_t rows) {
    if (layer.skip == never) return true;
    if (!layer.after || layer.skip == always) return false;
    int64_t total = 0;
    for (int u = 0; u < P; u++) total += space.events.count[int64_t(p) * P + u];
    if (double(total) <= 0.4 * double(rows * P)) return false;
    T* dense = space.y_dense + p * space.rows * P;
    std::memset(dense, 0, rows * P * sizeof(T));
    for (int u = 0; u < P; u++) {
      const int64_t unit = int64_t(p) * P + u;
      for (int64_t at = unit * space.rows; at < unit * space.rows + space.events.count[unit]; at++)
        dense[space.events.row[at] * P + u] = space.events.value[at];
    }
    return true;
  }

  void list_inputs(const T* block, int64_t rows, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) space.inputs.count[i] = 0;
    for (int64_t n = 0; n < rows; n++) {
      for (int64_t i = begin; i < end; i += W) {
        const V<T> part = load_some<T>(block + n * inputs + i, int(end - i));
        for_bits(lane_bits<T>(part != T(0)), [&](int lane) {
          const int64_t at = (i + lane) * space.rows + space.inputs.count[i + lane]++;
          space.inputs.row[at] = int32_t(n);
          space.inputs.value[at] = block[n * inputs + i + lane];
        });
      }
    }
  }

  // Event-driven: gradient of panel q of the weights of sources from..to; `third` is the candidates' block.
  void add_listed(const RowLists<T>& lists, int64_t from, int64_t to, int q, const T* third, int64_t third_step,
                  T* gradient) {
    const T* dq = dq_at(q, 0);
    for (int64_t j = from; j < to; j++) {
      const int count = lists.count[j];
      if (!count) continue;
      T* row = gradient + j * 3 * P;
      V<T> acc[6];
#pragma GCC unroll 8
      for (int v = 0; v < 6; v++) acc[v] = load<T>(row + v * W);
      const int64_t base = j * lists.places;
      for (int e = 0; e < count; e++) {
        const int64_t n = lists.row[base + e];
        const V<T> value = splat<T>(lists.value[base + e]), gated = splat<T>(lists.gated[base + e]);
#pragma GCC unroll 8
        for (int v = 0; v < 4; v++) acc[v] += value * load<T>(dq + n * 3 * P + v * W);
        acc[4] += gated * load<T>(third + n * third_step);
        acc[5] += gated * load<T>(third + n * third_step + W);
      }
#pragma GCC unroll 8
      for (int v = 0; v < 6; v++) store<T>(row + v * W, acc[v]);
    }
  }

  // The same for all of `count` sources, whose values lie in rows `step` apart.
  void add_dense(const T* values, int64_t step, int64_t count, int64_t rows, int q, const T* third,
                 int64_t third_step, T* gradient) {
    constexpr int64_t strip = 64;  // rows of dq that stay in the nearest cache
    for (int64_t n = 0; n < rows; n += strip) {
      const int64_t some = rows - n < strip ? rows - n : strip;
      for_tiles<tile_rows(6)>(int(count), [&](auto m, int i) __attribute__((always_inline)) {
        constexpr int M = decltype(m)::value;
        V<T> acc[M][6];
#pragma GCC unroll 8
        for (int k = 0; k < M; k++)
#pragma GCC unroll 8
          for (int v = 0; v < 6; v++) acc[k][v] = load<T>(gradient + (i + k) * 3 * P + v * W);
        multiply<T, M, 4, 2>(acc, some, values + n * step + i, 1, step, dq_at(q, n), 3 * P, third + n * third_step,
                             third_step);
#pragma GCC unroll 8
        for (int k = 0; k < M; k++)
#pragma GCC unroll 8
          for (int v = 0; v < 6; v++) store<T>(gradient + (i + k) * 3 * P + v * W, acc[k][v]);
      });
    }
  }

  void finish() {
    T *theta = static_cast<T*>(layer.grad_theta), *bias_ih = static_cast<T*>(layer.grad_bias_ih),
      *bias_hh = static_cast<T*>(layer.grad_bias_hh), *grad_c0 = static_cast<T*>(layer.grad_c0),
      *grad_y0 = static_cast<T*>(layer.grad_y0);
    for (int p = first; p < last; p++) {
      for (int u = 0; u < P && int64_t(p) * P + u < units; u++) {
        const int64_t unit = int64_t(p) * P + u;
        theta[unit] = -sum_at(p, THETA)[u];
        bias_ih[unit] = bias_hh[unit] = sum_at(p, Z)[u];
        bias_ih[units + unit] = bias_hh[units + unit] = sum_at(p, R)[u];
        bias_ih[2 * units + unit] = sum_at(p, A)[u];
        bias_hh[2 * units + unit] = sum_at(p, layer.after ? Q : A)[u];
        for (int64_t b = 0; b < batch; b++) {
          grad_c0[b * units + unit] = space.carry_c[(p * batch + b) * P + u];
          if (grad_y0) grad_y0[b * units + unit] = space.carry_y[(p * batch + b) * P + u];
        }
      }
      unpack_rows(space.grad_ih + p * inputs * 3 * P, units, inputs, p, 0, inputs,
                  static_cast<T*>(layer.grad_weight_ih));
    }
    // Of the recurrent weights a thread has the columns of its units.
    const int64_t from = int64_t(first) * P, to = int64_t(last) * P < units ? int64_t(last) * P : units;
    for (int q = 0; q < space.panels; q++)
      unpack_rows(space.grad_hh + q * units * 3 * P, units, units, q, from, to,
                  static_cast<T*>(layer.grad_weight_hh));
  }
};

}  // namespace egru
