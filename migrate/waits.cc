#include "migrate/waits.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "base/time.h"
#include "migrate/capture.h"
#include "migrate/proc.h"
#include "migrate/timer_list.h"
#include "migrate/urgency.h"

namespace hob::migrate {
namespace {

constexpr int kEventStop = 128;  // PTRACE_EVENT_STOP
constexpr uint64_t kSyscallLength = 2;
constexpr uint64_t kCode64 = 0x33;  // cs of 64-bit code
constexpr uint64_t kRestartblock = static_cast<uint64_t>(-kernel::kErestartRestartblock);

bool asleep_with_note(const user_regs_struct& r) {
  return static_cast<int64_t>(r.orig_rax) >= 0 && r.rax == kRestartblock && r.cs == kCode64;
}

bool is_relative_futex(uint64_t operation) {
  return (operation & FUTEX_CMD_MASK) == FUTEX_WAIT;
}

// The clocks that go on by themselves; others count processor time.
bool is_wall_clock(uint64_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
         clock == CLOCK_TAI;
}

// Which call the note is of. After a freeze and a thaw the registers only say restart_syscall, but
// the arguments are still those of the original, and the kernel's stack tells what it is doing: of
// the restarts there are (users of set_restart_fn) only those of the sleeps stand on it without a
// name of their own. 0: unknown.
uint32_t original_call(Tid thread, const user_regs_struct& r) {
  if (r.orig_rax != SYS_restart_syscall) return static_cast<uint32_t>(r.orig_rax);
  auto stack = proc::read(thread, "stack");
  if (!stack || stack->empty()) return 0;
  const auto has = [&](const char* function) { return stack->find(function) != stack->npos; };
  if (has("do_restart_poll")) return SYS_poll;
  if (has("futex_wait_restart")) return SYS_futex;
  // The first argument of one is the address of a timespec, of the other a clock: a small number,
  // or for what counts processor time one that is no multiple of 8 (MAKE_PROCESS_CPUCLOCK).
  return r.rdi >= kPage && r.rdi % 8 == 0 ? SYS_nanosleep : SYS_clock_nanosleep;
}

std::optional<int64_t> read_time(Tid process, uint64_t address) {
  auto time = proc::read_memory<timespec>(process, {address});
  if (!time || time->tv_sec < 0) return std::nullopt;
  constexpr int64_t kForEver = INT64_MAX / 4;
  if (time->tv_sec >= kForEver / 1'000'000'000) return kForEver;
  return time->tv_sec * 1'000'000'000 + time->tv_nsec;
}

/// How long the whole wait was to last; nothing if it has no end or is none of ours.
std::optional<int64_t> full_time(Tid process, uint32_t call, const user_regs_struct& r) {
  switch (call) {
    case SYS_nanosleep:
      return read_time(process, r.rdi);
    case SYS_clock_nanosleep:
      if (!is_wall_clock(r.rdi)) return std::nullopt;
      return read_time(process, r.rdx);
    case SYS_futex:
      if (!is_relative_futex(r.rsi) || r.r10 == 0) return std::nullopt;
      return read_time(process, r.r10);
    case SYS_poll:
      if (static_cast<int>(r.rdx) < 0) return std::nullopt;
      return static_cast<int64_t>(static_cast<int>(r.rdx)) * 1'000'000;
    default:
      return std::nullopt;
  }
}

int64_t now_here() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Lets the thread make the call that it is about to make; it stops on its way in.
Result<void> enter_call(Tracee& thread) {
  TRY(thread.run_to_call());
  for (;;) {
    const Stop stop = TRY(thread.wait());
    if (stop.event == 0 && stop.signal == SIGTRAP) return {};
    TRY(thread.run_to_call(stop.event ? 0 : stop.signal));
  }
}

/// A thread that goes on with its wait for a moment.
struct Sleeper {
  Tid process;
  CaptiveThread* thread;
  uint32_t call;
  int64_t mark;  ///< timer slack, ns
  std::optional<int64_t> end;
  uint64_t usual_slack = 0;
  bool marked = false;  ///< its timer shows the mark
  bool over = false;

  Tid tid() const { return thread->tracee.tid(); }

  Result<void> start() {
    usual_slack = TRY(timer_slack(tid().value));
    TRY(set_timer_slack(tid().value, static_cast<uint64_t>(mark)));
    user_regs_struct r = thread->registers;
    r.rip -= kSyscallLength;
    r.rax = SYS_restart_syscall;
    r.orig_rax = ~0ull;
    TRY(thread->tracee.set_registers(r));
    TRY(enter_call(thread->tracee));
    return thread->tracee.run_to_call();  // so that it stops when the call comes back
  }

  Result<void> stop() {
    TRY(thread->tracee.interrupt());
    // Where the call comes back, which counts as the stop that was asked for.
    for (;;) {
      const Stop stop = TRY(thread->tracee.wait());
      if (stop.event == kEventStop || (stop.event == 0 && stop.signal == SIGTRAP)) break;
      TRY(thread->tracee.resume(stop.event ? 0 : stop.signal));
    }
    const user_regs_struct r = TRY(thread->tracee.registers());
    TRY(set_timer_slack(tid().value, usual_slack));
    const auto result = static_cast<int64_t>(r.rax);
    const bool waiting =
        result <= -kernel::kErestartsys && result >= -kernel::kErestartRestartblock;
    if (r.rip != thread->registers.rip || waiting || result == -EINTR) return {};
    over = true;
    thread->registers.rax = r.rax;
    thread->registers.orig_rax = ~0ull;
    return {};
  }

  // The sleeps use no slack; poll does not when the thread is real-time, as it usually is here
  // (urgency.h), and since Linux 6.12 such a thread has none to use.
  void look_for_mark() {
    const bool real_time = ::sched_getscheduler(tid().value) == SCHED_FIFO;
    const auto slack = timer_slack(tid().value);
    marked = slack.ok() && *slack == static_cast<uint64_t>(mark) &&
             (call == SYS_futex || (call == SYS_poll && !real_time));
  }

  bool sleeps() const {
    auto stat = proc::stat(tid());
    return !stat || stat->state != 'R';
  }
};

using Group = std::vector<Sleeper*>;

void wait_until_asleep(const Group& group) {
  for (int i = 0; i < 50; i++) {
    if (std::all_of(group.begin(), group.end(), [](const Sleeper* s) { return s->sleeps(); }))
      return;
    const timespec a_moment = {0, 20'000};
    ::nanosleep(&a_moment, nullptr);
  }
}

// The one sleeper without slack that is in `list` and no more now, and whose time had not come. The
// kernel walks its timers anew for each line, so that one that comes or goes meanwhile may hide its
// neighbour: who seems to be missing is looked for again. `list` is as it is now afterwards.
std::optional<int64_t> vanished(std::vector<WakeUp>& list) {
  std::vector<WakeUp> gone;
  for (const WakeUp& w : list)
    if (w.hard == w.soft) gone.push_back(w);
  for (int i = 0; i < 3 && (i == 0 || gone.size() > 1); i++) {
    auto now = sleepers();
    if (!now) return std::nullopt;
    list = std::move(*now);
    const int64_t time = now_here();
    std::erase_if(gone, [&](const WakeUp& w) {
      return w.soft <= time || std::find(list.begin(), list.end(), w) != list.end();
    });
  }
  if (gone.size() != 1) return std::nullopt;
  return gone.front().soft;
}

// All of the group sleep at once. Marked timers are recognised by their mark; the others as their
// threads are stopped one after the other.
Result<void> measure(const Group& group) {
  for (Sleeper* s : group) TRY(s->start());
  wait_until_asleep(group);
  for (Sleeper* s : group) {
    if (s->call == 0) s->call = original_call(s->tid(), s->thread->registers);
    s->look_for_mark();
  }
  auto list = sleepers();
  for (Sleeper* s : group) {
    if (list && s->marked)
      for (const WakeUp& w : *list)
        if (w.hard - w.soft == s->mark) s->end = w.soft;
    TRY(s->stop());
    if (!list || s->marked || s->over || s->call == 0) continue;
    s->end = vanished(*list);
  }
  return {};
}

// For a while that differs: two who measure at the same pace would be in each other's way for ever.
void step_aside(Tid thread) {
  const timespec a_while = {0, 30'000 * (1 + thread.value % 8)};
  ::nanosleep(&a_while, nullptr);
}

}  // namespace

Fd take_turn() {
  constexpr auto kTurn = milliseconds(50);
  constexpr timespec kAgain = {0, 200'000};
  Fd list(::open("/proc/timer_list", O_RDONLY | O_CLOEXEC));
  for (const Time limit = Clock::now() + kTurn; list && Clock::now() < limit;) {
    if (::flock(list.get(), LOCK_EX | LOCK_NB) == 0) return list;
    ::nanosleep(&kAgain, nullptr);
  }
  return {};
}

Result<void> measure_waits(Captives& captives) {
  // Above all that select_estimate_accuracy() may choose by itself, and different for each.
  constexpr int64_t kMark = 200'000'000, kStep = 1000;
  constexpr size_t kMost = 64;
  std::vector<Sleeper> all;
  for (CaptiveProcess& process : captives.processes)
    for (CaptiveThread& thread : process.threads) {
      if (!asleep_with_note(thread.registers)) continue;
      const uint32_t call = thread.registers.orig_rax == SYS_restart_syscall
                                ? 0
                                : static_cast<uint32_t>(thread.registers.orig_rax);
      if (call != 0) {
        const auto full = full_time(process.pid, call, thread.registers);
        if (!full || *full <= kShort) continue;
      }
      const auto number = static_cast<int64_t>(all.size());
      all.push_back({process.pid, &thread, call, kMark + number * kStep + 1, {}});
    }
  if (all.empty()) return {};
  const int64_t offset = TRY(guest_monotonic(captives.processes.front().pid)) - now_here();
  // Those that cost most last, and of those not too many: the guest is frozen meanwhile.
  std::stable_partition(all.begin(), all.end(),
                        [](const Sleeper& s) { return s.call == SYS_poll || s.call == SYS_futex; });
  if (all.size() > kMost) all.erase(all.begin() + kMost, all.end());
  Group group;
  for (Sleeper& s : all) group.push_back(&s);
  const Fd turn = take_turn();
  if (!turn) return {};
  TRY(measure(group));
  constexpr int kTries = 3;
  const Time enough = Clock::now() + milliseconds(20);
  for (Sleeper& s : all) {
    const auto full = full_time(s.process, s.call, s.thread->registers);
    // Hidden, or one of several that went at the same moment: another guest's, who is measured,
    // too.
    for (int i = 0; full && !s.over && !s.end && (i < kTries || Clock::now() < enough); i++) {
      if (i > 0) step_aside(s.tid());
      TRY(measure({&s}));
    }
    if (s.over || s.call == 0) continue;
    s.thread->wait.call = s.call;
    if (full && s.end && *s.end <= now_here() + *full + kMark)
      s.thread->wait.end = std::max<int64_t>(1, *s.end + offset);
  }
  return {};
}

Range memory_of_wait(const ThreadImage& image) {
  if (image.wait_call == SYS_futex) return {image.registers.rdi, image.registers.rdi + 4};
  if (image.wait_call == SYS_poll) {
    const uint64_t size = (image.registers.rsi & UINT32_MAX) * sizeof(pollfd);
    return {image.registers.rdi, image.registers.rdi + size};
  }
  constexpr uint64_t kRest = sizeof(timespec);
  const uint64_t rest = image.wait_call == SYS_nanosleep         ? image.registers.rsi
                        : image.wait_call == SYS_clock_nanosleep ? image.registers.r10
                                                                 : 0;
  return rest ? Range{rest, rest + kRest} : Range{};
}

namespace {

/// The arguments with which the call waits for the time that is left.
std::array<uint64_t, 6> arguments(const ThreadImage& image, Workspace& workspace, int64_t left) {
  const user_regs_struct& r = image.registers;
  const timespec time = {left / 1'000'000'000, left % 1'000'000'000};
  switch (image.wait_call) {
    case SYS_nanosleep:
      return {workspace.put(time).value, r.rsi};
    case SYS_clock_nanosleep:
      return {r.rdi, 0, workspace.put(time).value, r.r10};
    case SYS_futex:
      return {r.rdi, r.rsi, r.rdx, workspace.put(time).value};
    default: {
      constexpr int64_t kMillisecond = 1'000'000;
      const int64_t milliseconds = (left + kMillisecond - 1) / kMillisecond;
      return {r.rdi, r.rsi, static_cast<uint64_t>(std::min<int64_t>(milliseconds, INT_MAX))};
    }
  }
}

}  // namespace

Result<user_regs_struct> resume_wait(Tracee& thread, Workspace& workspace,
                                     RemoteAddress instruction, const user_regs_struct& base,
                                     const ThreadImage& image, int64_t now) {
  if (image.wait_end == 0) return image.registers;
  const int64_t left = std::max<int64_t>(image.wait_end - now, 1);
  const auto six = arguments(image, workspace, left);
  user_regs_struct r = base;
  r.rip = instruction.value;
  r.rax = image.wait_call;
  r.orig_rax = ~0ull;
  r.rdi = six[0], r.rsi = six[1], r.rdx = six[2], r.r10 = six[3], r.r8 = six[4], r.r9 = six[5];
  TRY(thread.set_registers(r));
  // It stops on its way into the call; interrupted there, it comes back with the note written.
  TRY(enter_call(thread));
  TRY(thread.interrupt());
  TRY(thread.resume());
  for (Stop stop = TRY(thread.wait()); stop.event != kEventStop; stop = TRY(thread.wait()))
    TRY(thread.resume(stop.event ? 0 : stop.signal));
  r = TRY(thread.registers());
  user_regs_struct onward = image.registers;
  onward.rax = r.rax;
  onward.orig_rax = r.rax == kRestartblock ? image.wait_call : ~0ull;
  // Cannot be, but a call that has ended for no reason of its own must not look ended.
  if (r.rax != kRestartblock && static_cast<int64_t>(r.rax) <= -kernel::kErestartsys)
    return image.registers;
  // The registers of the image start it again from its arguments, one instruction earlier.
  return onward;
}

}  // namespace hob::migrate
