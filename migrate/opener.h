#pragma once

#include "base/result.h"
#include "migrate/parts.h"

namespace hob::migrate {

/// Runs in the first process of the tree: opens every description and object of the image, once for
/// all, at the numbers that `a` says, from where all processes fetch what they have. Paths are
/// opened with the user's rights.
Result<void> open_shared(const Adoption& a);

/// A file of /proc: its text is made when it is read, or its place in it is sought. Sought when the
/// processes are what it tells of.
bool tells_of_processes(const Description& d);

}  // namespace hob::migrate
