// The processor, at once: the owner does not wait for his machine because other programs are busy.
//
// hostd sleeps, wakes at a key, and must run then, not when the scheduler next looks round (4 ms at
// 250 Hz): nice values, slices and SCHED_IDLE decide within a group of processes only, and which
// groups a machine has (sessions, services) is not ours. Real time decides everywhere.
#pragma once

#include "base/result.h"

namespace hob::hostd {

/// A nice value of -11, as other programs have it that people wait for with their fingers on the
/// keys (sound servers). Threads and processes started afterwards inherit it. Needs CAP_SYS_NICE.
Result<void> prefer_this_thread();

/// The opposite, for a child that is to be like any other process.
Result<void> ordinary_priority();

/// While it lives, the calling thread is ahead of all that is not real-time itself (SCHED_FIFO 1),
/// and its children are not. Where that is not allowed (a v1 cpu group without real-time allowance)
/// the thread stays as it is.
class FirstOfAll {
 public:
  FirstOfAll();
  ~FirstOfAll();
  FirstOfAll(const FirstOfAll&) = delete;
  FirstOfAll& operator=(const FirstOfAll&) = delete;

 private:
  bool raised_;
};

}  // namespace hob::hostd
