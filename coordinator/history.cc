// coordinator/coordinator.h, the part that writes down what happened.
#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "coordinator/coordinator.h"
#include "wire/job_name.h"

namespace hob::coordinator {
namespace {

/// Rows wait at most this long for others to be written with them (ledger.h).
constexpr auto kCommitAfter = milliseconds(20);
constexpr auto kCommitAgain = seconds(1);

WallTime wall_time(uint64_t ns) {
  return WallTime(std::chrono::duration_cast<WallClock::duration>(
      nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, 1ull << 62)))));
}

JobState state_of(pb::JobReport::State state) {
  switch (state) {
    case pb::JobReport::RUNNING:
      return JobState::running;
    case pb::JobReport::MOVING:
      return JobState::moving;
    case pb::JobReport::SUSPENDED:
      return JobState::suspended;
    case pb::JobReport::DONE:
      return JobState::done;
    case pb::JobReport::LOST:
      return JobState::lost;
    default:
      return JobState::waiting;
  }
}

bool its_own(const std::string& home, const std::string& job) {
  if (wire::is_job_of(home, job)) return true;
  log::warning("host {} reported on a job that is not its own", home);
  return false;
}

}  // namespace

std::string Coordinator::shortened(const std::string& text) {
  return text.substr(0, 400);
}

void Coordinator::on_history(const std::string& peer, const pb::Envelope& envelope) {
  Host& host = hosts_[peer];
  if (host.must_repeat) return;
  host.must_repeat = !take_history(peer, envelope);
  if (host.must_repeat) return;
  host.told = std::max(host.told, envelope.request());
  arm_commit();  // also of what makes no row: it is to be answered
}

bool Coordinator::take_history(const std::string& peer, const pb::Envelope& envelope) {
  switch (envelope.body_case()) {
    case pb::Envelope::kJobReport:
      return on_job_report(peer, envelope.job_report());
    case pb::Envelope::kJobReports:
      return std::ranges::all_of(
          envelope.job_reports().reports(),
          [&](const pb::JobReport& report) { return on_job_report(peer, report); });
    case pb::Envelope::kMoveReport:
      return on_move_report(peer, envelope.move_report());
    default:
      return on_live_jobs(peer, envelope.live_jobs());
  }
}

bool Coordinator::on_job_report(const std::string& peer, const pb::JobReport& report) {
  if (!its_own(peer, report.job())) return true;
  JobRow row;
  row.id = report.job();
  row.home = hosts_[peer].id;
  row.user = shortened(report.user());
  row.uid = report.uid();
  row.command = shortened(report.command());
  row.state = state_of(report.state());
  if (const HostRow* host = registry_->find(report.host())) row.host = host->id;
  if (report.state() == pb::JobReport::DONE) row.exit_status = report.exit_status();
  row.text = shortened(report.text());
  const WallTime at = wall_time(report.wall_ns());
  row.submitted = at;
  if (report.state() == pb::JobReport::RUNNING) row.started = at;
  if (report.started_wall_ns() != 0)
    row.started = row.submitted = wall_time(report.started_wall_ns());
  if (report.state() == pb::JobReport::DONE || report.state() == pb::JobReport::LOST)
    row.ended = at;
  return record(std::move(row));
}

bool Coordinator::on_move_report(const std::string& peer, const pb::MoveReport& report) {
  if (!its_own(peer, report.job())) return true;
  const HostRow* from = registry_->find(report.from());
  const HostRow* to = registry_->find(report.to());
  if (from == nullptr || to == nullptr) return true;  // a host was removed meanwhile
  const pb::MoveFigures& figures = report.figures();
  const auto duration = [](uint64_t ns) {
    return nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, 1ull << 62)));
  };
  return record(MoveRow{report.job(), from->id, to->id, shortened(report.reason()), report.moved(),
                        shortened(report.text()), duration(figures.freeze_ns()),
                        duration(figures.push_ns()), duration(figures.clean_ns()),
                        figures.pages_moved(), figures.pages_demanded(), figures.image_bytes(),
                        figures.threads(), figures.processes(), wall_time(report.wall_ns())});
}

bool Coordinator::on_live_jobs(const std::string& peer, const pb::LiveJobs& live) {
  return record(LiveJobs{hosts_[peer].id,
                         live.after(),
                         live.up_to(),
                         {live.jobs().begin(), live.jobs().end()},
                         shortened(live.why()),
                         WallClock::now()});
}

// ---------------------------------------------------------------------------------- to the disk

bool Coordinator::record(Row row) {
  Result<void> kept = ledger_.record(std::move(row));
  if (!kept.ok()) log::error("{}", kept.error().text);
  arm_commit();
  return kept.ok();
}

void Coordinator::arm_commit() {
  if (!commit_timer_) commit_timer_ = loop_.after(kCommitAfter, [this] { commit(); });
}

void Coordinator::commit() {
  commit_timer_.reset();
  Result<void> written = write();
  if (!written.ok() && !ledger_in_trouble_) log::error("{}", written.error().text);
  if (written.ok() && ledger_in_trouble_) log::info("the ledger can be written again");
  ledger_in_trouble_ = !written.ok();
  if (ledger_in_trouble_) commit_timer_ = loop_.after(kCommitAgain, [this] { commit(); });
}

void Coordinator::flush() {
  if (Result<void> written = write(); !written.ok()) log::error("{}", written.error().text);
}

Result<void> Coordinator::write() {
  TRY(ledger_.commit());
  for (auto& [name, host] : hosts_) {
    answer_history(name, host);
    if (host.must_repeat) want_again(name, host);
  }
  return {};
}

/// One answer for all that came since the last.
void Coordinator::answer_history(const std::string& name, Host& host) {
  if (host.told == host.answered) return;
  host.answered = host.told;
  pb::Envelope envelope;
  envelope.set_answers(host.told);
  envelope.mutable_written();
  send(name, std::move(envelope));
}

/// It was told more than the ledger could keep, and now can: its Hello brings all of it.
void Coordinator::want_again(const std::string& name, Host& host) {
  send(name, wire::failure(pb::Failure::STALE, "the ledger takes reports again, after a Hello"));
  host.connection.clear();
}

}  // namespace hob::coordinator
