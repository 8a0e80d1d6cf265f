#pragma once

#include <string>

namespace hob {

/// Where control groups are described: others than the machine's own in tests.
struct GroupFiles {
  std::string own = "/proc/self/cgroup";  ///< cgroups(7)
  std::string root = "/sys/fs/cgroup";    ///< all hierarchies, or the unified one itself
};

/// How many programs can compute here at once without taking processor time from each other: the
/// processors that this thread may run on, and no more than the quotas of its control groups and of
/// all those above them pay for, a broken one counted as a whole. At least 1.
///
/// A virtual machine or a container may see many processors and own a part of one. Two programs on
/// that part end no sooner together than one after the other, and the longer one much later.
///
/// `group` is the group in the unified hierarchy whose quota counts ("/hob/guests"), if it is not
/// this process's own. In the hierarchies of v1 children stay where their parent is. What cannot be
/// read is no quota.
unsigned usable_processors(const std::string& group = {}, const GroupFiles& files = {});

}  // namespace hob
