#pragma once

#include "base/result.h"
#include "migrate/parts.h"

/// The target's side of the memory part (part_memory.cc).
namespace hob::migrate {

/// Opens the files that are mapped, with the user's rights, and sees that they are the same.
Result<void> adopt_memory(Adoption& a);
/// The old address space goes, the new one comes, with the kernel's notes about it.
Result<void> build_memory(Rebuild& r);
/// The same where a draft has been built already: only what differs.
Result<void> rebuild_memory(Rebuild& r);

}  // namespace hob::migrate
