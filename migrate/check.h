#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/bindings.h"
#include "migrate/migrate.h"

/// Could this be moved, and how would each resource follow? Looks and stops nothing, so what it
/// says is true of the moment in which it looked.
namespace hob::migrate {

/// A descriptor or a mapping of one process.
struct Resource {
  pid_t process = 0;    ///< as the job itself counts
  std::string program;  ///< comm
  std::string place;    ///< "fd 3", "7f0000001000-7f0000002000"
  std::string name;     ///< what the kernel calls it: a path, "pipe:[123]"; may be empty
  std::string kind;     ///< bindings.h; empty where it is refused
  Binding binding = Binding::refused;
  std::string reason;
};

struct Findings {
  std::vector<Obstacle> obstacles;  ///< empty: nothing known stands in the way
  std::vector<Resource> resources;  ///< process by process
};

/// check(), and the table of everything that would follow.
Result<Findings> examine(const Guest& guest);

/// The same for any process of this machine and its descendants: what would be refused if they had
/// been started as a job by the same user. So standard input, output and error count as a job's
/// streams, and nobody asks for the sandbox that they do not have.
///
/// With the caller's own rights: an Error EPERM if the process is another user's and the caller not
/// root, EACCES if it lets nobody look, ESRCH if there is none.
Result<Findings> examine_process(pid_t process);

}  // namespace hob::migrate
