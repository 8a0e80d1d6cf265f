#include "hostd/priority.h"

#include <sched.h>
#include <sys/resource.h>

#include "base/check.h"

namespace hob::hostd {
namespace {

Result<void> set_nice(int value) {
  if (::setpriority(PRIO_PROCESS, 0, value) < 0)
    return Error::sys("set the priority of", "this thread", errno, "needs CAP_SYS_NICE");
  return {};
}

}  // namespace

Result<void> prefer_this_thread() {
  return set_nice(-11);
}
Result<void> ordinary_priority() {
  return set_nice(0);
}

FirstOfAll::FirstOfAll() {
  const sched_param first{1};
  raised_ = ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first) == 0;
}

FirstOfAll::~FirstOfAll() {
  if (!raised_) return;
  const sched_param none{};  // the nice value is kept
  CHECK(::sched_setscheduler(0, SCHED_OTHER, &none) == 0);
}

}  // namespace hob::hostd
