#include "migrate/captive.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/log.h"
#include "migrate/parts.h"
#include "migrate/ptys.h"
#include "migrate/stages.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {
namespace {

constexpr int kEventStop = 128;  // PTRACE_EVENT_STOP
/// In which all threads stop that find a processor free (ENGINE.md section 5). Others are raised,
/// which costs 15 us for each and so is not done where nobody is in their way.
constexpr Duration kUsualStop = milliseconds(1);
/// And in which those do that have been raised.
constexpr Duration kRaisedStop = milliseconds(20);
/// What a program needs from vfork(2) to exec(2) is far less.
constexpr Duration kRunAWhile = milliseconds(20);
/// How long the guest may run on, traced, when it is to be given back and a thread does not stop.
constexpr Duration kGiveBackLimit = seconds(1);

}  // namespace

std::string CaptiveProcess::name() const {
  return "process " + std::to_string(node.pid) + " (" + status.name + ")";
}

// It is exiting, or gone already: no memory of its own any more.
static bool ends(Tid process) {
  auto maps = proc::read(process, "maps");
  return !maps || maps->empty();
}

// To reach its stop, and to answer what is asked of it there, a thread needs a processor
// (urgency.h).
Result<void> Captives::hasten_all() {
  TRY(remember_scheduling());
  for (const pid_t thread : TRY(cgroup_->threads()))
    if (auto raised = hasten(thread); !raised && raised.error().code != ESRCH) return raised;
  return {};
}

Result<void> Captives::remember_scheduling() {
  if (!scheduling_.empty()) return {};
  for (const pid_t thread : TRY(cgroup_->threads()))
    if (auto now = scheduling_of(thread)) scheduling_.emplace(thread, *now);
  return {};
}

// Who has begun since the first look has inherited what we had made of its parent. While nobody has
// been raised, a thread's class is still its own.
Scheduling Captives::found(pid_t thread) const {
  Scheduling usual = {SCHED_OTHER, {}, kUsualTimerSlack};
  if (scheduling_.empty()) {
    usual.policy = std::max(::sched_getscheduler(thread), SCHED_OTHER);
    return usual;
  }
  auto known = scheduling_.find(thread);
  if (known == scheduling_.end()) known = scheduling_.find(guest_->root);
  return known == scheduling_.end() ? usual : known->second;
}

// Seizes every thread of the guest that has not been seized yet, and asks it to stop.
// False: somebody is just ending.
Result<bool> Captives::seize_all(const Guest& guest) {
  TreeView view = TRY(view_tree(guest));
  std::vector<CaptiveProcess> seized;
  bool all = true;
  for (size_t i = 0; i < view.tree.size(); i++) {
    if (view.tree[i].zombie) continue;
    const Tid pid = view.pids[i];
    auto known = std::find_if(processes.begin(), processes.end(),
                              [&](const CaptiveProcess& p) { return p.pid == pid; });
    CaptiveProcess process = known == processes.end() ? CaptiveProcess{} : std::move(*known);
    process.pid = pid;
    process.node = view.tree[i];
    process.stat = std::move(view.stats[i]);
    process.status = std::move(view.statuses[i]);
    for (Tid tid : TRY(proc::threads(pid, process.status))) {
      const auto same = [&](const CaptiveThread& t) { return t.tracee.tid() == tid; };
      if (std::any_of(process.threads.begin(), process.threads.end(), same)) continue;
      auto tracee = Tracee::seize(tid, Tracee::kills_on_exit);
      // An exiting thread answers so; an exiting process is looked at again as the zombie it will
      // be.
      const bool ending = !tracee && (tracee.error().code == ESRCH || tracee.error().code == EPERM);
      if (ending && tid != pid) continue;
      if (ending && ends(pid)) {
        all = false;
        break;
      }
      if (!tracee) return std::move(tracee).error();
      if (tid.value == guest.root) tracee->leave_exit();
      auto& thread =
          process.threads.emplace_back(std::move(*tracee), tid == pid ? process.node.pid : 0);
      TRY(thread.bring(*pinned_));
      TRY(thread.tracee.interrupt());
    }
    if (!process.threads.empty()) seized.push_back(std::move(process));
  }
  tree = std::move(view.tree);
  processes = std::move(seized);
  return all;
}

