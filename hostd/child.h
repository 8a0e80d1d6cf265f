// A child process born in a control group.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/cgroup.h"

namespace hob::hostd {

struct Child {
  pid_t pid;
  Fd pidfd;  ///< readable when it has ended
};

/// Starts program arguments[0] in `group`, with `channel` as its descriptor 3 and no other beyond
/// 2, an empty environment, its own session and default signals; the caller reaps it. Returns once
/// the program is executed.
///
/// Born there, not moved: to move a process into a group the kernel waits for an RCU grace period,
/// 8 to 18 ms, with the lock held that freezing any other group of the machine needs
/// (cgroup_attach_lock; an owner's key waited for it). A birth takes neither (clone3(2),
/// CLONE_INTO_CGROUP).
Result<Child> start_child(const migrate::Cgroup& group, const std::vector<std::string>& arguments,
                          Fd channel);

}  // namespace hob::hostd
