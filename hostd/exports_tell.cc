// hostd/exports.h, the part that tells the ledger, the record on file, and people how jobs stand.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/exports.h"

namespace hob::hostd {
namespace {

/// How late the ledger may be about recipes of a build, and how many it is told of at once.
constexpr auto kReportsDelay = milliseconds(100);
constexpr size_t kMostReports = 128;

}  // namespace

std::string Exports::resolve(const std::string& name) const {
  for (const std::string& job : {name, post_.own_name() + "." + name})
    if (exports_.contains(job)) return job;
  return "";
}

uint32_t Exports::uid_of(const std::string& job) const {
  ExportPtr e = find(job);
  return e ? e->record.state().identity().uid() : 0;
}

std::vector<pb::JobStatus> Exports::list() const {
  std::vector<pb::JobStatus> jobs;
  for (const auto& [job, e] : exports_) {
    pb::JobStatus status;
    pb::JobReport* report = status.mutable_job();
    report->set_job(job);
    report->set_user(e->record.state().identity().user());
    report->set_uid(e->record.state().identity().uid());
    report->set_command(e->command);
    report->set_host(e->record.site());
    report->set_state(e->phase != Export::Phase::running ? pb::JobReport::WAITING
                      : e->record.moving()               ? pb::JobReport::MOVING
                      : !e->suspended.empty()            ? pb::JobReport::SUSPENDED
                      : e->stopped                       ? pb::JobReport::STOPPED
                                                         : pb::JobReport::RUNNING);
    status.set_home(post_.own_name());
    status.set_started_wall_ns(e->record.state().started_wall_ns());
    status.set_reason(!e->suspended.empty() ? e->suspended : e->waiting_reason);
    status.set_moves(e->moves);
    jobs.push_back(std::move(status));
  }
  return jobs;
}

bool Exports::any_abroad() const {
  return std::any_of(exports_.begin(), exports_.end(), [&](const auto& entry) {
    return entry.second->phase == Export::Phase::running &&
           entry.second->record.site() != post_.own_name();
  });
}

std::vector<std::string> Exports::live_jobs() {
  send_reports();
  std::vector<std::string> jobs;
  for (const auto& [job, e] : exports_) jobs.push_back(job);
  return jobs;
}

void Exports::save(const ExportPtr& e) {
  if (e->record.site().empty()) return;
  e->on_file = true;
  if (Result<void> saved = store_.save(e->record); !saved.ok())
    log::error("job {}: {}; it would not survive a restart of hostd", e->job(), saved.error().text);
}

void Exports::report(const ExportPtr& e, pb::JobReport::State state, int status,
                     const std::string& text) {
  pb::Envelope envelope;
  pb::JobReport* report = envelope.mutable_job_report();
  report->set_job(e->job());
  report->set_user(e->record.state().identity().user());
  report->set_uid(e->record.state().identity().uid());
  report->set_command(e->command);
  report->set_state(state);
  report->set_host(e->record.site());
  report->set_exit_status(status);
  report->set_lease(e->record.state().lease());
  report->set_wall_ns(wall_ns());
  report->set_text(text);
  if (e->holder == 0) return coordinator_->tell(std::move(envelope));
  // A build's recipes may come by the thousand.
  auto before = std::find_if(reports_.rbegin(), reports_.rend(),
                             [&](const pb::JobReport& r) { return r.job() == e->job(); });
  if (before != reports_.rend() && before->state() == pb::JobReport::RUNNING) {
    report->set_started_wall_ns(before->wall_ns());
    *before = std::move(*report);
  } else {
    reports_.push_back(std::move(*report));
  }
  if (reports_.size() >= kMostReports) send_reports();
  if (!reports_.empty() && !reports_timer_)
    reports_timer_ = loop_.after(kReportsDelay, [this] { send_reports(); });
  tell_holder(e, state);
}

void Exports::tell_holder(const ExportPtr& e, pb::JobReport::State state) {
  if (e->holder == 0 || state == pb::JobReport::DONE) return;  // of its end its shadow hears
  pb::HeldJob news;
  news.set_recipe(e->record.state().run().recipe());
  news.set_job(e->job());
  news.set_state(state);
  news.set_host(e->record.site());
  if (e->move) news.set_reason(e->move->reason);
  news.set_settled(state == pb::JobReport::RUNNING && may_move(*e));
  holdings_->tell(e->holder, std::move(news));
}

void Exports::send_reports() {
  reports_timer_.reset();
  if (reports_.empty()) return;
  pb::Envelope envelope;
  for (pb::JobReport& report : reports_)
    *envelope.mutable_job_reports()->add_reports() = std::move(report);
  reports_.clear();
  coordinator_->tell(std::move(envelope));
}

void Exports::report_move(const ExportPtr& e, const Move& move, bool moved,
                          const std::string& text) {
  send_reports();  // the ledger is to know the job before it hears of its move
  pb::Envelope envelope;
  pb::MoveReport* report = envelope.mutable_move_report();
  report->set_job(e->job());
  report->set_from(moved ? move.from : e->record.site());
  report->set_to(move.target);
  report->set_reason(move.reason);
  report->set_moved(moved);
  report->set_text(text);
  pb::MoveFigures* figures = report->mutable_figures();
  *figures = move.source;
  figures->set_push_ns(move.pages.push_ns());
  figures->set_pages_moved(std::max(move.pages.pages_moved(), move.source.pages_moved()));
  figures->set_pages_demanded(std::max(move.pages.pages_demanded(), move.source.pages_demanded()));
  report->set_wall_ns(wall_ns());
  coordinator_->tell(std::move(envelope));
}
}  // namespace hob::hostd
