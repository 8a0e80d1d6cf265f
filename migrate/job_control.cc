#include "migrate/job_control.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>

#include "migrate/parts.h"

namespace hob::migrate {
namespace {

constexpr int kEventStop = 128;  // PTRACE_EVENT_STOP
constexpr uint64_t kMaskSize = 8;

uint64_t bit(int signal) {
  return uint64_t{1} << (signal - 1);
}

// Only the parent can ask what it has not been told; that leaves it untold.
void ask_about_children(ProcessCapture& c) {
  size_t process = 0;
  for (const TreeNode& node : c.image.tree) {
    if (node.zombie) continue;
    const size_t index = process++;
    if (node.parent != c.out.pid) continue;
    const RemoteAddress told = c.workspace.reserve(sizeof(siginfo_t));
    c.leader.then(SYS_waitid,
                  {P_PID, static_cast<uint64_t>(node.pid), told.value,
                   WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL, 0},
                  [&c, index, told](int64_t result) -> Result<void> {
                    if (result < 0) return {};
                    const auto info = c.workspace.get<siginfo_t>(told);
                    if (info.si_pid == 0) return {};
                    c.image.processes[index].untold =
                        info.si_code == CLD_CONTINUED ? Untold::continued : Untold::stopped;
                    return {};
                  });
  }
}

Result<void> capture(ProcessCapture& c) {
  c.out.stop_signal = static_cast<uint8_t>(c.process.leader().stop_signal);
  ask_about_children(c);
  return {};
}

/// Makes it send itself a signal; says whether that has stopped it.
Result<bool> stop_by(const NewProcess& p, pid_t pid, int signal) {
  const kernel::SignalAction standard = {};
  Batch batch;
  batch.must("let a signal stop it", SYS_rt_sigaction,
             {static_cast<uint64_t>(signal), p.workspace.put(standard).value, 0, kMaskSize});
  batch.must("stop it", SYS_kill, {static_cast<uint64_t>(pid), static_cast<uint64_t>(signal)});
  if (signal == SIGSTOP) {  // has no disposition
    batch = Batch();
    batch.must("stop it", SYS_kill, {static_cast<uint64_t>(pid), SIGSTOP});
  }
  bool stopped = false;
  TRY(p.thread.set_signal_mask(kInjectionMask & ~bit(signal)));
  batch.place(p.workspace);
  TRY(batch.start(p.thread, p.workspace, p.base));
  TRY(batch.wait(p.thread, [&](Stop stop) -> Result<void> {
    stopped = stopped || (stop.event == kEventStop && stop.signal == signal);
    return {};
  }));
  TRY(batch.finish(p.workspace));
  TRY(p.thread.set_signal_mask(kInjectionMask));
  return stopped;
}

Result<void> run(const NewProcess& p, Batch batch) {
  batch.place(p.workspace);
  TRY(batch.start(p.thread, p.workspace, p.base));
  TRY(batch.wait(p.thread));
  return batch.finish(p.workspace);
}

Result<void> stop(const NewProcess& p, const ProcessImage& image) {
  const int signal = image.stop_signal != 0 ? image.stop_signal : SIGSTOP;
  if (!TRY(stop_by(p, image.pid, signal)) && !TRY(stop_by(p, image.pid, SIGSTOP)))
    return Error{"stop process " + std::to_string(image.pid) + " again: it did not stop", EPROTO};
  if (image.untold != Untold::continued) return {};
  Batch batch;
  batch.must("continue it", SYS_kill, {static_cast<uint64_t>(image.pid), SIGCONT});
  return run(p, std::move(batch));
}

}  // namespace

Result<void> stop_as_before(const Image& image, const std::vector<NewProcess>& processes) {
  CHECK(processes.size() == image.processes.size());
  size_t next = 0;
  for (const TreeNode& node : image.tree) {
    if (node.zombie) continue;
    const size_t index = next++;
    const ProcessImage& process = image.processes[index];
    if (process.stop_signal == 0 && process.untold != Untold::continued) continue;
    TRY(stop(processes[index], process));
    const auto parent = std::find_if(image.processes.begin(), image.processes.end(),
                                     [&](const auto& p) { return p.pid == node.parent; });
    if (process.untold != Untold::nothing || parent == image.processes.end()) continue;
    Batch batch;
    batch.must("take note of a stopped child", SYS_waitid,
               {P_PID, static_cast<uint64_t>(node.pid), 0, WSTOPPED | WNOHANG | __WALL, 0});
    TRY(run(processes[static_cast<size_t>(parent - image.processes.begin())], std::move(batch)));
  }
  return {};
}

const Part kJobControl = {"job control", nullptr, capture, nullptr, nullptr};

}  // namespace hob::migrate
