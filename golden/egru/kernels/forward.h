// The forward pass of one layer. A thread owns panels of units, and computes them for all sequences.
//
// Sums are formed in the same order whatever the number of threads: by input, then by source unit.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>
#include "layer.h"
#include "team.h"
#include "tile.h"

namespace egru {

template <class T>
struct ForwardSpace {
  static constexpr int P = panel<T>;
  T *bias, *theta, *c, *sums, *gates;
  int32_t *index[2], *count[2], *x_index, *x_count, *fired;
  T *value[2], *gated, *x_value;
  int32_t *all_row, *all_begin;  // of each thread: the events of all units; see gather_events
  T* all_value;
  int panels, block;  // block: steps whose input products are formed together
  int64_t list;       // places for the events of a sequence: as many as units
  int64_t line;       // sequences, rounded up so that numbers of two threads do not share a cache line
  int64_t places;     // for the gathered events of all sequences
  int ranges;         // of sources, into which events are gathered at most

  ForwardSpace(const Layer& layer, Arena&& arena) { lay_out(layer, arena); }
  ForwardSpace(const Layer& layer, Arena& arena) { lay_out(layer, arena); }

  void lay_out(const Layer& layer, Arena& arena) {
    const int64_t batch = layer.batch;
    panels = panels_of<T>(layer.units);
    block = batch >= 8 ? 1 : int(16 / batch);
    list = int64_t(panels) * P;
    line = (batch + 15) / 16 * 16;
    places = (batch * list + copied + 15) / 16 * 16;
    ranges = layer.after && batch >= 8 && vector_bytes <= 32 ? (panels + near_panels - 1) / near_panels : 1;
    const int64_t lists = ranges + layer.threads;  // at most: each thread divides its panels alike
    bias = arena.take<T>(int64_t(panels) * 4 * P);
    theta = arena.take<T>(int64_t(panels) * P);
    c = arena.take<T>(panels * batch * P);
    sums = arena.take<T>((block > 1 ? panels : layer.threads) * block * batch * 4 * P);
    gates = arena.take<T>(layer.after ? 0 : panels * batch * 3 * P);
    for (int k = 0; k < 2; k++) {
      index[k] = arena.take<int32_t>(batch * list + copied);
      value[k] = arena.take<T>(batch * list + copied);
      count[k] = arena.take<int32_t>(lists * line);
    }
    fired = arena.take<int32_t>(panels * line);
    gated = arena.take<T>(layer.after ? 0 : batch * list);
    all_row = arena.take<int32_t>(layer.after ? layer.threads * places : 0);
    all_value = arena.take<T>(layer.after ? layer.threads * places : 0);
    all_begin = arena.take<int32_t>(layer.threads * (ranges * line + 16));
    const int64_t x_places = layer.sparse_input ? layer.threads * block * batch : 0;
    x_index = arena.take<int32_t>(x_places * layer.inputs);
    x_value = arena.take<T>(x_places * layer.inputs);
    x_count = arena.take<int32_t>(x_places);
  }
  static constexpr int copied = 16;  // events are copied so many at a time, and some places behind them with them
  // The rows of so many panels' units, of one panel's weights, stay in the nearest cache: with vectors of 32 bytes they
  // are 24 KiB. With longer ones they would be too few to make up for the work at each range's begin and end.
  static constexpr int near_panels = 128 / P;
};

template <class T>
class Forward {
  static constexpr int P = panel<T>, W = width<T>;
  const Layer& layer;
  Team& team;
  const int me;
  const ForwardSpace<T> space;
  const int64_t batch, units, inputs;
  const int first, last;  // the panels of this thread
  const int parts;        // into which the panels of each thread are divided
  std::vector<int> list_first;  // for each part of each thread its first panel; it has a list of events per sequence
  const T *x, *y0;
  T* const y;
  const Kept<T> kept;

  // A panel of units in a sequence.
  struct Place {
    int p;
    int64_t b;
  };

