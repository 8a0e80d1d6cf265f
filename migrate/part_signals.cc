#include <sys/syscall.h>

#include <set>

#include "migrate/parts.h"

/// Signals: dispositions, and what is pending for threads and processes. (Masks travel with the
/// threads, by ptrace.)
namespace hob::migrate {
namespace {

constexpr size_t kMaskSize = 8;
bool changeable(int signal) {
  return signal != SIGKILL && signal != SIGSTOP;
}

void check(Inspection& i) {
  // Injected code ends in a trap, which makes the kernel forget that the program ignores it.
  if (i.status.ignored >> (SIGTRAP - 1) & 1) i.object("signals", "SIGTRAP is ignored");
}

Result<void> capture(ProcessCapture& c) {
  c.out.pending = TRY(c.process.leader().tracee.pending_signals(true));
  const RemoteAddress table = c.workspace.reserve(64 * sizeof(kernel::SignalAction));
  for (int signal = 1; signal <= 64; signal++)
    c.leader.must("read a signal's disposition", SYS_rt_sigaction,
                  {static_cast<uint64_t>(signal), 0,
                   table.value + static_cast<uint64_t>(signal - 1) * sizeof(kernel::SignalAction),
                   kMaskSize});
  // Copied out when the whole batch has run: getpid stands for "now".
  c.leader.then(SYS_getpid, {}, [&c, table](int64_t) -> Result<void> {
    c.out.actions = c.workspace.get<std::array<kernel::SignalAction, 64>>(table);
    return {};
  });
  return {};
}

// Real-time queues keep their order; a process may only queue kernel-made siginfo to itself.
void requeue(Rebuild& r, Batch& batch, const std::vector<siginfo_t>& pending, pid_t thread) {
  for (const siginfo_t& info : pending) {
    const auto signal = static_cast<uint64_t>(info.si_signo);
    const uint64_t copy = r.workspace.put(info).value;
    if (thread)
      batch.must(
          "queue a thread's signal", SYS_rt_tgsigqueueinfo,
          {static_cast<uint64_t>(r.process.pid), static_cast<uint64_t>(thread), signal, copy});
    else
      batch.must("queue a signal", SYS_rt_sigqueueinfo,
                 {static_cast<uint64_t>(r.process.pid), signal, copy});
  }
}

Result<void> rebuild(Rebuild& r) {
  // Ignoring a signal for a moment discards those that the making of the tree has caused.
  const kernel::SignalAction ignore = {1 /* SIG_IGN */, 0, 0, 0};
  const uint64_t ignored = r.workspace.put(ignore).value;
  std::set<uint64_t> caused = {SIGCHLD};
  for (const TreeNode& node : r.image.tree)
    if (node.zombie && node.parent == r.process.pid) caused.insert(node.exit_signal);
  if (r.process.untold == Untold::continued) caused.insert(SIGCONT);  // job_control.h
  for (const uint64_t signal : caused)
    if (signal != 0 && changeable(static_cast<int>(signal)))
      r.space.must("ignore a child's signal", SYS_rt_sigaction, {signal, ignored, 0, kMaskSize});
  const RemoteAddress table = r.workspace.put(r.process.actions);
  for (int signal = 1; signal <= 64; signal++)
    if (changeable(signal))
      r.space.must("set a signal's disposition", SYS_rt_sigaction,
                   {static_cast<uint64_t>(signal),
                    table.value + static_cast<uint64_t>(signal - 1) * sizeof(kernel::SignalAction),
                    0, kMaskSize});
  for (size_t i = 0; i < r.process.threads.size(); i++)
    requeue(r, r.threads[i], r.process.threads[i].pending, r.process.threads[i].tid);
  requeue(r, r.threads[0], r.process.pending, 0);
  return {};
}

}  // namespace

const Part kSignals = {"signals", check, capture, nullptr, rebuild};

}  // namespace hob::migrate