// In vfork(2): held until its child has called execve(2), which cannot be while all is frozen.
static bool awaits_child(Tid tid) {
  const auto call = proc::read(tid, "syscall");
  if (!call) return false;
  constexpr int kClone3 = 435;
  const int number = std::atoi(call->c_str());
  return number == SYS_vfork || number == SYS_clone || number == kClone3;
}

// False: some thread has not stopped in a time in which every ordinary thread does.
Result<bool> Captives::all_stopped() {
  auto stopped = all_stopped(kUsualStop);
  if (!stopped || *stopped) return stopped;
  TRY(hasten_all());
  stopped = all_stopped(milliseconds(5));
  if (!stopped || *stopped) return stopped;
  for (const CaptiveProcess& process : processes)
    for (const CaptiveThread& thread : process.threads)
      if (!thread.stopped && awaits_child(thread.tracee.tid())) return false;
  return all_stopped(milliseconds(100));
}

Result<bool> Captives::all_stopped(Duration limit) {
  Patience patience(limit);
  Result<void> ended;
  for (CaptiveProcess& process : processes) {
    for (size_t i = 0; i < process.threads.size(); i++) {
      CaptiveThread& thread = process.threads[i];
      while (!thread.stopped) {
        auto stop = thread.tracee.wait();
        if (!stop && stop.error().code == ETIMEDOUT) return false;
        if (!stop && stop.error().code == ESRCH) {
          // Killed, or at its own end when it was seized.
          ended = std::move(stop).error();
          thread.tracee.abandon();
          thread.stopped = true;
          break;
        }
        if (!stop) return std::move(stop).error();
        if (stop->event == kEventStop) {
          thread.stopped = true;
          thread.stop_signal = stop->signal != SIGTRAP ? stop->signal : 0;
        } else {
          // A signal that was just being delivered is delivered: the thread then stops at the first
          // instruction of the handler.
          TRY(thread.tracee.resume(stop->event ? 0 : stop->signal));
        }
      }
    }
  }
  TRY(std::move(ended));
  return true;
}

// Waits until those stop that could not before.
void Captives::await_stragglers(const std::vector<Tid>& stragglers) {
  Patience patience(kRunAWhile);
  for (CaptiveProcess& process : processes)
    for (CaptiveThread& thread : process.threads) {
      if (std::find(stragglers.begin(), stragglers.end(), thread.tracee.tid()) == stragglers.end())
        continue;
      while (!thread.stopped) {
        auto stop = thread.tracee.wait();
        if (!stop) break;  // not yet, or it has ended: the next round sees to it
        thread.stopped = stop->event == kEventStop;
        thread.stop_signal = thread.stopped && stop->signal != SIGTRAP ? stop->signal : 0;
        if (!thread.stopped && !thread.tracee.resume(stop->event ? 0 : stop->signal)) break;
      }
    }
}

// Between vfork(2) and exec(2) a parent cannot be stopped, and its child must run to end that; a
// thread in an uninterruptible wait looks the same. So all go on for a moment, still traced, and at
// ordinary priority: beside a busy owner a guest (SCHED_IDLE) would not get as far in that time,
// and ahead of everything it may be only while it does not run its own code.
Result<void> Captives::let_run_a_while() {
  std::vector<Tid> stragglers;
  const sched_param none = {};
  urgent_.reset();
  TRY(remember_scheduling());
  for (const pid_t thread : TRY(cgroup_->threads()))
    ::sched_setscheduler(thread, SCHED_OTHER, &none);
  TRY(cgroup_->thaw());
  for (CaptiveProcess& process : processes)
    for (CaptiveThread& thread : process.threads) {
      if (!thread.stopped) {
        stragglers.push_back(thread.tracee.tid());
        continue;
      }
      if (thread.stop_signal != 0) continue;  // to be continued by the job alone
      thread.stopped = false;
      auto resumed = thread.tracee.resume();
      if (!resumed && resumed.error().code != ESRCH) return resumed;
    }
  await_stragglers(stragglers);
  TRY(hasten_all());
  for (CaptiveProcess& process : processes) {
    auto& threads = process.threads;
    // exec(2) and exit(2) have ended some.
    std::erase_if(threads, [](CaptiveThread& thread) {
      if (thread.stopped) return false;
      auto asked = thread.tracee.interrupt();
      if (asked) return false;
      thread.tracee.abandon();
      return true;
    });
  }
  return {};
}