 public:
  Forward(const Layer& layer, Team& team, int me)
      : layer(layer), team(team), me(me), space(layer, Arena(layer.workspace)), batch(layer.batch),
        units(layer.units), inputs(layer.inputs), first(team.begin(space.panels, me)),
        last(team.begin(space.panels, me + 1)), parts((space.ranges + team.size - 1) / team.size),
        x(static_cast<const T*>(layer.x)), y0(static_cast<const T*>(layer.y0)), y(static_cast<T*>(layer.y)),
        kept(layer) {
    for (int thread = 0; thread < team.size; thread++) {
      const int begin = team.begin(space.panels, thread), end = team.begin(space.panels, thread + 1);
      for (int part = 0; part < parts; part++) list_first.push_back(begin + (end - begin) * part / parts);
    }
    list_first.push_back(space.panels);
  }

  void run() {
    prepare();
    team.wait();
    for (int64_t t = 0; t < layer.steps; t++) {
      if (t % space.block == 0) {
        if (layer.sparse_input) list_inputs(t);
        if (space.block > 1)
          for (int p = first; p < last; p++) add_inputs(t, p);
      }
      clear_lists(int(t & 1));
      if (layer.after) {
        step_after(t);
      } else {
        step_before(t);
      }
      team.wait();
    }
    finish();
  }

 private:
  bool ended(int64_t t, int64_t b) const { return layer.lengths && t >= layer.lengths[b]; }
  bool listed() const { return layer.skip != never || !layer.after; }
  int lanes(int p) const { return int(units - int64_t(p) * P < P ? units - int64_t(p) * P : P); }
  T* packed(int p) const { return static_cast<T*>(layer.packed) + p * units * 3 * P; }
  T* packed_inputs(int p) const { return static_cast<T*>(layer.packed_inputs) + p * inputs * 3 * P; }
  T* wrong(int p) const { return static_cast<T*>(layer.packed_inputs) + space.panels * inputs * 3 * P + int64_t(p) * P; }
  const T* y_before(int64_t t) const { return t ? y + (t - 1) * batch * units : y0; }

  void prepare() {
    const T *bias_ih = static_cast<const T*>(layer.bias_ih), *bias_hh = static_cast<const T*>(layer.bias_hh);
    const T *theta = static_cast<const T*>(layer.theta), *c0 = static_cast<const T*>(layer.c0);
    clear_lists(1);
    for (int p = first; p < last; p++) {
      if (!layer.ordered) {
        for (int u = 0; u < P; u++) wrong(p)[u] = T(0);
        pack_rows(static_cast<const T*>(layer.weight_hh), units, units, p, packed(p), wrong(p));
        pack_rows(static_cast<const T*>(layer.weight_ih), units, inputs, p, packed_inputs(p), wrong(p));
      }
      for (int u = 0; u < P; u++) {
        const int64_t unit = int64_t(p) * P + u;
        const bool real = unit < units;
        T* bias = space.bias + p * 4 * P + u;
        bias[0] = real ? bias_ih[unit] + bias_hh[unit] : T(0);
        bias[P] = real ? bias_ih[units + unit] + bias_hh[units + unit] : T(0);
        bias[2 * P] = real ? bias_ih[2 * units + unit] : T(0);
        bias[3 * P] = real ? bias_hh[2 * units + unit] : T(0);
        space.theta[unit] = real ? theta[unit] : std::numeric_limits<T>::infinity();
        // Whatever comes in, the potential of a unit is NaN that has such a parameter.
        const T r = bias[P], given = space.theta[unit], weight = wrong(p)[u];
        if (real && (r != r || given != given || weight != weight)) bias[2 * P] = std::numeric_limits<T>::quiet_NaN();
      }
      for (int64_t b = 0; b < batch; b++) {
        T* c = space.c + (p * batch + b) * P;
        const int64_t at = b * units + int64_t(p) * P;
        for (int u = 0; u < P; u++) c[u] = u < lanes(p) ? c0[at + u] : T(0);
        if (!listed()) continue;
        uint32_t sent = 0;
        for (int u = 0; u < lanes(p); u++) sent |= uint32_t(y0[at + u] != T(0)) << u;
        list_events(1, list_of(p), b, p, sent, y0 + b * units);
      }
    }
  }

