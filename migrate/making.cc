#include "migrate/making.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "migrate/capture.h"
#include "migrate/waits.h"

namespace hob::migrate {
namespace {
constexpr int kEventClone = 3;  // PTRACE_EVENT_CLONE
}  // namespace

Result<void> write_pages(Making& m) {
  const ProcessImage& process = m.program->process;
  Fd memory = TRY(open_file(proc::path(m.pid, "mem"), O_RDWR));
  const Bytes& copy = m.program->vdso_copy;
  if (::pwrite(memory.get(), copy.data(), copy.size(),
               static_cast<off_t>(m.program->copy_at.value)) != static_cast<ssize_t>(copy.size()))
    return Error::sys("write the vdso of", "process " + std::to_string(process.pid));
  // Written past the protection of the mappings: most are read-only by now.
  for (size_t i = 0; i < process.pages.size();) {
    size_t end = i + 1;
    while (end < process.pages.size() && process.pages[end] == process.pages[end - 1] + kPage)
      end++;
    const ssize_t n = ::pwrite(memory.get(), process.page_bytes.data() + i * kPage,
                               (end - i) * kPage, static_cast<off_t>(process.pages[i]));
    if (n != static_cast<ssize_t>((end - i) * kPage))
      return Error::sys("write the pages of", "process " + std::to_string(process.pid),
                        n < 0 ? errno : EIO);
    i = end;
  }
  return {};
}

Result<void> clone_threads(Making& m) {
  Rebuild& program = *m.program;
  const auto& threads = program.process.threads;
  if (!program.clones.empty()) {
    program.clones.place(*m.workspace);
    // What a real-time thread clones would be left without timer slack (urgency.h).
    const sched_param none = {};
    if (::sched_setscheduler(m.pid.value, SCHED_OTHER, &none) < 0)
      return Error::sys("lower the priority of", "process " + std::to_string(m.pid.value));
    m.threads.reserve(threads.size());  // the leader stays where it is while we wait
    TRY(program.clones.start(m.leader(), *m.workspace, m.base));
    const size_t before = m.threads.size();
    TRY(program.clones.wait(m.leader(), [&](Stop stop) -> Result<void> {
      if (stop.event == kEventClone)
        m.threads.push_back(Tracee::adopt({static_cast<pid_t>(TRY(m.leader().event_message()))}));
      return {};
    }));
    TRY(program.clones.finish(*m.workspace));
    for (size_t i = before; i < m.threads.size(); i++) TRY(m.threads[i].wait());
  }
  for (const ThreadImage& t : threads)
    if (std::find(m.tids.begin(), m.tids.end(), t.tid) == m.tids.end()) m.tids.push_back(t.tid);
  if (m.threads.size() != threads.size() || m.tids.size() != threads.size())
    return Error{"clone the threads of process " + std::to_string(program.process.pid) +
                     ": some are missing",
                 EPROTO};
  for (size_t i = 0; i < threads.size(); i++) {
    const auto at =
        std::find(m.tids.begin() + static_cast<ptrdiff_t>(i), m.tids.end(), threads[i].tid);
    std::swap(m.threads[static_cast<size_t>(at - m.tids.begin())], m.threads[i]);
    std::iter_swap(m.tids.begin() + static_cast<ptrdiff_t>(i), at);
  }
  return {};
}

Result<void> set_limits(Tid pid, const ProcessImage& process) {
  for (size_t resource = 0; resource < process.limits.size(); resource++) {
    rlimit64 limit = {process.limits[resource].soft, process.limits[resource].hard}, now = {};
    if (::syscall(SYS_prlimit64, pid.value, resource, nullptr, &now) == 0 &&
        now.rlim_cur == limit.rlim_cur && now.rlim_max == limit.rlim_max)
      continue;
    if (::syscall(SYS_prlimit64, pid.value, resource, &limit, nullptr) < 0)
      return Error::sys("set limit " + std::to_string(resource) + " of",
                        "process " + std::to_string(process.pid), errno,
                        "it is above what hostd may give here");
  }
  return {};
}

Result<void> run_thread_programs(Making& m) {
  auto& batches = m.program->threads;
  for (size_t i = 0; i < batches.size(); i++) {
    TRY(m.threads[i].set_signal_mask(kInjectionMask));
    batches[i].place(*m.workspace);
    TRY(batches[i].start(m.threads[i], *m.workspace, m.base));
  }
  for (size_t i = 0; i < batches.size(); i++) {
    TRY(batches[i].wait(m.threads[i]));
    TRY(batches[i].finish(*m.workspace));
  }
  return {};
}

Result<void> touch_tiles(Making& m) {
  for (size_t i = 0; i < m.threads.size(); i++) {
    const Bytes& state = m.program->process.threads[i].extended_state;
    uint64_t components = 0;
    constexpr size_t kComponents = 512;
    constexpr int kTileData = 18;
    if (state.size() < kComponents + 8) continue;
    std::memcpy(&components, state.data() + kComponents, sizeof components);
    if (!(components >> kTileData & 1)) continue;
    user_regs_struct registers = m.base;
    registers.rip = m.workspace->touch_tiles().value;
    registers.rbx = m.workspace->tile_config().value;
    registers.orig_rax = ~0ull;
    TRY(m.threads[i].set_registers(registers));
    TRY(m.threads[i].resume());
    TRY(wait_trap(m.threads[i]));
  }
  return {};
}

Result<void> take_up_waits(Making& m, RemoteAddress instruction) {
  const auto& threads = m.program->process.threads;
  const bool any = std::any_of(threads.begin(), threads.end(),
                               [](const ThreadImage& image) { return image.wait_end != 0; });
  const Fd turn = any ? take_turn() : Fd();  // without one as well: they must go on
  for (size_t i = 0; i < m.threads.size(); i++) {
    const ThreadImage& image = m.program->process.threads[i];
    m.onward.push_back(image.wait_end == 0
                           ? image.registers
                           : TRY(resume_wait(m.threads[i], *m.workspace, instruction, m.base, image,
                                             TRY(guest_monotonic(m.pid)))));
  }
  return {};
}

}  // namespace hob::migrate