void Captives::go_to(int processor) {
  urgent_ = std::make_unique<FirstOfAll>();
  pinned_ = std::make_unique<Pinned>(processor);
  held_on_ = pinned_->processor();
}

// False: it is not, or not any more, and whoever has come must not fork away.
Result<bool> Captives::take_single_thread(int processor) {
  const TreeView view = TRY(view_tree(*guest_));
  // In an uninterruptible wait, of execve(2) for one, it could not even be seized.
  if (!view.is_single_thread() || view.stats[0].state == 'D') return false;
  auto tracee = Tracee::seize(view.pids[0], Tracee::kills_on_exit);
  if (!tracee) return false;  // it is just ending
  stages::begin();
  stopped_at = Clock::now();
  // On its own processor: it does not run while the engine does, and reaches its stop as soon as
  // the engine waits for that.
  go_to(processor);
  CaptiveProcess& process = processes.emplace_back();
  process.pid = view.pids[0];
  tracee->leave_exit();
  process.threads.emplace_back(std::move(*tracee), view.tree[0].pid);
  TRY(process.leader().tracee.interrupt());
  const bool stopped = TRY(all_stopped(kUsualStop));
  TRY(process.leader().bring(*pinned_));
  stages::mark("stop");
  // Nobody but it and the sandbox's init: not even one who was on his way to that as an orphan.
  const bool alone = stopped && TRY(cgroup_->threads()).size() <= 2;
  const bool seized = alone && TRY(seize_all(*guest_));
  const bool thawed = seized && TRY(await_thaw());
  stages::mark("seize");
  return thawed && processes.size() == 1 && processes[0].threads.size() == 1;
}

// Somebody else who freezes the guest, and sees then that it is in the engine's hands, thaws it at
// once (Guests::leave_to_engine). False: he has not seen it.
Result<bool> Captives::await_thaw() {
  constexpr Duration kMoment = milliseconds(20);
  if (!TRY(cgroup_->freezing())) return true;
  was_frozen_ = true;
  return cgroup_->wait_thawed(kMoment);
}

// The cgroup stops all at one moment, so that nobody forks away while threads are seized one by
// one.
Result<void> Captives::take_all(Duration limit, int processor) {
  const Time end = Clock::now() + limit;
  if (processes.empty()) {
    stages::begin();
    stopped_at = Clock::now();
    go_to(processor);
  }
  was_frozen_ = was_frozen_ || TRY(cgroup_->freezing());
  for (;;) {
    if (!urgent_) urgent_ = std::make_unique<FirstOfAll>();
    TRY(freeze_all(end));
    stages::mark("freeze");
    const bool seized = TRY(seize_all(*guest_));
    stages::mark("seize");
    const bool stopped = seized && TRY(all_stopped());
    // Thawed by who had frozen it as well (await_thaw()), somebody may have forked.
    if (stopped && TRY(cgroup_->freezing())) break;
    was_frozen_ = was_frozen_ || stopped;
    if (Clock::now() >= end)
      return Error{
          "stop the guest: a thread of it does not stop (it waits for a device or a file server)",
          ETIMEDOUT};
    if (!stopped) TRY(let_run_a_while());
  }
  // All sit in a ptrace stop; the frozen cgroup would keep injected code from running.
  TRY(cgroup_->thaw());
  froze_ = false;
  stages::mark("stop");
  return {};
}

// Until all are frozen, though somebody else may thaw them meanwhile.
Result<void> Captives::freeze_all(Time end) {
  froze_ = true;
  TRY(cgroup_->freeze());
  for (bool hastened = false;; hastened = true) {
    auto frozen = cgroup_->wait_frozen(hastened ? kRaisedStop : kUsualStop);
    if (frozen || Clock::now() >= end) return frozen;
    if (!hastened) TRY(hasten_all());
    if (TRY(cgroup_->freezing())) continue;
    was_frozen_ = true;
    TRY(cgroup_->freeze());
  }
}

