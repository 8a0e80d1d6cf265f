#pragma once

#include "base/result.h"
#include "base/time.h"
#include "coordinator/sqlite.h"

namespace hob::coordinator {

/// Brings the ledger's tables up to the version of this program, in one transaction. Version N of
/// the file (PRAGMA user_version) has had the first N steps; steps are added, never changed. Error:
/// the file is of a later version.
Result<void> migrate_schema(sqlite::Database& database);

/// Times in the ledger are microseconds since 1970 (wall clock), durations nanoseconds.
int64_t to_stored(WallTime time);
WallTime from_stored(int64_t microseconds);

}  // namespace hob::coordinator
