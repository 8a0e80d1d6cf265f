#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

/// What somebody waits for while a guest stands still runs ahead of everything that is not
/// real-time itself.
///
/// Real time (SCHED_FIFO), because no weight does: a nice value decides within a group of processes
/// only, and which groups a machine has (sessions with autogroups on, services) is not ours. A
/// guest's session weighs next to nothing on purpose (program.h), so that on a machine whose
/// processors are all busy an ordinary thread of it was kept waiting for 400 to 690 ms at a time,
/// also when it was only to reach its stop or to answer the engine.
namespace hob::migrate {

/// How a thread is scheduled, as far as raising it changes that.
struct Scheduling {
  int policy = SCHED_OTHER;
  sched_param parameter = {};
  uint64_t timer_slack = 0;  ///< ns
  bool real_time() const { return policy == SCHED_FIFO || policy == SCHED_RR; }
};

/// The slack that threads have which have never asked for another. Since Linux 6.12 a real-time
/// thread has none, and one that ceases to be one gets its parent's; so raising a thread forgets
/// what prctl(PR_SET_TIMERSLACK) has set, and who lowers it must put that back.
inline constexpr uint64_t kUsualTimerSlack = 50'000;
Result<uint64_t> timer_slack(pid_t thread);
/// No effect on a real-time thread. ESRCH: it has ended.
Result<void> set_timer_slack(pid_t thread, uint64_t slack);

/// Of a thread that hasten() has raised, the slack is the usual one (see hasten_stop(), program.h).
Result<Scheduling> scheduling_of(pid_t thread);
/// Raises a thread: real time, or, where that is not allowed (a v1 cpu group without real-time
/// allowance), an ordinary thread, which at least takes its turn. ESRCH: it has ended.
Result<void> hasten(pid_t thread);
/// Gives back what scheduling_of() has read. What fails is logged: the thread is then slower, or
/// faster, than it should be.
void give_back(pid_t thread, const Scheduling& before);

/// While it lives, the calling thread is ahead of all that is not real-time itself, and threads and
/// processes that it starts are not (but on Linux 6.12 and later they have no timer slack: children
/// that are to be ordinary set kUsualTimerSlack). For the milliseconds in which the engine has a
/// guest stopped and does not wait for pages.
class FirstOfAll {
 public:
  FirstOfAll();
  ~FirstOfAll();
  FirstOfAll(const FirstOfAll&) = delete;
  FirstOfAll& operator=(const FirstOfAll&) = delete;

 private:
  bool raised_;
  int timer_slack_;
};

}  // namespace hob::migrate