  void list_inputs(int64_t t) {
    const int64_t rows = rows_from(t);
    for (int64_t n = 0; n < rows; n++) {
      const T* row = x + (t * batch + n) * inputs;
      const int64_t place = me * space.block * batch + n;
      int32_t* index = space.x_index + place * inputs;
      T* value = space.x_value + place * inputs;
      int32_t count = 0;
      for (int64_t i = 0; i < inputs; i += W) {
        const V<T> part = load_some<T>(row + i, int(inputs - i));
        for_bits(lane_bits<T>(part != T(0)), [&](int lane) {
          index[count] = int32_t(i + lane);
          value[count++] = row[i + lane];
        });
      }
      space.x_count[place] = count;
    }
  }

  int64_t rows_from(int64_t t) const {
    return (layer.steps - t < space.block ? layer.steps - t : space.block) * batch;
  }

  // Biases and input products of a panel, from step t on: rows x (z, r, a_g, room for q).
  void add_inputs(int64_t t, int p) {
    const T *weight = packed_inputs(p), *bias = space.bias + p * 4 * P;
    T* sums = sums_at(t, p);
    const int64_t rows = rows_from(t);
    if (layer.sparse_input) {
      for (int64_t n = 0; n < rows; n++) {
        V<T> acc[6];
        for (int v = 0; v < 6; v++) acc[v] = load<T>(bias + v * W);
        const int64_t place = me * space.block * batch + n;
        add_rows<6>(acc, weight, space.x_index + place * inputs, space.x_value + place * inputs,
                    space.x_count[place]);
        for (int v = 0; v < 6; v++) store<T>(sums + n * 4 * P + v * W, acc[v]);
      }
      return;
    }
    for_tiles<tile_rows(6)>(int(rows), [&](auto m, int n) __attribute__((always_inline)) {
      constexpr int M = decltype(m)::value;
      V<T> acc[M][6];
#pragma GCC unroll 8
      for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int v = 0; v < 6; v++) acc[i][v] = load<T>(bias + v * W);
      multiply<T, M, 6, 0>(acc, inputs, x + (t * batch + n) * inputs, inputs, 1, weight, 3 * P, nullptr, 0);
#pragma GCC unroll 8
      for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int v = 0; v < 6; v++) store<T>(sums + (n + i) * 4 * P + v * W, acc[i][v]);
    });
  }

  // The event-driven product: rows of the weights of those sources that sent something.
  template <int N>
  static inline void add_row(V<T> (&acc)[N], const T* row, T value) {
    const V<T> factor = splat<T>(value);
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) acc[v] += factor * load<T>(row + v * W);
  }
  template <int N>
  static inline void add_rows(V<T> (&acc)[N], const T* weight, const int32_t* index, const T* value, int count) {
    for (int e = 0; e < count; e++) add_row<N>(acc, weight + int64_t(index[e]) * 3 * P, value[e]);
  }

  // Lists of events: list k is of the panels from list_first[k] to list_first[k + 1].
  int lists() const { return int(list_first.size()) - 1; }
  int list_of(int p) const {
    int k = (me + 1) * parts - 1;
    while (p < list_first[k]) k--;
    return k;
  }
  int64_t list_at(int k, int64_t b) const { return b * space.list + int64_t(list_first[k]) * P; }
  void clear_lists(int parity) {
    for (int k = me * parts; k < (me + 1) * parts; k++)
      for (int64_t b = 0; b < batch; b++) space.count[parity][k * space.line + b] = 0;
  }

  template <int N>
  inline void add_events(V<T> (&acc)[N], int parity, int64_t b, const T* weight, const T* value) const {
    for (int k = 0; k < lists(); k++)
      add_rows<N>(acc, weight, space.index[parity] + list_at(k, b), value + list_at(k, b),
                  space.count[parity][k * space.line + b]);
  }

  // Copy the events of all threads to where this one has them close together, for all of its panels: those of a range
  // of sources, sequence after sequence, then those of the next range. Instead of its source, an event there has where
  // the source's row begins in a panel of weights. Returns how many ranges: a sequence has `enough` events in each.
  int gather_events(int parity, int64_t events) {
    constexpr int copied = ForwardSpace<T>::copied, enough = 16;
    const int ranges = int(std::clamp<int64_t>(events / (enough * batch), 1, space.ranges));
    int32_t *row = all_row(), *begin = all_begin(), to = 0;
    T* value = all_value();
    for (int range = 0; range < ranges; range++) {
      for (int64_t b = 0; b < batch; b++) {
        *begin++ = to;
        for (int k = lists() * range / ranges; k < lists() * (range + 1) / ranges; k++) {
          const int32_t* from = space.index[parity] + list_at(k, b);
          const T* sent = space.value[parity] + list_at(k, b);
          const int32_t count = space.count[parity][k * space.line + b];
          for (int32_t e = 0; e < count; e += copied) {
#pragma GCC unroll 16
            for (int i = 0; i < copied; i++) row[to + e + i] = int32_t(uint32_t(from[e + i]) * (3 * P));
            std::memcpy(value + to + e, sent + e, copied * sizeof(T));
          }
          to += count;
        }
      }
    }
    *begin = to;
    return ranges;
  }
  int32_t* all_row() const { return space.all_row + me * space.places; }
  int32_t* all_begin() const { return space.all_begin + me * (space.ranges * space.line + 16); }
  T* all_value() const { return space.all_value + me * space.places; }

  int64_t events_before(int64_t t) const {
    int64_t total = 0;
    for (int k = 0; k < lists(); k++)
      for (int64_t b = 0; b < batch; b++) total += space.count[(t + 1) & 1][k * space.line + b];
    return total;
  }

  // Sums of a panel at a step; with many sequences there is one place for all panels of a thread.
  T* sums_at(int64_t t, int p) const {
    return space.sums + (space.block > 1 ? p * space.block + t % space.block : me) * batch * 4 * P;
  }

  // Products of all sequences first, gates after them: the gates of one sequence are a long chain of
  // operations, and those of several overlap when nothing lies between them. With few sequences, so do panels'.
  void step_after(int64_t t) {
    const int64_t events = events_before(t);
    const bool sparse = double(events) <= dense_share(layer) * double(batch * units);
    const int ranges = sparse ? gather_events(int(t + 1) & 1, events) : 0;
    for (int p = first; p < last; p++) {
      if (space.block == 1) add_inputs(t, p);
      if (sparse)
        add_gathered(t, p, ranges);
      else
        add_values(t, p);
      if (space.block == 1) update_after(t, p, p + 1);
    }
    if (space.block > 1) update_after(t, first, last);
  }

  // Products of a panel with the gathered events; the rows of a range stay near for all sequences.
  void add_gathered(int64_t t, int p, int ranges) {
    const T *weight = packed(p), *bias = space.bias + (p * 4 + 3) * P, *value = all_value();
    const int32_t *row = all_row(), *begin = all_begin();
    T* sums = sums_at(t, p);
    for (int range = 0; range < ranges; range++) {
      for (int64_t b = 0; b < batch; b++, begin++) {
        V<T> acc[1][6];
        load_sums<1>(acc, sums + b * 4 * P, range ? sums + b * 4 * P + 3 * P : bias);
        for (int e = begin[0]; e < begin[1]; e++) add_row<6>(acc[0], weight + row[e], value[e]);
        store_sums<1>(acc, sums + b * 4 * P);
      }
    }
  }

  // Products of a panel with what all units have sent, zeros too.
  void add_values(int64_t t, int p) {
    const T *weight = packed(p), *bias = space.bias + (p * 4 + 3) * P, *previous = y_before(t);
    T* sums = sums_at(t, p);
    for_tiles<tile_rows(6)>(int(batch), [&](auto m, int b) __attribute__((always_inline)) {
      constexpr int M = decltype(m)::value;
      V<T> acc[M][6];
      load_sums<M>(acc, sums + b * 4 * P, bias);
      multiply<T, M, 6, 0>(acc, units, previous + b * units, units, 1, weight, 3 * P, nullptr, 0);
      store_sums<M>(acc, sums + b * 4 * P);
    });
  }

  // Gates, states and events of the panels p..end.
  void update_after(int64_t t, int begin, int end) {
    Place held[2];
    int count = 0;
    for (int p = begin; p < end; p++) {
      for (int64_t b = 0; b < batch; b++) {
        if (ended(t, b)) {
          silence(t, b, p);
          space.fired[p * space.line + b] = 0;
          continue;
        }
        held[count++] = {p, b};
        if (count == 2) update<2>(t, held), count = 0;
      }
    }
    if (count) update<1>(t, held);
    // Apart from the gates: a branch that is guessed wrong would have to wait for their long chain.
    if (!listed()) return;
    const T* row = y + t * batch * units;
    for (int p = begin; p < end; p++) {
      const int k = list_of(p);
      for (int64_t b = 0; b < batch; b++)
        list_events(int(t & 1), k, b, p, uint32_t(space.fired[p * space.line + b]), row + b * units);
    }
  }

  // Rows of sums hold z, r, a_g and q; the accumulators z, r and q.
  template <int M>
  static inline void load_sums(V<T> (&acc)[M][6], const T* sums, const T* bias) {
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int v = 0; v < 6; v++) acc[i][v] = load<T>(v < 4 ? sums + i * 4 * P + v * W : bias + (v - 4) * W);
  }
  template <int M>
  static inline void store_sums(const V<T> (&acc)[M][6], T* sums) {
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int v = 0; v < 6; v++) store<T>(sums + i * 4 * P + (v < 4 ? v : v + 2) * W, acc[i][v]);
  }

  // reset="before": the candidates' products are of r * y, so all r come first.
  void step_before(int64_t t) {
    const int before = int(t + 1) & 1;
    for (int p = first; p < last; p++) {
      if (space.block == 1) add_inputs(t, p);
      const T *sums = sums_at(t, p), *weight = packed(p);
      T* gates = space.gates + p * batch * 3 * P;
      for (int64_t b = 0; b < batch; b++) {
        if (ended(t, b)) continue;
        V<T> acc[4];
        for (int v = 0; v < 4; v++) acc[v] = load<T>(sums + b * 4 * P + v * W);
        add_events<4>(acc, before, b, weight, space.value[before]);
        sigmoid<T>(acc);
        for (int v = 0; v < 4; v++) store<T>(gates + b * 3 * P + v * W, acc[v]);
        for (int v = 4; v < 6; v++) store<T>(gates + b * 3 * P + v * W, load<T>(sums + b * 4 * P + v * W));
      }
    }
    for (int k = me * parts; k < (me + 1) * parts; k++) {
      for (int64_t b = 0; b < batch; b++) {
        const int64_t at = list_at(k, b);
        for (int e = 0; e < space.count[before][k * space.line + b]; e++) {
          const int unit = space.index[before][at + e];
          const T r = space.gates[((unit / P) * batch + b) * 3 * P + P + unit % P];
          space.gated[at + e] = r * space.value[before][at + e];
        }
      }
    }
    team.wait();
    for (int p = first; p < last; p++) {
      const T *weight = packed(p) + 2 * P, *bias = space.bias + (p * 4 + 3) * P;
      const int k = list_of(p);
      for (int64_t b = 0; b < batch; b++) {
        if (ended(t, b)) {
          silence(t, b, p);
          continue;
        }
        V<T> acc[2] = {load<T>(bias), load<T>(bias + W)};
        add_events<2>(acc, before, b, weight, space.gated);
        const T* gates = space.gates + (p * batch + b) * 3 * P;
        uint32_t fired = 0;
        for (int v = 0; v < 2; v++) {
          const V<T> z = load<T>(gates + v * W), r = load<T>(gates + P + v * W);
          V<T> g[1] = {load<T>(gates + 2 * P + v * W) + acc[v]};
          tanh<T>(g);
          const V<T> potential = fire(t, b, p, v, z, g[0], fired);
          if (kept.values) keep(t, b, p, v, z, r, g[0], potential);
        }
        list_events(int(t & 1), k, b, p, fired, y + (t * batch + b) * units);
      }
    }
  }

  // Gates, states and events of M places.
  template <int M>
  inline void update(int64_t t, const Place* at) {
    V<T> zr[M][4], g[2 * M];
    const T* sums[M];
#pragma GCC unroll 2
    for (int m = 0; m < M; m++) {
      sums[m] = sums_at(t, at[m].p) + at[m].b * 4 * P;
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) zr[m][v] = load<T>(sums[m] + v * W);
      sigmoid<T>(zr[m]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < 2 * M; v++) {
      const T* from = sums[v / 2] + v % 2 * W;
      g[v] = load<T>(from + 2 * P) + zr[v / 2][2 + v % 2] * load<T>(from + 3 * P);
    }
    tanh<T>(g);
#pragma GCC unroll 2
    for (int m = 0; m < M; m++) {
      const auto [p, b] = at[m];
      uint32_t over = 0;
#pragma GCC unroll 2
      for (int v = 0; v < 2; v++) {
        const V<T> z = zr[m][v], r = zr[m][2 + v];
        const V<T> potential = fire(t, b, p, v, z, g[2 * m + v], over);
        if (kept.values) {
          keep(t, b, p, v, z, r, g[2 * m + v], potential);
          store<T>(kept.value(t, b, p) + 3 * P + v * W, load<T>(sums[m] + 3 * P + v * W));
        }
      }
      space.fired[p * space.line + b] = int32_t(over);
    }
  }

  inline void keep(int64_t t, int64_t b, int p, int v, V<T> z, V<T> r, V<T> g, V<T> potential) {
    T* to = kept.value(t, b, p) + v * W;
    store<T>(to, z);
    store<T>(to + P, r);
    store<T>(to + 2 * P, g);
    store<T>(kept.potential(t, b, p) + v * W, potential);
  }

  // State, threshold and event of one vector of units; returns the potential before the reset.
  inline V<T> fire(int64_t t, int64_t b, int p, int v, V<T> z, V<T> g, uint32_t& fired) {
    T* state = space.c + (p * batch + b) * P + v * W;
    const int64_t unit = int64_t(p) * P + v * W;
    const int count = int(units - unit);
    const V<T> theta = load<T>(space.theta + unit);
    V<T> potential = z * load<T>(state) + (T(1) - z) * g;
    if (!layer.threshold_reset && count > 0) potential -= load_some<T>(y_before(t) + b * units + unit, count);
    // A potential that is NaN is sent, so that it reaches all units and the readout, though no unit fired.
    const Mask<T> over = potential > theta, sent = over | (potential != potential);
    store<T>(state, layer.threshold_reset ? select<T>(over, potential - theta, potential) : potential);
    const int64_t at = (t * batch + b) * units + unit;
    store_some<T>(y + at, select<T>(sent, potential, V<T>{}), count);
    if (layer.o) store_some<T>(static_cast<T*>(layer.o) + at, select<T>(over, splat<T>(1), V<T>{}), count);
    fired |= lane_bits<T>(sent) << (v * W);
    return potential;
  }

  // Add what units of a panel sent, the bits of `sent`, to list k; `row` has the values of all units.
  void list_events(int parity, int k, int64_t b, int p, uint32_t sent, const T* row) {
    int32_t *count = space.count[parity] + k * space.line + b, *index = space.index[parity] + list_at(k, b);
    T* value = space.value[parity] + list_at(k, b);
    const int here = lanes(p);
    sent &= uint32_t((uint64_t(1) << here) - 1);  // NaN reaches the places behind the last unit, too
    int n = *count;
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      if (v * W >= here) break;
      const int unit = p * P + v * W;
      n += compress<T>(sent >> (v * W) & ((1u << W) - 1), load_some<T>(row + unit, here - v * W), unit, index + n,
                       value + n);
    }
    *count = n;
  }

  void silence(int64_t t, int64_t b, int p) {
    const int64_t at = (t * batch + b) * units + int64_t(p) * P;
    for (int u = 0; u < lanes(p); u++) y[at + u] = T(0);
    if (layer.o)
      for (int u = 0; u < lanes(p); u++) static_cast<T*>(layer.o)[at + u] = T(0);
  }

  void finish() {
    for (int p = first; p < last; p++) {
      for (int64_t b = 0; b < batch; b++) {
        const int64_t end = layer.lengths ? layer.lengths[b] : layer.steps;
        for (int u = 0; u < lanes(p); u++) {
          const int64_t at = b * units + int64_t(p) * P + u;
          static_cast<T*>(layer.c_last)[at] = space.c[(p * batch + b) * P + u];
          static_cast<T*>(layer.y_last)[at] = y[(end - 1) * batch * units + at];
        }
      }
    }
  }
};

}  // namespace egru
