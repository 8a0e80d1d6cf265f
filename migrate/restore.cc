#include "migrate/restore.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "migrate/address_plan.h"
#include "migrate/capture.h"
#include "migrate/injector.h"
#include "migrate/ipc.h"
#include "migrate/job_control.h"
#include "migrate/page_stream.h"
#include "migrate/pinned.h"
#include "migrate/priorities.h"
#include "migrate/stages.h"
#include "migrate/urgency.h"
#include "migrate/waits.h"

namespace hob::migrate {
namespace {

constexpr int kEventClone = 3;  // PTRACE_EVENT_CLONE
constexpr sched_param kNoPriority = {};

/// One process in the making.
struct Making {
  Tid pid;
  std::vector<Tracee> threads;  // the leader first
  std::optional<Workspace> workspace;
  std::optional<Rebuild> program;
  std::vector<proc::Mapping> maps;       // of the copy of the engine that it still is
  user_regs_struct base = {};            // the leader's, to start batches from
  std::vector<user_regs_struct> onward;  // the threads': with which they go on

  Tracee& leader() { return threads.front(); }
};

// What the calls of a process need of the workspace: rows and their data, generously.
size_t space_needed(const ProcessImage& p) {
  size_t signals = p.pending.size();
  for (const ThreadImage& t : p.threads) signals += t.pending.size();
  return (64u << 10) + p.mappings.size() * 64 + p.threads.size() * 2048 + signals * 256 +
         p.timers.size() * 512 + p.descriptors.size() * 64 + p.auxv.size();
}

}  // namespace

struct Restoration::State {
  State(const Guest& g, Stubs& s, const Platform& p) : guest(g), stubs(s), platform(p) {}
  ~State();
  const Guest& guest;
  Stubs& stubs;
  const Platform& platform;
  const Image* image = nullptr;
  std::vector<Making> makings;
  std::unique_ptr<Pinned> pinned;
  void pin() {
    pinned = std::make_unique<Pinned>();
    for (Making& m : makings) pinned->bring(m.pid);
  }
  bool resumed = false;
};

Restoration::State::~State() {
  if (resumed) return;
  // Killed before they are let go: detached, they would run whatever they have been made of so far.
  for (Making& m : makings) ::kill(m.pid.value, SIGKILL);
  Patience patience(seconds(5));
  for (Making& m : makings)
    for (size_t i = m.threads.size(); i-- > 0;) {
      const pid_t tid = m.threads[i].tid().value;
      m.threads[i].abandon();
      if (i == 0) break;  // the leader is reaped by Stubs
      for (auto status = wait_child(tid); status && WIFSTOPPED(*status);) status = wait_child(tid);
    }
}

Restoration::Restoration(std::unique_ptr<State> state) : state_(std::move(state)) {}
Restoration::Restoration(Restoration&&) noexcept = default;
Restoration::~Restoration() = default;

Result<Restoration> Restoration::begin(const Guest& guest, Stubs& stubs, const Platform& platform) {
  Restoration r(std::make_unique<State>(guest, stubs, platform));
  for (size_t i = 0; i < stubs.size(); i++) {
    Making& m = r.state_->makings.emplace_back();
    m.pid = stubs.pid(i);
    m.maps = TRY(proc::maps(m.pid));
    m.threads.push_back(TRY(Tracee::seize(m.pid, Tracee::kills_on_exit | Tracee::follows_clones)));
  }
  return r;
}

Result<void> Restoration::adopt(const Image& image, size_t image_size) {
  State& s = *state_;
  s.image = &image;
  CHECK(image.processes.size() == s.makings.size());
  std::vector<RemoteAddress> addresses;
  std::vector<AddressPlan> plans;
  for (size_t i = 0; i < s.makings.size(); i++) {
    if (space_needed(image.processes[i]) > Stubs::kWorkspace)
      return Error{
          "restore process " + std::to_string(image.processes[i].pid) + ": too many mappings",
          E2BIG};
    plans.push_back(TRY(plan_addresses(s.makings[i].maps, image.processes[i], Stubs::kWorkspace)));
    addresses.push_back(plans.back().workspace);
  }
  TRY(make_ipc(s.guest, image.ipc));
  stages::mark("plan");
  // Waking a process on this processor and waiting for it costs 5 us, on one that sleeps 60 to 130
  // (ENGINE.md section 2). Several open their files side by side first.
  if (s.makings.size() == 1) s.pin();
  for (const Making& m : s.makings) TRY(hasten(m.pid.value));
  s.stubs.go(image_size, addresses);
  // While the stubs open their files: what depends on nothing they find out. The rest waits.
  for (size_t i = 0; i < s.makings.size(); i++) {
    Making& m = s.makings[i];
    m.workspace.emplace(s.stubs.workspace(i), Stubs::kWorkspace, addresses[i]);
  }
  for (size_t i = 0; i < s.makings.size(); i++) {
    Making& m = s.makings[i];
    TRY(wait_trap(m.leader()));
    stages::mark("stubs adopt");
    TRY(s.stubs.adopted(i));
    m.base = TRY(m.leader().registers());
    const ProcessImage& process = image.processes[i];
    m.program.emplace(Rebuild{image,
                              process,
                              s.guest,
                              *m.workspace,
                              s.stubs.mapped_files(i),
                              s.stubs.objects(i),
                              plans[i].spare,
                              plans[i].vdso,
                              s.platform.vdso,
                              {},
                              {},
                              {},
                              {},
                              {},
                              {},
                              {}});
    m.program->threads.resize(process.threads.size());
    for (const Part* part : parts())
      if (part->rebuild) TRY(part->rebuild(*m.program));
    m.program->space.must("close the stub's descriptors", SYS_close_range,
                          {static_cast<uint64_t>(s.stubs.first_free(i)), ~0u, 0});
    stages::mark("plan");
  }
  return {};
}

Result<void> Restoration::build_memory() {
  std::vector<NewProcess> processes;
  for (Making& m : state_->makings) processes.push_back({m.leader(), *m.workspace, m.base});
  TRY(stop_as_before(*state_->image, processes));
  for (Making& m : state_->makings) {
    m.program->space.place(*m.workspace);
    TRY(m.program->space.start(m.leader(), *m.workspace, m.base));
  }
  for (Making& m : state_->makings) {
    TRY(m.program->space.wait(m.leader()));
    TRY(m.program->space.finish(*m.workspace));
  }
  stages::mark("address space");
  if (!state_->pinned) state_->pin();
  for (Making& m : state_->makings) {
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
    stages::mark("write pages");
  }
  return {};
}

namespace {

/// Where the pages of a mapping lie in the page stream, if they come with it.
std::optional<uint64_t> stream_address(const MappingImage& m, const Image& image) {
  if (m.kind <= MappingKind::stack) return m.range.start;
  if (m.kind == MappingKind::object && image.objects[m.file].streamed)
    return stream::object_address(m.file, m.offset);
  return std::nullopt;
}

}  // namespace

Result<std::vector<std::vector<HeldBack>>> Restoration::hold_back_pages(
    const std::vector<int>& uffds) {
  std::vector<std::vector<HeldBack>> covered(state_->makings.size());
  for (size_t i = 0; i < state_->makings.size(); i++) {
    for (const MappingImage& m : state_->image->processes[i].mappings) {
      const std::optional<uint64_t> source = stream_address(m, *state_->image);
      if (!source) continue;
      const bool wiped = m.advice & static_cast<uint8_t>(Advice::wipe_on_fork);
      HeldBack* last = covered[i].empty() ? nullptr : &covered[i].back();
      if (last && last->target.end == m.range.start && last->wiped_on_fork == wiped &&
          last->source + last->target.size() == *source)
        last->target.end = m.range.end;
      else
        covered[i].push_back({m.range, *source, wiped});
    }
    for (const HeldBack& held : covered[i]) {
      uffdio_register reg = {};
      reg.range = {held.target.start, held.target.size()};
      reg.mode = UFFDIO_REGISTER_MODE_MISSING;
      if (::ioctl(uffds[i], UFFDIO_REGISTER, &reg) < 0) return Error::sys("hold back", "pages");
    }
  }
  return covered;
}

namespace {

Result<void> clone_threads(Making& m) {
  Rebuild& program = *m.program;
  if (program.clones.empty()) return {};
  program.clones.place(*m.workspace);
  // What a real-time thread clones would be left without timer slack (urgency.h).
  if (::sched_setscheduler(m.pid.value, SCHED_OTHER, &kNoPriority) < 0)
    return Error::sys("lower the priority of", "process " + std::to_string(m.pid.value));
  m.threads.reserve(program.process.threads.size());  // the leader stays where it is while we wait
  TRY(program.clones.start(m.leader(), *m.workspace, m.base));
  TRY(program.clones.wait(m.leader(), [&](Stop stop) -> Result<void> {
    if (stop.event == kEventClone)
      m.threads.push_back(Tracee::adopt({static_cast<pid_t>(TRY(m.leader().event_message()))}));
    return {};
  }));
  TRY(program.clones.finish(*m.workspace));
  if (m.threads.size() != program.process.threads.size())
    return Error{"clone the threads of process " + std::to_string(program.process.pid) +
                     ": some are missing",
                 EPROTO};
  for (size_t i = 1; i < m.threads.size(); i++) TRY(m.threads[i].wait());
  for (const Tracee& thread : m.threads) TRY(hasten(thread.tid().value));
  return {};
}

// From outside and while the process is still root's: afterwards nothing needs room any more.
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

// The kernel gives a thread room for tiles at its first use of one, and only then takes them from
// us.
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

// The last that the threads do by injected calls: another wait would take the note's place.
Result<void> take_up_waits(Making& m, RemoteAddress instruction) {
  for (size_t i = 0; i < m.threads.size(); i++) {
    const ThreadImage& image = m.program->process.threads[i];
    m.onward.push_back(image.wait_end == 0
                           ? image.registers
                           : TRY(resume_wait(m.threads[i], *m.workspace, instruction, m.base, image,
                                             TRY(guest_monotonic(m.pid)))));
  }
  return {};
}

}  // namespace

Result<void> Restoration::build_threads() {
  // The kernel compiles the filter of system calls for each process, 80 us: side by side.
  const bool several = state_->makings.size() > 1;
  for (Making& m : state_->makings) {
    TRY(clone_threads(m));
    stages::mark("clone");
    TRY(set_limits(m.pid, m.program->process));
    TRY(run_thread_programs(m));
    stages::mark("thread programs");
    TRY(touch_tiles(m));
    if (several) state_->pinned->free(m.pid);
    m.program->rights.place(*m.workspace);
    TRY(m.program->rights.start(m.leader(), *m.workspace, m.base));
  }
  for (Making& m : state_->makings) {
    TRY(m.program->rights.wait(m.leader()));
    TRY(m.program->rights.finish(*m.workspace));
    if (several) state_->pinned->bring(m.pid);
  }
  stages::mark("rights");
  for (Making& m : state_->makings) {
    const size_t offset = find_syscall(state_->platform.vdso);
    CHECK(offset != std::string::npos);
    const RemoteAddress instruction = m.program->vdso_at + offset;
    TRY(take_up_waits(m, instruction));
    const int64_t unmapped = TRY(call_once(m.leader(), instruction, m.base, SYS_munmap,
                                           {m.workspace->remote().value, m.workspace->size()}));
    if (unmapped < 0) return Error::sys("take away", "the workspace", static_cast<int>(-unmapped));
    stages::mark("unmap");
  }
  return {};
}

Result<void> Restoration::set_registers() {
  for (Making& m : state_->makings) {
    const ProcessImage& process = m.program->process;
    for (size_t i = 0; i < m.threads.size(); i++) {
      const ThreadImage& thread = process.threads[i];
      TRY(m.threads[i].set_registers(m.onward[i]));
      Bytes state = thread.extended_state;
      state.resize(state_->platform.state.size);
      TRY(m.threads[i].set_extended_state(state));
      TRY(m.threads[i].set_signal_mask(thread.signal_mask));
    }
  }
  return {};
}

Tid Restoration::pid(size_t process) const {
  return state_->makings[process].pid;
}

Result<void> Restoration::lend(size_t process,
                               const std::function<Result<void>(const Foothold&)>& call) {
  Making& m = state_->makings[process];
  const std::string name = "process " + std::to_string(m.program->process.pid);
  const ThreadImage& thread = m.program->process.threads.front();
  const Foothold foothold{m.leader(), m.base,
                          TRY(syscall_instruction(m.pid, name, state_->platform.vdso)), name};
  TRY(m.leader().set_signal_mask(kInjectionMask));
  TRY(call(foothold));
  TRY(m.leader().set_registers(thread.registers));
  return m.leader().set_signal_mask(thread.signal_mask);
}

namespace {

// Who has never been real-time before has the usual slack again by itself.
void lower(const Making& m) {
  for (size_t i = 0; i < m.threads.size(); i++) {
    const pid_t tid = m.threads[i].tid().value;
    const uint64_t slack = m.program->process.threads[i].timer_slack;
    if (slack != 0 && slack != kUsualTimerSlack)
      migrate::give_back(tid, {SCHED_OTHER, {}, slack});
    else if (::sched_setscheduler(tid, SCHED_OTHER, &kNoPriority) < 0)
      log::warning("lower the priority of thread {}: {}", tid, ::strerror(errno));
  }
}

}  // namespace

void Restoration::resume(Wishes& wishes) {
  const bool at_home = !state_->guest.lowest_priority;
  const auto threads_of = [](const Making& m) -> NewThreads {
    return {m.pid, m.threads, m.program->process};
  };
  for (const Making& m : state_->makings) lower(m);
  if (!at_home)
    for (const Making& m : state_->makings) yield_to_others(threads_of(m), wishes);
  state_->resumed = true;
  for (Making& m : state_->makings)
    for (const Tracee& thread : m.threads) state_->pinned->free(thread.tid());
  state_->pinned.reset();
  for (const Making& m : state_->makings) grant_wishes(threads_of(m), at_home);
  for (Making& m : state_->makings) m.threads.clear();  // detaches
  state_->stubs.release();
}

uint32_t Restoration::threads() const {
  size_t n = 0;
  for (const Making& m : state_->makings) n += m.threads.size();
  return static_cast<uint32_t>(n);
}

}  // namespace hob::migrate
