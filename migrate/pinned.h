#pragma once

#include <sched.h>

#include "migrate/types.h"

namespace hob::migrate {

/// While it lives the calling thread stays on the processor it is on. Injecting into a tracee on
/// the same processor costs a fifteenth of what it costs across two (ENGINE.md section 2). For
/// speed alone: where it is not allowed nothing happens.
class Pinned {
 public:
  Pinned() : Pinned(::sched_getcpu()) {}
  /// Moves it to `processor` first, if it may be there.
  explicit Pinned(int processor);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  int processor() const { return processor_; }
  /// Brings another thread here; false: it may not be here. free() lets it run where the calling
  /// thread may otherwise run.
  bool bring(Tid thread) const;
  void free(Tid thread) const;

 private:
  int processor_;
  cpu_set_t before_ = {};
  bool known_;
};

/// The calling thread leaves a processor alone from now on, if it may be on another.
void keep_off(int processor);

/// While it lives the calling thread leaves a processor alone, if there is another: a guest runs
/// there, and a thread that wakes up often where it ran last would take turns with it beside idle
/// processors.
class KeptOff {
 public:
  explicit KeptOff(int processor);
  ~KeptOff();
  KeptOff(const KeptOff&) = delete;
  KeptOff& operator=(const KeptOff&) = delete;

 private:
  cpu_set_t before_ = {};
  bool known_;
};

}  // namespace hob::migrate
