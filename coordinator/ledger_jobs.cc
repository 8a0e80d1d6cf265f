#include "base/check.h"
#include "coordinator/ledger.h"
#include "coordinator/ledger_schema.h"

/// Jobs and their moves: what `remote ps --all` and `remote history JOB` show.
namespace hob::coordinator {
namespace {

constexpr std::string_view job_states[] = {"waiting",   "running", "moving",
                                           "suspended", "done",    "lost"};

#define JOB_COLUMNS \
  "id, home, user, uid, command, state, host, exit_status, text, submitted, started, ended"

HostId host_id(int64_t number) {
  return HostId{static_cast<uint32_t>(number)};
}

int64_t number(HostId id) {
  return static_cast<uint32_t>(id);
}
int64_t number(JobState state) {
  return static_cast<uint8_t>(state);
}

std::optional<int64_t> stored(const std::optional<WallTime>& time) {
  if (!time) return std::nullopt;
  return to_stored(*time);
}

Result<std::vector<JobRow>> read_jobs(sqlite::Query query) {
  std::vector<JobRow> rows;
  while (TRY(query.next())) {
    JobRow row;
    row.id = query.text(0);
    row.home = host_id(query.integer(1));
    row.user = query.text(2);
    row.uid = static_cast<uint32_t>(query.integer(3));
    row.command = query.text(4);
    const int64_t state = query.integer(5);
    if (state < 0 || state >= static_cast<int64_t>(std::size(job_states))) {
      return Error{"ledger: job " + row.id + " has an unknown state; update hob-coordinator"};
    }
    row.state = static_cast<JobState>(state);
    if (const auto host = query.maybe_integer(6)) row.host = host_id(*host);
    if (const auto status = query.maybe_integer(7)) row.exit_status = static_cast<int>(*status);
    row.text = query.text(8);
    row.submitted = from_stored(query.integer(9));
    if (const auto time = query.maybe_integer(10)) row.started = from_stored(*time);
    if (const auto time = query.maybe_integer(11)) row.ended = from_stored(*time);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::string_view to_string(JobState state) {
  return job_states[static_cast<uint8_t>(state)];
}

Result<void> Ledger::write(const JobRow& row) {
  auto upsert =
      TRY(database_->prepare(
          "INSERT INTO jobs (" JOB_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
          "ON CONFLICT (id) DO UPDATE SET state = excluded.state, host = excluded.host, "
          "exit_status = coalesce(excluded.exit_status, exit_status), "
          "text = iif(excluded.text = '' AND ended IS NULL, text, excluded.text), "
          "submitted = min(submitted, excluded.submitted), "
          "started = coalesce(started, excluded.started), ended = excluded.ended "
          "WHERE ended IS NULL OR (state = ?13 AND excluded.state = ?14)"));
  std::optional<int64_t> host, status;
  if (row.host) host = number(*row.host);
  if (row.exit_status) status = *row.exit_status;
  upsert.bind(row.id).bind(number(row.home)).bind(row.user);
  upsert.bind(int64_t{row.uid}).bind(row.command).bind(number(row.state));
  upsert.bind(host).bind(status).bind(row.text).bind(to_stored(row.submitted));
  upsert.bind(stored(row.started)).bind(stored(row.ended));
  return upsert.bind(number(JobState::lost)).bind(number(JobState::done)).run();
}

Result<std::vector<std::string>> Ledger::not_ended_of(HostId home) {
  // By the index of the few that have not ended, never through all of history.
  auto query = TRY(database_->prepare(
      "SELECT id FROM jobs INDEXED BY jobs_alive WHERE ended IS NULL AND home = ?"));
  query.bind(number(home));
  std::vector<std::string> jobs;
  while (TRY(query.next())) jobs.push_back(query.text(0));
  return jobs;
}

Result<void> Ledger::write(const LiveJobs& row) {
  for (const std::string& job : TRY(not_ended_of(row.home))) {
    const bool in_range = job > row.after && (row.up_to.empty() || job <= row.up_to);
    if (!in_range || row.jobs.contains(job)) continue;
    auto update =
        TRY(database_->prepare("UPDATE jobs SET state = ?, text = ?, ended = ? WHERE id = ?"));
    update.bind(number(JobState::lost)).bind(row.why).bind(to_stored(row.at)).bind(job);
    TRY(update.run());
  }
  return {};
}

Result<std::optional<JobRow>> Ledger::job(const std::string& id) {
  auto query = TRY(database_->prepare("SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?"));
  query.bind(id);
  auto rows = TRY(read_jobs(std::move(query)));
  if (rows.empty()) return std::optional<JobRow>();
  return std::optional<JobRow>(std::move(rows.front()));
}

Result<std::vector<JobRow>> Ledger::jobs(bool all, size_t limit) {
  auto query = TRY(
      database_->prepare(all ? "SELECT " JOB_COLUMNS " FROM jobs ORDER BY submitted DESC LIMIT ?"
                             : "SELECT " JOB_COLUMNS
                               " FROM jobs WHERE ended IS NULL ORDER BY submitted DESC LIMIT ?"));
  query.bind(static_cast<int64_t>(limit));
  return read_jobs(std::move(query));
}

Result<std::vector<MoveRow>> Ledger::moves(const std::string& job) {
  auto query = TRY(database_->prepare(
      "SELECT job, from_host, to_host, reason, moved, text, freeze_ns, push_ns, clean_ns, "
      "pages_moved, pages_demanded, image_bytes, threads, processes, at FROM moves "
      "WHERE job = ? ORDER BY at, id"));
  query.bind(job);
  std::vector<MoveRow> rows;
  while (TRY(query.next())) {
    MoveRow row;
    row.job = query.text(0);
    row.from = host_id(query.integer(1));
    row.to = host_id(query.integer(2));
    row.reason = query.text(3);
    row.moved = query.integer(4) != 0;
    row.text = query.text(5);
    row.freeze = nanoseconds(query.integer(6));
    row.push = nanoseconds(query.integer(7));
    row.clean = nanoseconds(query.integer(8));
    row.pages_moved = static_cast<uint64_t>(query.integer(9));
    row.pages_demanded = static_cast<uint64_t>(query.integer(10));
    row.image_bytes = static_cast<uint64_t>(query.integer(11));
    row.threads = static_cast<uint32_t>(query.integer(12));
    row.processes = static_cast<uint32_t>(query.integer(13));
    row.at = from_stored(query.integer(14));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace hob::coordinator
