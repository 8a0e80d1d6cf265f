#include <asm/prctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <csignal>

#include "migrate/parts.h"

/// Settings: what prctl(2) and arch_prctl(2) keep for a thread or a process and no other part has.
namespace hob::migrate {
namespace {

// Newer than Debian 12's headers.
constexpr int kPrSetMemoryMerge = 67, kPrGetMemoryMerge = 68;
constexpr int kArchGetCpuid = 0x1011, kArchSetCpuid = 0x1012;

constexpr std::array<uint64_t, 3> kSpeculations = {PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH,
                                                   2 /* PR_SPEC_L1D_FLUSH */};

void capture_thread(ProcessCapture& c, size_t index) {
  Batch& batch = c.of(index);
  ThreadImage& out = c.out.threads[index];
  Workspace& ws = c.workspace;
  const uint64_t before = c.process.threads[index].scheduling.timer_slack;
  batch.then(SYS_prctl, {PR_GET_TIMERSLACK}, [&out, before](int64_t slack) -> Result<void> {
    // While it is raised it has none (urgency.h).
    out.timer_slack = slack > 0 ? static_cast<uint64_t>(slack) : before;
    return {};
  });
  batch.then(SYS_prctl, {PR_GET_KEEPCAPS}, [&out](int64_t keep) -> Result<void> {
    out.keep_capabilities = keep == 1;
    return {};
  });
  const RemoteAddress tsc = ws.reserve(4);
  batch.then(SYS_prctl, {PR_GET_TSC, tsc.value}, [&out, &ws, tsc](int64_t result) -> Result<void> {
    out.no_time_stamps = result == 0 && ws.get<int>(tsc) == PR_TSC_SIGSEGV;
    return {};
  });
  batch.then(SYS_arch_prctl, {kArchGetCpuid, 0}, [&out](int64_t allowed) -> Result<void> {
    out.no_cpuid = allowed == 0;
    return {};
  });
  for (size_t i = 0; i < kSpeculations.size(); i++)
    batch.then(SYS_prctl, {PR_GET_SPECULATION_CTRL, kSpeculations[i], 0, 0, 0},
               [&out, i](int64_t state) -> Result<void> {
                 // Without PR_SPEC_PRCTL it is not the thread that decides.
                 if (state > 0 && state & PR_SPEC_PRCTL)
                   out.speculation[i] = static_cast<uint8_t>(state & ~PR_SPEC_PRCTL);
                 return {};
               });
}

Result<void> capture(ProcessCapture& c) {
  for (size_t i = 0; i < c.out.threads.size(); i++) capture_thread(c, i);
  c.leader.then(SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0}, [&c](int64_t flags) -> Result<void> {
    c.out.no_huge_pages = flags > 0 ? static_cast<uint8_t>(flags & 3) : 0;
    return {};
  });
  c.leader.then(SYS_prctl, {static_cast<uint64_t>(kPrGetMemoryMerge), 0, 0, 0, 0},
                [&c](int64_t merge) -> Result<void> {
                  c.out.merge_memory = merge == 1;
                  return {};
                });
  c.leader.then(SYS_prctl, {PR_MCE_KILL_GET, 0, 0, 0, 0}, [&c](int64_t policy) -> Result<void> {
    c.out.memory_error_policy =
        policy >= 0 ? static_cast<uint8_t>(policy) : uint8_t{PR_MCE_KILL_DEFAULT};
    return {};
  });
  return {};
}

void rebuild_thread(const ThreadImage& thread, Batch& batch) {
  if (thread.keep_capabilities)
    batch.must("set the keep-capabilities flag", SYS_prctl, {PR_SET_KEEPCAPS, 1});
  // These three depend on the processor; where it knows no such switch there is nothing to switch.
  for (size_t i = 0; i < kSpeculations.size(); i++)
    if (thread.speculation[i] & ~PR_SPEC_ENABLE)
      batch.may(SYS_prctl,
                {PR_SET_SPECULATION_CTRL, kSpeculations[i], thread.speculation[i], 0, 0});
  if (thread.no_cpuid) batch.may(SYS_arch_prctl, {kArchSetCpuid, 0});
  if (thread.no_time_stamps)
    batch.must("forbid time stamps", SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV});
}

Result<void> rebuild(Rebuild& r) {
  const ProcessImage& p = r.process;
  for (size_t i = 0; i < p.threads.size(); i++) rebuild_thread(p.threads[i], r.threads[i]);
  // What is written before the rest of the memory is held back (Restoration::build_memory) would
  // make a huge page of it, all zero but for that, and what is there already is never asked for.
  r.space.may(SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
  if (!p.no_huge_pages)
    r.rights.may(SYS_prctl, {PR_SET_THP_DISABLE, 0, 0, 0, 0});
  else if (p.no_huge_pages & 2u)
    r.rights.may(SYS_prctl, {PR_SET_THP_DISABLE, 1, 2, 0, 0});
  // What kernels may lack, and programs cannot see but by their speed.
  if (p.merge_memory)
    r.space.may(SYS_prctl, {static_cast<uint64_t>(kPrSetMemoryMerge), 1, 0, 0, 0});
  if (p.memory_error_policy != PR_MCE_KILL_DEFAULT)
    r.rights.must("set the policy for memory errors", SYS_prctl,
                  {PR_MCE_KILL, PR_MCE_KILL_SET, p.memory_error_policy, 0, 0});
  return {};
}

}  // namespace

const Part kSettings = {"settings", nullptr, capture, nullptr, rebuild};

}  // namespace hob::migrate
