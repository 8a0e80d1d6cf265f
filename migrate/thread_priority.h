#pragma once

#include <sys/types.h>

#include <thread>

#include "base/fd.h"
#include "base/time.h"

/// Which threads of the engine go first. Each call is about the calling thread, where it names no
/// other.
namespace hob::migrate {

/// Of real-time threads, what the engine waits for in a guest (urgency.h), and the engine's own,
/// which go before it: a thread of a guest that is stopped again while the kernel writes to a page
/// that has not arrived asks for it in a loop, without ever sleeping, and who is to bring it must
/// have a processor.
inline constexpr int kGuestFirst = 1, kEngineFirst = 2;

/// A program waits for this thread: it runs at once, before all that is not real-time (SCHED_FIFO).
/// Where that is not allowed it stays as it is.
void go_first();
/// The same for a thread that has just been made, by who made it: it would first have to wait for
/// its turn among all others to say so itself.
void go_first(std::thread& thread);

/// For a thread that is about to be killed, and gives back much memory then: others go before it,
/// as before BulkPriority, and before its session (LightSession).
void yield_to_all(pid_t thread);

/// Gives the session of a foreign guest (program.cc), which weighs least, its usual weight. Others
/// have theirs from who is at work here (LightSession).
void weigh_as_usual(pid_t process);

/// While it lives, the session of this process weighs a tenth of a program's where autogroups weigh
/// sessions against each other (sched(7)): its one thread prepares something that nobody waits for,
/// beside programs that go on. Real-time threads of it go first all the same.
///
/// Who wakes up goes before whoever runs if his turn is due sooner; a turn of the thread is due in
/// its slice (the longest there is, 100 ms) divided by its weight, so that is nearly always.
class LightSession {
 public:
  LightSession();
  ~LightSession();
  LightSession(const LightSession&) = delete;
  LightSession& operator=(const LightSession&) = delete;
  /// From now on, for a process whose guest has left it: it clears up and ends, and that takes a
  /// millisecond.
  static void for_good();
};

/// Whether a thread gets a processor when it wants one. Pure.
///
/// It begins as one that does. One that has waited for four times as long as it ran finds all
/// processors taken (beside a busy program on each, a tenth of the weight makes it ten times); one
/// that has waited for less than it ran finds room again. In between nothing changes, so that it
/// does not swing.
class Crowding {
 public:
  /// In the time since the last call.
  bool after(Duration ran, Duration waited);

 private:
  bool crowded_ = false;
};

/// While it lives, the thread is one that nobody waits for: it works through much memory, and a
/// program that wakes up meanwhile is not to wait for it.
///
/// nice 5, and a slice of 20 ms. A slice is how long the scheduler lets a thread work before others
/// have their turn, and by that also how soon it must have its own: a thread with a shorter slice
/// that wakes up goes before one with a longer slice at once (PREEMPT_SHORT, Linux 6.12). With the
/// same slice it waits until the other's has passed, and 4 ms until somebody looks. SCHED_IDLE
/// would leave nothing beside a busy program, for as long as it is busy.
///
/// That decides within a group of processes. Between sessions (autogroups, sched(7)) it is their
/// weights that do: a program that has just had its share would wait for the next tick, 4 ms at 250
/// Hz, so the engine's session weighs a tenth (LightSession). Where all processors are busy it has
/// to have its full weight, or the host that a guest has left is clean after 4 to 7 s, not 1.3 s:
/// each 20 ms the thread looks whether that is so (Crowding).
///
/// Two that wake up together may find the thread owed a turn, whatever it weighs, and then the
/// other waits for that tick. So it sleeps for an instant in each millisecond in which it has not
/// slept by itself, if it calls pause() often enough; four times as often when anybody else runs on
/// this machine, and at once when more threads could run than it has processors. But it works for
/// twice as long as it has slept, if that is a millisecond or all processors are busy: who sleeps
/// for a moment there has his next turn only when all others have had theirs, after tens of
/// milliseconds.
class BulkPriority {
 public:
  /// `light`: nobody waits for the end of the work (the guest moves for another reason than its
  /// owner's key). Otherwise the session keeps its weight, and pauses are as where all is taken.
  explicit BulkPriority(bool light);
  ~BulkPriority();
  BulkPriority(const BulkPriority&) = delete;
  BulkPriority& operator=(const BulkPriority&) = delete;
  /// To be called between any two steps of the work.
  void pause();

 private:
  struct Spent {  // since the thread began
    Duration ran{}, waited{};
  };
  static Spent spent();
  void look_around(Time now);

  unsigned running() const;
  /// How long to work before the next pause.
  Duration turn() const;

  Fd load_;
  unsigned processors_;
  Time slept_, looked_;
  Duration nap_{};  // the last one
  long sleeps_ = 0;
  Spent before_;
  Crowding crowding_;
  bool light_, crowded_;
  uint64_t slice_before_;
};

}  // namespace hob::migrate