Result<Captives> Captives::take(Guest& guest, Duration limit, int processor,
                                std::function<bool()> wanted) {
  if (!let_go(guest))
    return Error{"stop the guest: a thread of it does not stop since the last attempt", EBUSY};
  Captives captives(guest, TRY(guest.sandbox->cgroup().freezing()));
  captives.wanted_ = std::move(wanted);
  if (captives.was_frozen_ || !TRY(captives.take_single_thread(processor)))
    TRY(captives.take_all(limit, processor));
  for (CaptiveProcess& process : captives.processes)
    for (CaptiveThread& thread : process.threads) {
      thread.scheduling = captives.found(thread.tracee.tid().value);
      TRY(thread.borrow());
    }
  stages::mark("borrow");
  return captives;
}

Captives::Captives(Captives&& other) noexcept
    : tree(std::move(other.tree)),
      processes(std::move(other.processes)),
      stopped_at(other.stopped_at),
      pinned_(std::move(other.pinned_)),
      held_on_(other.held_on_),
      urgent_(std::move(other.urgent_)),
      scheduling_(std::move(other.scheduling_)),
      guest_(other.guest_),
      cgroup_(std::exchange(other.cgroup_, nullptr)),
      wanted_(std::move(other.wanted_)),
      was_frozen_(other.was_frozen_),
      froze_(other.froze_) {}

Captives::~Captives() {
  give_back();
}

void Captives::take_time() {
  captured();
  const KeptOff elsewhere(held_on_);
  urgent_.reset();
}

void Captives::give_back() {
  if (!cgroup_) return;
  // Only a stopped thread can be detached, and one that is traced for ever stops for ever.
  const Time end = Clock::now() + kGiveBackLimit;
  for (;;) {
    auto stopped = all_stopped();
    if ((stopped && *stopped) || Clock::now() >= end) break;
    // Who has ended is not waited for again.
    if (!stopped && stopped.error().code == ESRCH) continue;
    auto run = stopped ? let_run_a_while() : Result<void>(std::move(stopped).error());
    if (!run) log::error("give back the guest: {}", run.error().text);
  }
  // A new thread's timer slack is its parent's, who had none at that moment.
  if (auto threads = cgroup_->threads(); threads.ok() && !scheduling_.empty())
    for (const pid_t thread : *threads) migrate::give_back(thread, found(thread));
  // Freezing comes before: a thread that is detached would run at once. Who wants it frozen since
  // has seen that it was in the engine's hands, and thinks that it is not.
  was_frozen_ = was_frozen_ || (wanted_ && wanted_());
  const auto done = was_frozen_ ? cgroup_->freeze() : froze_ ? cgroup_->thaw() : Result<void>();
  for (CaptiveProcess& process : processes)
    for (CaptiveThread& thread : process.threads)
      if (!thread.stopped) guest_->lingering.push_back(std::move(thread.tracee));
  processes.clear();
  if (!done) log::error("{}", done.error().text);
  cgroup_ = nullptr;
}

bool let_go(Guest& guest) {
  std::erase_if(guest.lingering, [](Tracee& tracee) {
    Stop stop{};
    auto told = tracee.poll(stop);
    if (told && !*told) return false;
    if (!told || stop.event == kEventStop) return true;  // its destructor detaches it
    if (auto resumed = tracee.resume(stop.event ? 0 : stop.signal); !resumed) return true;
    return false;
  });
  return guest.lingering.empty();
}

void Captives::destroy(bool at_home) {
  auto killed = cgroup_->kill(at_home ? Cgroup::Ending::in_bulk : Cgroup::Ending::soon);
  if (!killed) log::error("{}", killed.error().text);
  Patience patience(seconds(5));
  for (CaptiveProcess& process : processes) {
    // The leader last: the kernel reports it when the others have been waited for.
    for (size_t i = process.threads.size(); i-- > 0;) {
      const pid_t tid = process.threads[i].tracee.tid().value;
      process.threads[i].tracee.abandon();
      if (!killed) ::kill(tid, SIGKILL);
      for (;;) {
        auto status = wait_child(tid);
        if (!status || !WIFSTOPPED(*status)) break;
      }
    }
  }
  processes.clear();
  cgroup_ = nullptr;
}

}  // namespace hob::migrate
