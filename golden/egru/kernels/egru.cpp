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

extern "C" {

int64_t egru_panel(int64_t size) { return size == 4 ? panel<float> : panel<double>; }

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
