#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "migrate/types.h"

/// Where a running program's registers point, so that the pages which it works with travel in the
/// image and need not be asked for at the target one after the other.
///
/// A load or a store has its address in registers, so whoever looks at them often enough finds the
/// pages of a loop. The kernel takes a sample every 50 us of a thread's time (perf_event_open(2),
/// PERF_SAMPLE_REGS_USER), some microseconds each; the program is not stopped. It is a hint: where
/// the kernel gives no samples there are none.
namespace hob::migrate {

/// Page by page, those that most samples name first; mapped or not.
using TouchedPages = std::map<Tid, std::vector<uint64_t>>;

class RegisterSamples {
 public:
  /// Prepares to look at the threads of a process that are running now, eight in all.
  void watch(Tid process);
  /// Begins to look, for the next 10 ms of each thread's time.
  void begin();
  /// What was seen. Ends it: a thread with an event takes longer to stop and to start.
  TouchedPages take();

 private:
  struct Unmap {
    void operator()(void* at) const;
  };
  struct Watched {
    Tid process;
    Fd event;
    std::unique_ptr<void, Unmap> samples;
  };
  std::vector<Watched> watched_;
};

/// Pages that hold one of `words`, in order of how many samples (`per_sample` words each) name
/// them. Pure.
std::vector<uint64_t> rank_pages(std::span<const uint64_t> words, size_t per_sample);

}  // namespace hob::migrate
