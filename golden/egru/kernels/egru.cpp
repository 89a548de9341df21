// C entry points; every one takes a `Layer` and the size of its numbers, 4 or 8 bytes.
#include <limits>
#include "backward.h"
#include "forward.h"

using namespace egru;

template <class Space>
static int64_t measure(const Layer& layer) {
  Arena arena(nullptr);
  Space space(layer, arena);
  return arena.used;
}

template <template <class> class Pass, class T>
static void run(const Layer& layer) {
  run_team(int(layer.threads), [&](Team& team, int me) { Pass<T>(layer, team, me).run(); });
}

template <class T>
static int64_t numbers(const Layer& layer, int64_t which) {
  const int64_t places = int64_t(panels_of<T>(layer.units)) * panel<T>;
  if (which == 0) return places * 3 * layer.units;
  if (which == 1) return places * (3 * layer.inputs + 1);
  return layer.steps * layer.batch * places * (layer.after ? 5 : 4);
}

extern "C" {

int64_t egru_panel(int64_t size) { return size == 4 ? panel<float> : panel<double>; }

// How many bytes `Layer` has here.
int64_t egru_layer_size() { return sizeof(Layer); }

// How many numbers the memory at `packed`, `packed_inputs` and `kept` must have room for: which = 0, 1, 2.
int64_t egru_size(const Layer* layer, int64_t size, int64_t which) {
  return size == 4 ? numbers<float>(*layer, which) : numbers<double>(*layer, which);
}

int64_t egru_workspace(const Layer* layer, int64_t size, int64_t backward) {
  if (size == 4)
    return backward ? measure<BackwardSpace<float>>(*layer) : measure<ForwardSpace<float>>(*layer);
  return backward ? measure<BackwardSpace<double>>(*layer) : measure<ForwardSpace<double>>(*layer);
}

void egru_forward(const Layer* layer, int64_t size) {
  size == 4 ? run<Forward, float>(*layer) : run<Forward, double>(*layer);
}

void egru_backward(const Layer* layer, int64_t size) {
  size == 4 ? run<Backward, float>(*layer) : run<Backward, double>(*layer);
}
}
