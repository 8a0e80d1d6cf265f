#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "coordinator/lease.h"
#include "coordinator/sqlite.h"

namespace hob::coordinator {

/// A workstation of the cell, as it was registered.
struct HostRow {
  HostId id{};
  std::string name;
  std::string public_key;  ///< CURVE, 32 bytes
  std::string endpoint;    ///< "tcp://10.77.0.3:7718"
  WallTime registered{};

  bool operator==(const HostRow&) const = default;
};

/// An invitation that stands.
struct InviteRow {
  std::string number;  ///< the beginning of its key: eight hexadecimal digits
  std::string name;    ///< of the only host that may use it; empty: any
  WallTime made{};
  WallTime expires{};

  bool operator==(const InviteRow&) const = default;
};

/// What is recorded as it happens and written in groups. ----------------------------------------

struct GrantBegan {
  LeaseId lease;
  HostId host{};
  HostId home{};
  std::string user;
  WallTime at{};
};
struct GrantEnded {
  LeaseId lease;
  std::string how;  ///< "released", "expired", or why it was revoked
  WallTime at{};
};

enum class JobState : uint8_t { waiting, running, moving, suspended, done, lost };
std::string_view to_string(JobState state);

/// A job as it stands; recorded again whenever that changes. What is not known in a later report
/// keeps its earlier value. The same again changes nothing, and an end is final: whatever is
/// recorded of the job later is from before it. Only where it was lost an exit status still counts.
struct JobRow {
  std::string id;
  HostId home{};
  std::string user;
  uint32_t uid = 0;
  std::string command;  ///< for people: arguments joined and shortened
  JobState state = JobState::waiting;
  std::optional<HostId> host;      ///< where it is; none while it waits and after its end
  std::optional<int> exit_status;  ///< as waitpid(2) gives it, with done
  std::string text;                ///< what was lost and why, with lost
  WallTime submitted{};
  std::optional<WallTime> started;
  std::optional<WallTime> ended;

  bool operator==(const JobRow&) const = default;
};

/// One move of a job, done or failed, with its figures. The same again (of that job, at that time)
/// is recorded once.
struct MoveRow {
  std::string job;
  HostId from{};
  HostId to{};
  std::string reason;  ///< "owner returned", "asked", "reclaimed", ...
  bool moved = false;
  std::string text;             ///< why not
  Duration freeze{};            ///< frozen at the source until running at the target
  Duration push{};              ///< from the resume until the last page was in
  Duration clean{};             ///< from the owner's key until nothing was left on the source
  uint64_t pages_moved = 0;     ///< of 4 KiB
  uint64_t pages_demanded = 0;  ///< of these, by faults
  uint64_t image_bytes = 0;
  uint32_t threads = 0;
  uint32_t processes = 0;
  WallTime at{};

  bool operator==(const MoveRow&) const = default;
};

/// Of a home's jobs with names in (after, up_to], in the order of their bytes, `jobs` have not
/// ended. The others of that range are lost, for the reason `why`, unless their end is recorded
/// already.
struct LiveJobs {
  HostId home{};
  std::string after;
  std::string up_to;  ///< empty: without end
  std::set<std::string> jobs;
  std::string why;
  WallTime at{};
};

using Row = std::variant<GrantBegan, GrantEnded, JobRow, MoveRow, LiveJobs>;

/// The coordinator's lasting memory, in SQLite: who belongs to the cell, and what has happened in
/// it.
///
/// Registrations are on the disk (fsync) when the call returns. Everything else is recorded in
/// memory and written by commit(), which the daemon calls at most every 20 ms or so: a crash of the
/// machine loses the last of it, which is history, never who may join.
///
/// When the disk is full, commit() says so and keeps what it could not write, up to
/// `max_unwritten` rows; the next commit() tries again. Not thread-safe.
class Ledger {
 public:
  /// About 20 MB in memory; at 400 jobs a second, a minute without disk.
  static constexpr size_t max_unwritten = 100'000;

  /// Opens or creates the ledger, brings its tables up to this version, and notes that the
  /// coordinator has started. Errors: the file is damaged, not writable, or of a later version.
  static Result<Ledger> open(const std::string& path, WallTime now);

  /// The number of this start of the coordinator: see LeaseId.
  uint32_t epoch() const { return epoch_; }

  // Who belongs to the cell: durable when they return. ------------------------------------------

  /// An invitation: whoever proves to hold the key may register one host until `expires`, of that
  /// name unless it is empty. Error (EEXIST) if a host has it already.
  Result<void> invite(const std::string& public_key, const std::string& name, WallTime expires,
                      WallTime now);
  /// Whether that invitation was ever made. One that does not stand any more is known too, so that
  /// its holder can be told why.
  Result<bool> invited(const std::string& public_key);
  /// Those that stand, oldest first.
  Result<std::vector<InviteRow>> invitations(WallTime now);
  /// Takes back those that stand with that number or for a host of that name. How many that were.
  Result<int64_t> withdraw(const std::string& number_or_name, WallTime now);
  /// Registers a host (its `id` is not looked at) and uses up the invitation, if one is given.
  /// Errors: the invitation does not stand or is for another name (code EACCES), the name or the
  /// key is taken (EEXIST).
  Result<HostId> add_host(const HostRow& host, const std::optional<std::string>& invitation,
                          WallTime now);
  /// The host leaves the cell; its history stays. Error (ENOENT) if it is not registered.
  Result<void> remove_host(HostId host, WallTime now);
  /// A host's new address. Error (ENOENT) if it is not registered.
  Result<void> move_host(HostId host, const std::string& endpoint);
  /// All registered hosts, by name.
  Result<std::vector<HostRow>> hosts();

  // What happens. -------------------------------------------------------------------------------

  /// Takes a row to be written. Error: `max_unwritten` rows wait already; this one is not kept.
  Result<void> record(Row row);
  /// Writes what was recorded, in one transaction. On an Error all of it is still kept for another
  /// try. A row that contradicts the tables (its home was never registered) is logged and dropped.
  Result<void> commit();
  size_t unwritten() const { return unwritten_.size(); }

  // What has happened, as far as it is written. -------------------------------------------------

  Result<std::optional<JobRow>> job(const std::string& id);
  /// Jobs that have not ended, or with `all` the `limit` newest; newest first.
  Result<std::vector<JobRow>> jobs(bool all, size_t limit = 1000);
  /// The moves of a job, oldest first.
  Result<std::vector<MoveRow>> moves(const std::string& job);

 private:
  explicit Ledger(std::unique_ptr<sqlite::Database> database) : database_(std::move(database)) {}
  Result<void> begin_epoch(WallTime now);
  Result<void> check_invitation(const std::string& public_key, const std::string& name,
                                WallTime now);
  /// Runs `change` in a transaction that is on the disk when this returns.
  template <class Change>
  Result<void> durably(Change change);
  Result<void> write(const GrantBegan& row);
  Result<void> write(const GrantEnded& row);
  Result<void> write(const JobRow& row);
  Result<void> write(const MoveRow& row);
  Result<void> write(const LiveJobs& row);
  Result<std::vector<std::string>> not_ended_of(HostId home);

  std::unique_ptr<sqlite::Database> database_;
  uint32_t epoch_ = 0;
  std::deque<Row> unwritten_;
};

}  // namespace hob::coordinator
