#pragma once

#include <vector>

#include "migrate/image.h"
#include "migrate/parts.h"

/// What ties a tree of processes to others: it shows only when the whole tree has been seen.
namespace hob::migrate {

/// Names the sockets whose other end is in no process of the tree; of strangers
/// (Guest::sandbox is null) the pipes too, which in a sandbox can lead nowhere else. All of one
/// tree.
void check_outside(std::vector<Inspection>& tree);

/// The tree of strangers as it would be in a sandbox: its root leads a session and a group of its
/// own. Pure.
Tree as_job(Tree tree);

}  // namespace hob::migrate
