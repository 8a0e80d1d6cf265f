// hostd/exports.h, the part that finds a host for a job and starts it there.
#include <fmt/core.h>

#include <utility>

#include "hostd/convert.h"
#include "hostd/exports.h"

namespace hob::hostd {
namespace {

/// A host may take that long to begin a job.
constexpr auto kStartLimit = seconds(10);
/// Grants can turn out to be stale (the owner came back in between); then another one is asked for.
constexpr unsigned kMostTries = 20;

}  // namespace

void Exports::look_for_host(const ExportPtr& e) {
  const pb::Run& run = e->record.state().run();
  pb::Select select;
  select.set_user(e->record.state().identity().user());
  select.set_host(run.host());
  select.add_exclude(post_.own_name());
  if (run.host().empty())
    for (const std::string& host : e->refused_by) select.add_exclude(host);
  select.set_no_wait(run.no_wait() && !run.or_local());
  std::weak_ptr<Export> weak = e;
  e->phase = Export::Phase::waiting;
  e->select = coordinator_->select(std::move(select),
                                   {[this, weak](Grant grant) {
                                      if (ExportPtr x = weak.lock())
                                        on_granted(x, std::move(grant));
                                    },
                                    [this, weak](const std::string& reason) {
                                      ExportPtr x = weak.lock();
                                      if (!x || x->phase != Export::Phase::waiting) return;
                                      if (x->record.state().run().or_local()) {
                                        coordinator_->withdraw(x->select);
                                        note(x, fmt::format("{}; running at home", reason));
                                        return start_on(x, post_.own_name());
                                      }
                                      if (x->waiting_reason.empty())
                                        report(x, pb::JobReport::WAITING);
                                      x->waiting_reason = reason;
                                      pb::Envelope envelope;
                                      envelope.mutable_waiting()->set_job(x->job());
                                      envelope.mutable_waiting()->set_reason(reason);
                                      to_shadow(x, {std::move(envelope), {}});
                                    },
                                    [this, weak](const pb::Failure& failure) {
                                      if (ExportPtr x = weak.lock())
                                        fail(x, failure.kind(), failure.text());
                                    }});
}

void Exports::on_granted(const ExportPtr& e, Grant grant) {
  const std::string host = grant->host().name();
  e->grant = std::move(grant);
  start_on(e, host);
}

void Exports::start_on(const ExportPtr& e, const std::string& host) {
  e->phase = Export::Phase::starting;
  e->starting_on = host;
  e->waiting_reason.clear();
  pb::Envelope envelope;
  pb::Start* start = envelope.mutable_start();
  start->set_job(e->job());
  start->set_home(post_.own_name());
  *start->mutable_program() = e->record.state().run().program();
  *start->mutable_identity() = e->record.state().identity();
  *start->mutable_clocks() = clocks_now();
  start->set_keep(e->record.state().run().keep());
  start->set_patience_ns(e->record.state().run().patience_ns());
  start->set_checkpoint(e->record.state().run().checkpoint());
  if (e->saved_wall) {
    start->set_checkpoint(own_checkpoint(*e));
    start->set_again(true);
  }
  if (e->grant) {
    start->set_lease(e->grant->lease());
    start->set_token(e->grant->token());
    start->set_expires_wall_ns(e->grant->expires_wall_ns());
    start->set_cpu_features(e->grant->cpu_features());
  }
  e->start_request =
      post_.request(host, std::move(envelope), kStartLimit,
                    [this, weak = std::weak_ptr<Export>(e), host](wire::Message answer) {
                      if (ExportPtr x = weak.lock()) {
                        on_start_answer(x, host, answer.envelope);
                      } else if (answer.envelope.has_started()) {
                        // Its shadow has gone meanwhile.
                        pb::Envelope kill;
                        kill.mutable_kill()->set_job(answer.envelope.started().job());
                        post_.send(host, std::move(kill));
                      }
                    });
}

void Exports::on_started(const ExportPtr& e, const std::string& host) {
  if (e->phase != Export::Phase::starting) return;
  e->phase = Export::Phase::running;
  e->site_heard = Clock::now();
  e->record.place(host, e->grant ? e->grant->lease() : 0);
  e->record.started(wall_ns());
  save(e);
  save_now_and_then(e);
  report(e, pb::JobReport::RUNNING);
  changed_();
  pb::Envelope envelope;
  envelope.mutable_started()->set_job(e->job());
  envelope.mutable_started()->set_host(host);
  to_shadow(e, {std::move(envelope), {}});
}

void Exports::on_start_answer(const ExportPtr& e, const std::string& host,
                              const pb::Envelope& answer) {
  if (answer.has_started()) {
    e->record.run_ahead(answer.started().clock_ahead_ns());
    return on_started(e, host);
  }
  if (e->phase != Export::Phase::starting) return;  // it has spoken for itself meanwhile
  const pb::Failure& failure = answer.failure();
  e->grant.reset();
  switch (failure.kind()) {
    case pb::Failure::STALE:
      return not_honoured(e, host, failure);
    case pb::Failure::UNREACHABLE: {
      pb::Envelope kill;
      kill.mutable_kill()->set_job(e->job());
      post_.send(host, std::move(kill));
      return fail(
          e, pb::Failure::LOST,
          fmt::format("{} did not answer the start of the job within {} s; it may have begun "
                      "there, and was told to stop",
                      host, kStartLimit.count()));
    }
    default:
      return fail(e, failure.kind(), failure.text());
  }
}

/// Its owner came back, or another job was quicker.
void Exports::not_honoured(const ExportPtr& e, const std::string& host,
                           const pb::Failure& failure) {
  if (e->holder != 0) {
    // Whoever chose the slot chooses another.
    holdings_->refused(e->record.state().run().lease());
    to_shadow(e, {failed(e, failure.kind(), failure.text()), {}});
    return forget(e);
  }
  e->refused_by.push_back(host);
  if (++e->tries < kMostTries) return look_for_host(e);
  fail(e, pb::Failure::NO_HOST, failure.text());
}

}  // namespace hob::hostd
