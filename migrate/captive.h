#pragma once

#include <sched.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/injector.h"
#include "migrate/migrate.h"
#include "migrate/pinned.h"
#include "migrate/proc.h"
#include "migrate/ptrace.h"
#include "migrate/urgency.h"

/// A process tree held still.
namespace hob::migrate {

/// One stopped thread. What the engine borrows of it (registers, signal mask, scheduling) is given
/// back when this object goes, unless the thread has died; then it is let go.
class CaptiveThread {
 public:
  CaptiveThread(Tracee tracee, pid_t inside);
  CaptiveThread(CaptiveThread&&) noexcept = default;
  CaptiveThread& operator=(CaptiveThread&&) noexcept = default;
  ~CaptiveThread();

  /// Moves it to the processor on which the engine is, before it is asked to stop: on another one
  /// that sleeps it would be 60 us about it.
  Result<void> bring(const Pinned& here);
  /// Of a stopped one: reads what will be given back, and blocks its signals.
  Result<void> borrow();

  /// As they were before bring().
  const cpu_set_t& processors() const { return affinity_; }
  int policy() const { return scheduling.policy; }

  Tracee tracee;
  pid_t inside;  ///< 0 until it has been asked, by the capture, where it is not the leader
  /// As found, except that an interrupted system call is in a form in which the kernel restarts it,
  /// and that a restartable sequence (rseq(2)) has been left by its abort handler: the kernel does
  /// that for a thread that it has preempted, but not once it has seen it outside, in injected
  /// code.
  user_regs_struct registers = {};
  kernel::RseqConfiguration rseq = {};
  uint64_t signal_mask = 0;
  Scheduling scheduling = {SCHED_OTHER, {}, kUsualTimerSlack};  ///< before it was raised, if it was
  /// When the system call that it waits in would end, as far as waits.h has found out.
  struct Wait {
    uint32_t call = 0;  ///< which call it is; 0: not known, or none
    int64_t end = 0;    ///< the guest's CLOCK_MONOTONIC in ns; 0: not known
  } wait;
  bool stopped = false;  ///< has told so; the others are on their way
  int stop_signal = 0;   ///< which one stopped it, if it is stopped by job control; else 0

 private:
  Result<void> leave_restartable_sequence();
  bool brought_ = false, borrowed_ = false;
  cpu_set_t affinity_ = {};
};

/// Puts an interrupted system call into the form in which the kernel itself restarts or ends it
/// when the thread goes on (arch/x86/kernel/signal.c): with a handler to run EINTR, without one
/// again with its arguments.
///
/// Some calls are never restarted by the kernel and would show the program a bare EINTR that no
/// signal explains, only because it was stopped (signal(7), "Interruption of system calls ... by
/// stop signals"). And when the thread `leaves` this kernel, -ERESTART_RESTARTBLOCK needs kernel
/// state that stays behind: such a call starts again with its full time, unless waits.h knows what
/// was left of it.
void make_restartable(user_regs_struct& registers, bool leaves);

/// One stopped process.
struct CaptiveProcess {
  Tid pid;
  TreeNode node;
  proc::Stat stat;
  proc::Status status;
  std::vector<CaptiveThread> threads;  ///< the leader first
  std::string auxv;  ///< /proc/PID/auxv, from the first time that vdso_of() was asked for it

  CaptiveThread& leader() { return threads.front(); }
  /// "process 12 (python3)"
  std::string name() const;
};

/// The tree of a guest as /proc shows it now. Zombies are in `tree` only.
struct TreeView {
  Tree tree;
  std::vector<Tid> pids;  ///< host pids, in the order of `tree`, as are:
  std::vector<proc::Stat> stats;
  std::vector<proc::Status> statuses;
  bool is_single_thread() const;
};
Result<TreeView> view_tree(const Guest& guest);

/// Where a guest is to be held: on the processor on which its root runs, from where that has no way
/// to go.
struct Place {
  int processor;
  bool lone;  ///< the guest is a single thread, and so runs nowhere else
};
Place place_of(const Guest& guest);

/// Everything inside the guest's sandbox, stopped. While it lives no instruction of the guest runs
/// except what is injected. Dropping it leaves the guest as it was found: running, or with its
/// cgroup frozen if it was frozen before; a thread that cannot be stopped even for that (it waits
/// for a device or a file server) is left in Guest::lingering. If this process dies the guest dies
/// with it: nothing may run on unobserved.
class Captives {
 public:
  /// Holds it on `processor`. A guest that is one thread, and not frozen, is stopped alone: the
  /// freezer, for which its cgroup's init has to freeze and thaw as well, would take 0.1 ms longer.
  /// `wanted`: whether somebody wants it to stand still since; asked when it is given back.
  static Result<Captives> take(
      Guest& guest, Duration limit, int processor,
      std::function<bool()> wanted = [] { return false; });
  Captives(Captives&&) noexcept;
  Captives& operator=(Captives&&) = delete;
  ~Captives();

  Tree tree;
  std::vector<CaptiveProcess> processes;  ///< the living, root first
  Time stopped_at;

  /// Its cgroup was frozen before, or since: somebody wants the guest to stand still.
  bool was_frozen() const { return was_frozen_; }
  /// Everything has been captured: the engine may use all processors again.
  void captured() { pinned_.reset(); }
  /// What follows may take long: the engine leaves this processor, and takes its turn as others do
  /// (urgency.h).
  void take_time();
  /// The guest lives elsewhere now: kill and reap what is left here. Nothing is given back.
  /// `at_home`: no owner waits for its memory, and what runs here goes before its end.
  void destroy(bool at_home);

 private:
  Captives(Guest& guest, bool was_frozen)
      : guest_(&guest), cgroup_(&guest.sandbox->cgroup()), was_frozen_(was_frozen) {}
  Result<void> remember_scheduling();
  Result<void> hasten_all();
  Scheduling found(pid_t thread) const;
  void go_to(int processor);
  Result<bool> take_single_thread(int processor);
  Result<bool> await_thaw();
  Result<void> freeze_all(Time end);
  Result<void> take_all(Duration limit, int processor);
  Result<bool> seize_all(const Guest& guest);
  Result<bool> all_stopped();
  Result<bool> all_stopped(Duration limit);
  Result<void> let_run_a_while();
  void await_stragglers(const std::vector<Tid>& stragglers);
  void give_back();
  std::unique_ptr<Pinned> pinned_;
  int held_on_ = -1;
  std::unique_ptr<FirstOfAll> urgent_;
  std::map<pid_t, Scheduling> scheduling_;  // of threads, before it was changed
  Guest* guest_;
  Cgroup* cgroup_;
  std::function<bool()> wanted_;
  bool was_frozen_;
  bool froze_ = false;  // the cgroup is, by us
};

}  // namespace hob::migrate
