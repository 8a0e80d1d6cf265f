#include "migrate/priorities.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

bool can_be_wished(uint32_t policy) {
  const auto base = policy & ~static_cast<uint32_t>(SCHED_RESET_ON_FORK);
  return base == SCHED_OTHER || base == SCHED_BATCH || base == SCHED_IDLE;
}

std::optional<int16_t> memory_score(Tid process) {
  auto text = proc::read(process, "oom_score_adj");
  int16_t score = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), score).ec != std::errc())
    return std::nullopt;
  return score;
}

/// While it lives, this thread may not lower a score below what unprivileged processes may: with
/// the right to, the kernel would take what is written for the new lower bound, and the program
/// could not go back.
class WithoutResourceRights {
 public:
  WithoutResourceRights() {
    held_ = ::syscall(SYS_capget, &header_, saved_) == 0;
    if (!held_) return;
    __user_cap_data_struct less[_LINUX_CAPABILITY_U32S_3];
    std::memcpy(less, saved_, sizeof less);
    less[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    held_ = ::syscall(SYS_capset, &header_, less) == 0;
  }
  ~WithoutResourceRights() {
    if (held_) CHECK(::syscall(SYS_capset, &header_, saved_) == 0);
  }
  WithoutResourceRights(const WithoutResourceRights&) = delete;
  WithoutResourceRights& operator=(const WithoutResourceRights&) = delete;

 private:
  static_assert(CAP_SYS_RESOURCE < 32);
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct saved_[_LINUX_CAPABILITY_U32S_3];
  bool held_;
};

bool set_disk_priority(pid_t thread, int priority) {
  return ::syscall(SYS_ioprio_set, kernel::kIoprioWhoProcess, thread, priority) == 0;
}

}  // namespace

void capture_wishes(const Guest& guest, const CaptiveThread& captive, ThreadImage& out) {
  const pid_t tid = captive.tracee.tid().value;
  out.nice = static_cast<int8_t>(::getpriority(PRIO_PROCESS, static_cast<id_t>(tid)));
  cpu_set_t all;  // as the sandbox's init has them, which has never asked for any
  if (::sched_getaffinity(guest.sandbox->init(), sizeof all, &all) == 0 &&
      !CPU_EQUAL(&all, &captive.processors())) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&captive.processors());
    out.processors.assign(bytes, bytes + sizeof(cpu_set_t));
  }
  // Of the disk even a guest may ask for more than it was given; -1: not supported.
  const long disk = ::syscall(SYS_ioprio_get, kernel::kIoprioWhoProcess, tid);
  const long given = guest.lowest_priority ? kernel::kIoprioIdle : 0;
  if (disk > 0 && disk >> kernel::kIoprioClassShift != 0 && disk != given)
    out.disk_priority = static_cast<uint16_t>(disk);
  if (!guest.lowest_priority) {
    const auto policy = static_cast<uint32_t>(captive.policy());
    if (can_be_wished(policy)) out.policy = policy;
    return;
  }
  const auto wish = guest.wishes.threads.find(tid);
  if (wish == guest.wishes.threads.end()) return;
  out.policy = wish->second.policy;
  if (out.disk_priority == 0) out.disk_priority = wish->second.disk_priority;
}

void capture_wishes(const Guest& guest, const CaptiveProcess& captive, ProcessImage& out) {
  if (guest.lowest_priority) {
    const auto wish = guest.wishes.memory_scores.find(captive.pid.value);
    if (wish != guest.wishes.memory_scores.end()) out.memory_score = wish->second;
    return;
  }
  const auto given = memory_score(Tid{guest.sandbox->init()}), now = memory_score(captive.pid);
  if (given && now && *now != *given) out.memory_score = *now;
}

void yield_to_others(const NewThreads& process, Wishes& wishes) {
  const sched_param none = {};
  bool done = true;
  for (size_t i = 0; i < process.threads.size(); i++) {
    const pid_t tid = process.threads[i].tid().value;
    const ThreadImage& image = process.image.threads[i];
    done = ::sched_setscheduler(tid, SCHED_IDLE, &none) == 0 && done;
    done = set_disk_priority(tid, kernel::kIoprioIdle) && done;
    if (image.policy != 0 || image.disk_priority != 0)
      wishes.threads[tid] = {image.policy, image.disk_priority};
  }
  if (!done)
    log::warning("lower the priority of process {}: {}", process.pid.value, ::strerror(errno));
  if (auto set = write_control(proc::path(process.pid, "oom_score_adj"), "1000"); !set)
    log::warning("{}", set.error().text);
  // Its session's; there is none on kernels without autogroups.
  if (auto set = write_control(proc::path(process.pid, "autogroup"), "19");
      !set && set.error().code != ENOENT)
    log::warning("{}", set.error().text);
  if (process.image.memory_score != kScoreAsGiven)
    wishes.memory_scores[process.pid.value] = process.image.memory_score;
}

namespace {

bool grant_at_home(pid_t tid, const ThreadImage& thread) {
  const sched_param none = {};
  bool done = true;
  if (thread.policy != 0)
    done = ::sched_setscheduler(tid, static_cast<int>(thread.policy), &none) == 0;
  if (thread.disk_priority != 0) done = set_disk_priority(tid, thread.disk_priority) && done;
  return done;
}

}  // namespace

void grant_wishes(const NewThreads& process, bool at_home) {
  for (size_t i = 0; i < process.threads.size(); i++) {
    const ThreadImage& thread = process.image.threads[i];
    const pid_t tid = process.threads[i].tid().value;
    // Never ahead of others, whatever the image says.
    bool done =
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(tid), std::max<int>(thread.nice, 0)) == 0;
    if (thread.processors.size() == sizeof(cpu_set_t)) {
      cpu_set_t wished;
      std::memcpy(&wished, thread.processors.data(), sizeof wished);
      // EINVAL: none of them is here.
      done = (::sched_setaffinity(tid, sizeof wished, &wished) == 0 || errno == EINVAL) && done;
    }
    if (at_home) done = grant_at_home(tid, thread) && done;
    if (!done)
      log::warning("schedule process {} as before: {}", process.pid.value, ::strerror(errno));
  }
  if (!at_home || process.image.memory_score == kScoreAsGiven) return;
  WithoutResourceRights rights;
  const auto score = std::to_string(process.image.memory_score);
  // Below what this host gives it cannot have been: it was lowered by nobody.
  if (auto set = write_control(proc::path(process.pid, "oom_score_adj"), score); !set)
    log::warning("{}", set.error().text);
}

}  // namespace hob::migrate
