#include "hostd/priority.h"

#include <sys/resource.h>

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

}  // namespace hob::hostd
