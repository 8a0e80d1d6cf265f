#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/proc.h"
#include "migrate/types.h"

/// inotify(7) instances. The kernel tells the files that are watched by handle, not by name; the
/// name is looked for, and the watch is made anew with its number. Events cannot be put into a
/// queue: while some have not been read, the instance stays where it is. What happens to the files
/// between the freeze and the resume is not told, and a move may itself be told of, as files that
/// were opened and closed.
namespace hob::migrate {

/// The source's side: fills in `d`. kObstacle: unread events, or a watch whose file has no name
/// that can be found.
Result<void> describe_watches(Tid process, int fd, const proc::FdInfo& info, Description& d,
                              const std::string& subject);

/// The target's side; with the user's rights.
Result<Fd> open_watches(const Description& d, const Credentials& user);

}  // namespace hob::migrate
