// Threads that work through the steps of a sequence together.
#pragma once
#include <atomic>
#if defined(_OPENMP)
#include <omp.h>
#include <sched.h>
#endif

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#endif

namespace egru {

// The thread sanitizer does not see how OpenMP's runtime orders threads: what one did before it told is done when
// another has heard. All else that it is to know is in `Team`.
inline void tell([[maybe_unused]] void* what) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(what);
#endif
}
inline void hear([[maybe_unused]] void* what) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(what);
#endif
}

// What one thread of a team knows. Panels of units are shared out in contiguous ranges.
class Team {
 public:
  explicit Team(int size) : size(size) {}

  // Wait for all threads. A step lasts microseconds, so a thread spins first; it gives its core away when
  // the others take long, for then they are probably waiting for one.
  void wait() {
    if (size == 1) return;
    const int now = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      arrived.store(0, std::memory_order_relaxed);
      phase.store(now + 1, std::memory_order_release);
      return;
    }
#if defined(_OPENMP)
    for (int spins = 0; phase.load(std::memory_order_acquire) == now; spins++) {
      if (spins < 1000) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      } else {
        sched_yield();
      }
    }
#endif
  }

  // First of the items 0..count that belong to a thread; those of the next begin where its own end.
  int begin(int count, int thread) const { return int((long long)count * thread / size); }

  const int size;

 private:
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<int> phase{0};
};

// Run body(team, thread) in up to `threads` threads; there may be fewer.
template <class Body>
void run_team(int threads, Body&& body) {
#if defined(_OPENMP)
  if (threads > 1) {
    Team* team = nullptr;
    tell(&team);
#pragma omp parallel num_threads(threads) shared(team)
    {
      hear(&team);
#pragma omp single
      {
        team = new Team(omp_get_num_threads());
        tell(&team);
      }
      hear(&team);
      body(*team, omp_get_thread_num());
      tell(&team);
    }
    hear(&team);
    delete team;
    return;
  }
#endif
  Team alone(1);
  body(alone, 0);
}

}  // namespace egru
