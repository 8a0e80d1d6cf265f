#include "coordinator/ledger_schema.h"

#include <fmt/format.h>

namespace hob::coordinator {
namespace {

constexpr const char* steps[] = {
    // 1. AUTOINCREMENT: a number is never used again, so history cannot change its subject.
    R"sql(
CREATE TABLE starts (
  epoch INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL
) STRICT;
CREATE TABLE hosts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL CHECK (length(name) > 0),
  public_key BLOB NOT NULL CHECK (length(public_key) = 32),
  endpoint TEXT NOT NULL,
  registered INTEGER NOT NULL,
  removed INTEGER
) STRICT;
CREATE UNIQUE INDEX hosts_by_name ON hosts (name) WHERE removed IS NULL;
CREATE UNIQUE INDEX hosts_by_key ON hosts (public_key) WHERE removed IS NULL;
CREATE TABLE invites (
  public_key BLOB PRIMARY KEY CHECK (length(public_key) = 32),
  made INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  used_by INTEGER REFERENCES hosts (id)
) STRICT, WITHOUT ROWID;
CREATE TABLE grants (
  lease INTEGER PRIMARY KEY,
  host INTEGER NOT NULL REFERENCES hosts (id),
  home INTEGER NOT NULL REFERENCES hosts (id),
  user TEXT NOT NULL,
  began INTEGER NOT NULL,
  ended INTEGER,
  how TEXT
) STRICT;
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  home INTEGER NOT NULL REFERENCES hosts (id),
  user TEXT NOT NULL,
  uid INTEGER NOT NULL,
  command TEXT NOT NULL,
  state INTEGER NOT NULL,
  host INTEGER REFERENCES hosts (id),
  exit_status INTEGER,
  text TEXT NOT NULL,
  submitted INTEGER NOT NULL,
  started INTEGER,
  ended INTEGER
) STRICT;
CREATE INDEX jobs_by_time ON jobs (submitted);
CREATE INDEX jobs_alive ON jobs (submitted) WHERE ended IS NULL;
CREATE TABLE moves (
  id INTEGER PRIMARY KEY,
  job TEXT NOT NULL,  -- without REFERENCES: the report of a move may come before that of its job
  from_host INTEGER NOT NULL REFERENCES hosts (id),
  to_host INTEGER NOT NULL REFERENCES hosts (id),
  reason TEXT NOT NULL,
  moved INTEGER NOT NULL CHECK (moved IN (0, 1)),
  text TEXT NOT NULL,
  freeze_ns INTEGER NOT NULL,
  push_ns INTEGER NOT NULL,
  clean_ns INTEGER NOT NULL,
  pages_moved INTEGER NOT NULL,
  pages_demanded INTEGER NOT NULL,
  image_bytes INTEGER NOT NULL,
  threads INTEGER NOT NULL,
  processes INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX moves_by_job ON moves (job, at);
)sql",
    // 2. Invitations have a host's name (empty: any) and can be withdrawn.
    R"sql(
ALTER TABLE invites ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE invites ADD COLUMN withdrawn INTEGER;
)sql",
};
constexpr int64_t version = std::size(steps);

Result<int64_t> version_of(sqlite::Database& database) {
  auto query = TRY(database.prepare("PRAGMA user_version"));
  if (!TRY(query.next())) return database.error("has no version");
  return query.integer(0);
}

}  // namespace

Result<void> migrate_schema(sqlite::Database& database) {
  auto transaction = TRY(sqlite::Transaction::begin(database));
  const int64_t found = TRY(version_of(database));
  if (found < 0 || found > version) {
    return database.error(
        fmt::format("has version {}, and this coordinator knows up to {}; update hob-coordinator",
                    found, version));
  }
  for (int64_t step = found; step < version; ++step) TRY(database.execute(steps[step]));
  if (found < version) TRY(database.execute(fmt::format("PRAGMA user_version={}", version)));
  return transaction.commit();
}

int64_t to_stored(WallTime time) {
  return std::chrono::duration_cast<microseconds>(time.time_since_epoch()).count();
}

WallTime from_stored(int64_t us) {
  return WallTime(std::chrono::duration_cast<WallClock::duration>(microseconds(us)));
}

}  // namespace hob::coordinator
