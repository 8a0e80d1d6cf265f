#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/proc.h"
#include "migrate/types.h"

/// Descriptors that tell of processes, or tell processes: pidfds (pidfd_open(2)), and signals on
/// input (F_SETOWN, F_SETSIG, O_ASYNC of fcntl(2)).
namespace hob::migrate {

/// The source's side: fills in `d`. kObstacle: it is of something that the tree does not have.
Result<void> describe_pidfd(const proc::FdInfo& info, Description& d, const std::string& subject);
Result<void> describe_owner(const Fd& file, Description& d, const std::string& subject);

/// The target's side, in the first stub, when all processes of the tree are there.
Result<Fd> open_pidfd(const Description& d);
/// In the process that owns `d`; signals will tell that they are of `number`. The last thing to be
/// done to a description: from here on it may send them.
Result<void> set_owner(int number, const Description& d);

}  // namespace hob::migrate
