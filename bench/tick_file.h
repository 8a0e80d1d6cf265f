#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "bench/ticks.h"

/// The benchmark's side of ticks.h: what programs have noted down about their own time.
namespace hob::bench {

class TickFile {
 public:
  /// A new file at `path` that every user may write to; it is removed with this object.
  static Result<TickFile> create(const std::string& path, unsigned slots);
  TickFile(TickFile&& other) noexcept;
  TickFile& operator=(TickFile&&) = delete;
  ~TickFile();

  const std::string& path() const { return path_; }
  /// The processes of a new program have set themselves up and tick.
  Result<void> wait_ready(Duration limit) const;
  /// The pid of the first process as it sees itself.
  pid_t pid() const { return static_cast<pid_t>(slots_[0].pid); }

  /// Makes all begin anew, and waits until they have.
  Result<void> begin_anew();
  /// All tick again after a move.
  Result<void> wait_ticking() const;
  /// The longest gap in the ticks of one of the processes since begin_anew(), and when it began
  /// (nanoseconds of CLOCK_REALTIME).
  struct Gap {
    Duration length{0};
    uint64_t began_ns = 0;
  };
  Gap worst() const;
  /// The longest gap in the ticks of the first process that began before `wall_ns`
  /// (CLOCK_REALTIME); zero: none is noted down.
  Duration worst_before(uint64_t wall_ns) const;
  /// How long faults took since begin_anew().
  std::vector<Duration> faults() const;

 private:
  TickFile(std::string path, tick_slot* slots, unsigned count);
  std::string path_;
  tick_slot* slots_;
  unsigned count_;
};

}  // namespace hob::bench
