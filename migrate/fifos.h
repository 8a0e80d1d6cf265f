#pragma once

#include <sys/stat.h>

#include <set>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"

/// Named pipes (fifo(7)). Each host has a pipe of its own behind the same name, so one can be
/// carried only while all its ends are in the tree. One without a name any more is carried as an
/// ordinary pipe.
namespace hob::migrate {

/// A process of this host outside the tree that has the file open; 0: none. Looks at all processes
/// there are: some milliseconds.
Result<pid_t> user_outside(const struct stat& file, const std::set<pid_t>& tree);

/// The target's side: an end from which others can be opened, with the user's rights. If nobody in
/// the tree writes or has written, it is a reader, and no writer has ever been seen; else both.
/// `machine` is the source's: on the same one it is the same pipe, and has its bytes.
Result<Fd> open_fifo(const PipeImage& image, bool has_writer, const std::string& machine,
                     const Credentials& user);

}  // namespace hob::migrate
