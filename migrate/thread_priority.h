#pragma once

#include "base/time.h"

/// Which threads of the engine go first. Each call is about the calling thread.
namespace hob::migrate {

/// A program waits for this thread: it runs at once, before all that is not real-time (SCHED_FIFO).
/// Where that is not allowed it stays as it is.
void go_first();

/// While it lives, the thread is one that nobody waits for: it works through much memory, and a
/// program that wakes up meanwhile is not to wait for it.
///
/// nice 5, and a slice of 20 ms. A slice is how long the scheduler lets a thread work before others
/// have their turn, and by that also how soon it must have its own: a thread with a shorter slice
/// that wakes up goes before one with a longer slice at once (PREEMPT_SHORT, Linux 6.12). With the
/// same slice it waits until the other's has passed, and 4 ms until somebody looks. The share of
/// the processor is not touched; SCHED_IDLE would leave nothing beside a busy program, for as long
/// as it is busy.
///
/// That decides within a group of processes. Between groups (sessions, services, cgroups) a program
/// that has had its share may still have to wait for the next tick, 4 ms at 250 Hz; so the thread
/// sleeps for an instant in each millisecond in which it has not slept by itself, if it calls
/// pause() often enough. Its session's own weight stays what it is: with a tenth of it, on a
/// machine whose processors are all busy, the host that a guest has left was clean after 4 to 7 s,
/// not 1.3 s.
class BulkPriority {
 public:
  BulkPriority();
  ~BulkPriority();
  BulkPriority(const BulkPriority&) = delete;
  BulkPriority& operator=(const BulkPriority&) = delete;
  /// To be called between any two steps of the work.
  void pause();

 private:
  Time slept_;
  Duration between_;  // pauses
  long sleeps_ = 0;
};

}  // namespace hob::migrate
