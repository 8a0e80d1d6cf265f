#include "migrate/urgency.h"

#include <sys/prctl.h>

#include <charconv>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/fd.h"
#include "base/log.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {
namespace {

// Any thread's number is a directory of /proc, though only leaders are listed there.
std::string slack_file(pid_t thread) {
  return "/proc/" + std::to_string(thread) + "/timerslack_ns";
}

std::string thread_name(pid_t thread) {
  return "thread " + std::to_string(thread);
}

}  // namespace

Result<uint64_t> timer_slack(pid_t thread) {
  const std::string text = TRY(read_file(slack_file(thread)));
  uint64_t slack = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), slack).ec != std::errc())
    return Error{"read " + slack_file(thread) + ": the kernel's text has an unknown form", EPROTO};
  return slack;
}

Result<void> set_timer_slack(pid_t thread, uint64_t slack) {
  return write_control(slack_file(thread), std::to_string(slack));
}

Result<Scheduling> scheduling_of(pid_t thread) {
  Scheduling now;
  now.policy = ::sched_getscheduler(thread);
  if (now.policy < 0 || ::sched_getparam(thread, &now.parameter) < 0)
    return Error::sys("read the scheduling of", thread_name(thread));
  now.timer_slack = now.real_time() ? kUsualTimerSlack : TRY(timer_slack(thread));
  return now;
}

Result<void> hasten(pid_t thread) {
  const sched_param first{kGuestFirst}, none{};
  if (::sched_setscheduler(thread, SCHED_FIFO, &first) == 0) return {};
  if (errno == EPERM && ::sched_setscheduler(thread, SCHED_OTHER, &none) == 0) return {};
  return Error::sys("raise the priority of", thread_name(thread));
}

void give_back(pid_t thread, const Scheduling& before) {
  if (::sched_setscheduler(thread, before.policy, &before.parameter) < 0) {
    if (errno != ESRCH)
      log::warning("give {} back its priority: {}", thread_name(thread), ::strerror(errno));
    return;
  }
  if (before.real_time()) return;
  auto set = set_timer_slack(thread, before.timer_slack);
  if (!set && set.error().code != ESRCH && set.error().code != ENOENT)
    log::warning("{}", set.error().text);
}

FirstOfAll::FirstOfAll() : timer_slack_(::prctl(PR_GET_TIMERSLACK)) {
  const sched_param first{kEngineFirst};
  raised_ = ::sched_getscheduler(0) == SCHED_OTHER &&
            ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first) == 0;
}

FirstOfAll::~FirstOfAll() {
  if (!raised_) return;
  const sched_param none{};  // the nice value is kept
  CHECK(::sched_setscheduler(0, SCHED_OTHER, &none) == 0);
  ::prctl(PR_SET_TIMERSLACK, timer_slack_);
}

}  // namespace hob::migrate
