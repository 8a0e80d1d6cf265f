// hostd/exports.h, the part that hears from the hosts where jobs run.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/exports.h"
#include "wire/grant_token.h"

namespace hob::hostd {
namespace {

constexpr auto kSiteAnswer = seconds(4);
constexpr auto kSilence = seconds(12);
/// A person has pressed Ctrl-C and waits.
constexpr auto kSignalAnswer = seconds(2);

}  // namespace

bool Exports::on_message(const std::string& from, wire::Message& message,
                         const Post::Reply& reply) {
  pb::Envelope& envelope = message.envelope;
  const auto stale = [&] {
    reply(wire::failure(pb::Failure::STALE, "no such job at home"));
    return true;
  };
  // The answer to Start takes another connection than everything else its host says, which may be
  // quicker: a job that speaks or ends has started.
  const auto begun = [&](const std::string& job) {
    ExportPtr e = find(job);
    if (e && e->phase == Export::Phase::starting && from == e->starting_on) on_started(e, from);
    return e;
  };
  switch (envelope.body_case()) {
    case pb::Envelope::kData:
    case pb::Envelope::kAck: {
      ExportPtr e = begun(envelope.has_data() ? envelope.data().job() : envelope.ack().job());
      if (!e || !speaks_for(*e, from)) return false;
      if (from == e->record.site()) e->site_heard = Clock::now();
      if (envelope.has_data()) note_output(*e, envelope.data(), message.bulk.size());
      to_shadow(e, std::move(message));
      return true;
    }
    case pb::Envelope::kExited: {
      ExportPtr e = begun(envelope.exited().job());
      if (e && from == e->record.site()) {
        // Not answered while the shadow is away or output is missing: the starter will say it again.
        if (!e->shadow || !all_seen(*e, envelope.exited())) return true;
        on_exited(e, envelope.exited());
      }
      // Unknown: it was told to end, and now has. Either way its starter may go.
      reply(wire::done());
      return true;
    }
    case pb::Envelope::kEvictRequest: {
      const pb::EvictRequest& evict = envelope.evict_request();
      ExportPtr e = begun(evict.job());
      if (!e || from != e->record.site()) return stale();
      e->site_heard = Clock::now();
      if (e->phase == Export::Phase::running && !e->record.moving())
        begin_move(e, post_.own_name(), evict.reason(), nullptr);
      reply(wire::done());
      return true;
    }
    case pb::Envelope::kCommit: {
      ExportPtr e = find(envelope.commit().job());
      if (!e) return stale();
      on_commit(e, from, envelope.commit(), reply);
      return true;
    }
    case pb::Envelope::kSettle: {
      ExportPtr e = find(envelope.settle().job());
      pb::Envelope settled;
      settled.mutable_settled()->set_job(envelope.settle().job());
      // A job that has ended here cannot live there either.
      const bool source = e && (from == e->record.site() ||
                                (e->last_move && from == e->last_move->from));
      if (e && !source) return stale();
      settled.mutable_settled()->set_committed(!e || e->record.settle(envelope.settle().attempt()));
      if (e) save(e);
      reply(std::move(settled));
      return true;
    }
    case pb::Envelope::kArrived: {
      ExportPtr e = find(envelope.arrived().job());
      if (!e || from != e->record.site()) return false;
      e->site_heard = Clock::now();
      e->suspended.clear();
      ++e->moves;
      if (e->last_move) {
        e->last_move->arrived = true;
        if (auto on_end = std::exchange(e->last_move->on_end, nullptr)) on_end(wire::done());
      }
      send_held(e);
      pb::Envelope started;
      started.mutable_started()->set_job(e->job());
      started.mutable_started()->set_host(from);
      to_shadow(e, {std::move(started), {}});
      report(e, pb::JobReport::RUNNING);
      changed_();
      return true;
    }
    case pb::Envelope::kPagesIn: {
      ExportPtr e = find(envelope.pages_in().job());
      if (!e || from != e->record.site()) return false;
      if (!envelope.pages_in().error().empty()) {
        lose(e, fmt::format("its last pages did not reach {}: {}", from, envelope.pages_in().error()));
        return true;
      }
      if (e->last_move) {
        e->last_move->pages = envelope.pages_in().figures();
        note_move(e);
      }
      return true;
    }
    case pb::Envelope::kDeparted: {
      ExportPtr e = find(envelope.departed().job());
      if (e && (from == e->record.site() || (e->last_move && from == e->last_move->from)))
        on_departed(e, envelope.departed());
      return true;
    }
    case pb::Envelope::kSuspended: {
      ExportPtr e = begun(envelope.suspended().job());
      if (!e || from != e->record.site()) return false;
      e->suspended = envelope.suspended().reason();
      note(e, envelope.suspended().resumed()
                  ? fmt::format("goes on on {}", from)
                  : fmt::format("suspended on {}: {}", from, e->suspended));
      report(e, envelope.suspended().resumed() ? pb::JobReport::RUNNING : pb::JobReport::SUSPENDED);
      return true;
    }
    case pb::Envelope::kLost: {
      const pb::Lost& lost = envelope.lost();
      ExportPtr e = find(lost.job());
      if (!e) return true;
      if (lost.attempt() == 0) {
        if (from == e->record.site()) lose(e, lost.text());
      } else if (from == e->record.site() && e->record.state().committed() == lost.attempt()) {
        lose(e, lost.text());
      } else if (e->move && from == e->move->target && e->move->attempt == lost.attempt()) {
        give_up_move(e, lost.text());
      }
      return true;
    }
    case pb::Envelope::kWhereIs: {
      ExportPtr e = find(envelope.where_is().job());
      // Asked by this host itself: only the executing side knows, and it has answered if it could.
      const bool there = e && from != post_.own_name() && (e->phase != Export::Phase::running || e->record.site() == from ||
                               e->move != nullptr || e->last_move != nullptr);
      if (!there) return false;
      reply(wire::done());
      return true;
    }
    default: return false;
  }
}

void Exports::on_exited(const ExportPtr& e, const pb::Exited& exited) {
  pb::Envelope envelope;
  *envelope.mutable_exited() = exited;
  report(e, pb::JobReport::DONE, exited.status());
  to_shadow(e, {std::move(envelope), {}});
  forget(e);
}

/// Whether the job can get the signal that `request` brings (wire/hob.proto). One that moves gets
/// it when it has arrived.
void Exports::answer_signal(const ExportPtr& e, const pb::Envelope& request) {
  if (request.request() == 0 || !e->shadow) return;
  const auto answer = [weak = std::weak_ptr(e->shadow),
                       number = request.request()](pb::Envelope text) {
    pb::Envelope asked;
    asked.set_request(number);
    if (Shadow shadow = weak.lock()) shadow->answer(asked, std::move(text));
  };
  if (e->record.moving()) return answer(wire::done());
  const std::string site = e->record.site();
  if (!e->suspended.empty())
    return answer(wire::failure(pb::Failure::UNREACHABLE,
                                fmt::format("it is suspended on {} ({})", site, e->suspended)));
  const std::string silent = fmt::format("{}, where it runs, does not answer", site);
  if (e->site_silent) return answer(wire::failure(pb::Failure::UNREACHABLE, silent));
  pb::Envelope where;
  where.mutable_where_is()->set_job(e->job());
  post_.request(site, std::move(where), kSignalAnswer, [answer, silent](wire::Message said) {
    const pb::Envelope& envelope = said.envelope;
    // Any other failure comes from the host itself: the job has just ended.
    answer(envelope.has_failure() && envelope.failure().kind() == pb::Failure::UNREACHABLE
               ? wire::failure(pb::Failure::UNREACHABLE, silent)
               : wire::done());
  });
}

void Exports::look_for_sites() {
  for (const auto& [job, e] : std::map(exports_)) {
    if (e->phase != Export::Phase::running || e->record.moving()) continue;
    const std::string site = e->record.site();
    const Duration silence = Clock::now() - e->site_heard;
    if (silence > kSilence && !e->site_silent) {
      e->site_silent = true;
      note(e, fmt::format("{} has not answered for {} s; waiting for it", site,
                          std::chrono::duration_cast<seconds>(silence).count()));
    }
    if (silence > options_.home_lost_after) {
      lose(e, fmt::format("{}, where it ran, has been silent for {} s", site,
                          std::chrono::duration_cast<seconds>(silence).count()));
      continue;
    }
    pb::Envelope envelope;
    envelope.mutable_where_is()->set_job(job);
    post_.request(site, std::move(envelope), kSiteAnswer,
                  [this, weak = std::weak_ptr<Export>(e), site](wire::Message answer) {
                    ExportPtr x = weak.lock();
                    if (!x || x->record.site() != site || x->record.moving()) return;
                    if (!answer.envelope.has_failure()) {
                      x->site_heard = Clock::now();
                      x->denials = 0;
                      if (std::exchange(x->site_silent, false))
                        note(x, fmt::format("{} answers again", site));
                    } else if (answer.envelope.failure().kind() == pb::Failure::STALE &&
                               ++x->denials > 1) {
                      // The first time its last words may just have been on their way.
                      lose(x, fmt::format("{} does not have it any more; it has been restarted", site));
                    }
                  });
  }
}

void Exports::on_revoked(const pb::Revoked& revoked) {
  for (const auto& [job, e] : std::map(exports_)) {
    if (!e->grant || e->grant->lease() != revoked.lease()) continue;
    // The host itself asks us to take the job back when its owner returns; only a reclaim is ours to act.
    if (revoked.reclaim() && e->phase == Export::Phase::running && !e->record.moving())
      begin_move(e, post_.own_name(), revoked.reason(), nullptr);
    return;
  }
}

}  // namespace hob::hostd
