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
#include "migrate/filters.h"
#include "migrate/injector.h"
#include "migrate/ipc.h"
#include "migrate/job_control.h"
#include "migrate/making.h"
#include "migrate/page_stream.h"
#include "migrate/pinned.h"
#include "migrate/priorities.h"
#include "migrate/settlement.h"
#include "migrate/stages.h"
#include "migrate/urgency.h"
#include "migrate/waits.h"

namespace hob::migrate {
namespace {

constexpr unsigned kOptions = Tracee::kills_on_exit | Tracee::follows_clones;
constexpr sched_param kNoPriority = {};

// What the calls of a process need of the workspace: rows and their data, generously.
size_t space_needed(const Image& image, const ProcessImage& p) {
  size_t signals = p.pending.size();
  for (const ThreadImage& t : p.threads) signals += t.pending.size();
  return (64u << 10) + p.mappings.size() * 64 + p.threads.size() * 2048 + signals * 256 +
         p.timers.size() * 512 + p.descriptors.size() * 64 + p.auxv.size() + filter_space(image, p);
}

}  // namespace

struct Restoration::State {
  State(const Guest& g, Stubs& s, const Platform& p) : guest(g), stubs(s), platform(p) {}
  ~State();
  const Guest& guest;
  Stubs& stubs;
  const Platform& platform;
  const Image* image = nullptr;
  const Image* draft = nullptr;  // that has been built upon
  std::optional<Settlement> settlement;
  std::vector<Making> makings;
  std::unique_ptr<Pinned> pinned;
  void pin() {
    pinned = std::make_unique<Pinned>();
    for (Making& m : makings)
      for (const Tracee& thread : m.threads) pinned->bring(thread.tid());
  }
  /// Files and identity of `image`, natively; returns when all have set out.
  Result<void> let_stubs_adopt(Range place);
  /// An empty program for a process of `image`.
  Rebuild& begin_program(size_t i);
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
    m.threads.push_back(TRY(Tracee::seize(m.pid, kOptions)));
  }
  return r;
}

Result<void> Restoration::State::let_stubs_adopt(Range place) {
  CHECK(image->processes.size() == makings.size());
  std::vector<RemoteAddress> addresses;
  for (size_t i = 0; i < makings.size(); i++) {
    const ProcessImage& process = image->processes[i];
    if (space_needed(*image, process) > Stubs::kWorkspace)
      return Error{"restore process " + std::to_string(process.pid) + ": too many mappings", E2BIG};
    makings[i].plan = TRY(plan_addresses(makings[i].maps, process, Stubs::kWorkspace));
    addresses.push_back(makings[i].plan.workspace);
  }
  stages::mark("plan");
  // Waking a process on this processor and waiting for it costs 5 us, on one that sleeps 60 to 130
  // (ENGINE.md section 2). Several open their files side by side first.
  if (makings.size() == 1) pin();
  stubs.go(place, addresses);
  return {};
}

Rebuild& Restoration::State::begin_program(size_t i) {
  Making& m = makings[i];
  m.workspace.emplace(stubs.workspace(i), Stubs::kWorkspace, m.plan.workspace);
  const ProcessImage& process = image->processes[i];
  m.program.emplace(Rebuild{*image,
                            process,
                            guest,
                            *m.workspace,
                            stubs.mapped_files(i),
                            stubs.objects(i),
                            m.plan.spare,
                            m.plan.vdso,
                            platform.vdso,
                            {},
                            {},
                            {},
                            {},
                            {},
                            {},
                            {}});
  m.program->threads.resize(process.threads.size());
  return *m.program;
}

Result<void> Restoration::build_ahead(const Image& draft, Range place) {
  State& s = *state_;
  s.image = &draft;
  TRY(s.let_stubs_adopt(place));
  for (size_t i = 0; i < s.makings.size(); i++) {
    Making& m = s.makings[i];
    TRY(wait_trap(m.leader()));
    TRY(s.stubs.adopted(i));
    m.base = TRY(m.leader().registers());
    Rebuild& program = s.begin_program(i);
    for (const Part* part : parts())
      if (part->rebuild_ahead) TRY(part->rebuild_ahead(program));
  }
  TRY(build_memory());
  for (Making& m : s.makings) {
    TRY(clone_threads(m));
    m.program->rights.place(*m.workspace);
    TRY(m.program->rights.start(m.leader(), *m.workspace, m.base));
    TRY(m.program->rights.wait(m.leader()));
    TRY(m.program->rights.finish(*m.workspace));
  }
  s.settlement = TRY(Settlement::prepare(draft, s.makings[0].pid, s.stubs.opened()));
  s.draft = &draft;
  s.pinned.reset();
  for (const Making& m : s.makings)
    for (const Tracee& thread : m.threads) TRY(hasten(thread.tid().value));
  return {};
}

bool Restoration::in_the_way(const Image& image) const {
  for (size_t i = 0; i < state_->makings.size(); i++) {
    const AddressPlan& plan = state_->makings[i].plan;
    const Range ours = {plan.workspace.value, plan.spare.end};
    for (const MappingImage& m : image.processes[i].mappings)
      if (m.range.overlaps(ours)) return true;
    if (space_needed(image, image.processes[i]) > Stubs::kWorkspace) return true;
  }
  return false;
}

Result<void> Restoration::adopt(const Image& image, Range place) {
  State& s = *state_;
  s.image = &image;
  TRY(make_ipc(s.guest, image.ipc));
  if (s.settlement) {
    if (s.makings.size() == 1) s.pin();  // several build their memory side by side first
    TRY(s.settlement->settle(image));
  } else {
    for (const Making& m : s.makings) TRY(hasten(m.pid.value));
    TRY(s.let_stubs_adopt(place));
  }
  stages::mark("settle");
  for (size_t i = 0; i < s.makings.size(); i++) {
    Making& m = s.makings[i];
    const std::optional<Rebuild> ahead = std::move(m.program);
    if (!s.draft) {
      TRY(wait_trap(m.leader()));
      stages::mark("stubs adopt");
      TRY(s.stubs.adopted(i));
      m.base = TRY(m.leader().registers());
    }
    Rebuild& program = s.begin_program(i);
    if (s.draft) {
      program.drafted = &s.draft->processes[i];
      program.vdso_at = ahead->vdso_at;
    }
    for (const Part* part : parts())
      if (part->rebuild) TRY(part->rebuild(program));
    program.space.must("close the stub's descriptors", SYS_close_range,
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
    TRY(write_pages(m));
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

Result<void> Restoration::build_threads() {
  // The kernel compiles the filter of system calls for each process, 80 us: side by side.
  const bool several = state_->makings.size() > 1;
  for (Making& m : state_->makings) {
    TRY(clone_threads(m));
    if (!m.program->clones.empty())
      for (const Tracee& thread : m.threads) TRY(hasten(thread.tid().value));
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
  for (Making& m : state_->makings)
    if (has_filters(m.program->process))
      TRY(install_filters(*state_->image, m.program->process, m.threads, kOptions, *m.workspace,
                          m.base));
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
  const Foothold foothold{
      m.leader(), m.base,
      TRY(syscall_instruction(m.pid, name, TRY(vdso_of(m.pid, name)), state_->platform.vdso)),
      name};
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
