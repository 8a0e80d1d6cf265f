// hostd/exports.h, the part that hears from the hosts where jobs run.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hostd/exports.h"

namespace hob::hostd {
namespace {

constexpr auto kSiteAnswer = seconds(4);
constexpr auto kSilence = seconds(12);
/// A person has pressed Ctrl-C and waits.
constexpr auto kSignalAnswer = seconds(2);
/// A starter looks at a large tree in milliseconds; one that is on the move answers after it.
constexpr auto kCheckAnswer = seconds(8);
/// A host that is given up shall have killed its guest before.
constexpr auto kPatienceMargin = seconds(5);
/// A recipe of a build mostly ends by itself before that; then its slot goes without a move.
constexpr auto kReclaimPatience = seconds(2);

pb::Envelope no_such_job() {
  return wire::failure(pb::Failure::STALE, "no such job at home");
}

}  // namespace

bool Exports::on_message(const std::string& from, wire::Message& message,
                         const Post::Reply& reply) {
  const pb::Envelope& envelope = message.envelope;
  switch (envelope.body_case()) {
    case pb::Envelope::kData:
    case pb::Envelope::kAck:
      return on_stream(from, message);
    case pb::Envelope::kExited:
      return on_exited(from, envelope.exited(), reply), true;
    case pb::Envelope::kEvictRequest:
      return on_evict_request(from, envelope.evict_request(), reply), true;
    case pb::Envelope::kCommit:
      return on_commit(from, envelope.commit(), reply), true;
    case pb::Envelope::kSettle:
      return on_settle(from, envelope.settle(), reply), true;
    case pb::Envelope::kArrived:
      return on_arrived(from, envelope.arrived());
    case pb::Envelope::kPagesIn:
      return on_pages_in(from, envelope.pages_in());
    case pb::Envelope::kDeparted:
      return on_departed(from, envelope.departed()), true;
    case pb::Envelope::kSuspended:
      return on_suspended(from, envelope.suspended());
    case pb::Envelope::kObstacles:
      return on_obstacles(from, envelope.obstacles()), true;
    case pb::Envelope::kLost:
      return on_lost(from, envelope.lost()), true;
    case pb::Envelope::kWhereIs:
      return on_where_is(from, envelope.where_is(), reply);
    default:
      return false;
  }
}

Exports::ExportPtr Exports::begun(const std::string& job, const std::string& from) {
  ExportPtr e = find(job);
  if (e && e->phase == Export::Phase::starting && from == e->starting_on) {
    post_.forget(from, e->start_request);
    on_started(e, from);
  }
  return e;
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

void Exports::check(const std::string& job, bool table, std::function<void(pb::Envelope)> on_end) {
  ExportPtr e = find(job);
  const auto refuse = [&](std::string_view why) {
    on_end(wire::failure(pb::Failure::INTERNAL, fmt::format("check {}: {}", job, why)));
  };
  if (!e || e->phase != Export::Phase::running) return refuse("it does not run yet");
  if (e->record.moving()) return refuse("it is on the move; try again");
  pb::Envelope question;
  question.mutable_check()->set_job(job);
  question.mutable_check()->set_table(table);
  const std::string site = e->record.site();
  post_.request(site, std::move(question), kCheckAnswer,
                [on_end = std::move(on_end), job, site](wire::Message answer) {
                  pb::Envelope& said = answer.envelope;
                  if (said.has_failure() && said.failure().kind() == pb::Failure::UNREACHABLE)
                    said = wire::failure(
                        pb::Failure::UNREACHABLE,
                        fmt::format("check {}: {}, where it runs, does not answer", job, site));
                  on_end(std::move(said));
                });
}

// ---------------------------------------------------------------------------------- while it runs

bool Exports::speaks_for(const Export& e, const std::string& host) const {
  // During a move the old and the new site may both still have something to say.
  return host == e.record.site() || (e.last_move && host == e.last_move->from);
}

void Exports::note_output(Export& e, const pb::Data& data, size_t size) {
  uint64_t& seen = data.stream() == pb::STDERR ? e.stderr_seen : e.stdout_seen;
  if (data.offset() <= seen) seen = std::max(seen, data.offset() + size);
}

bool Exports::all_seen(const Export& e, const pb::Exited& exited) const {
  return e.stdout_seen >= exited.stdout_end() && e.stderr_seen >= exited.stderr_end();
}

bool Exports::on_stream(const std::string& from, wire::Message& message) {
  const pb::Envelope& envelope = message.envelope;
  ExportPtr e = begun(envelope.has_data() ? envelope.data().job() : envelope.ack().job(), from);
  if (!e || !speaks_for(*e, from)) return false;
  if (from == e->record.site()) e->site_heard = Clock::now();
  if (envelope.has_data()) note_output(*e, envelope.data(), message.bulk.size());
  to_shadow(e, std::move(message));
  return true;
}

void Exports::on_exited(const std::string& from, const pb::Exited& exited,
                        const Post::Reply& reply) {
  // Not answered while the shadow is away or output is missing: the starter will say it again.
  const auto may_end = [&](const Export& x) { return x.shadow && all_seen(x, exited); };
  ExportPtr e = find(exited.job());
  if (e && e->phase == Export::Phase::starting && from == e->starting_on && may_end(*e)) {
    // It was over before it was heard of. Nothing has to outlive this hostd.
    post_.forget(from, e->start_request);
    e->phase = Export::Phase::running;
    e->record.place(from, e->grant ? e->grant->lease() : 0);
    report(e, pb::JobReport::RUNNING);
    on_ended(e, exited);
    return reply(wire::done());
  }
  e = begun(exited.job(), from);
  if (e && from == e->record.site()) {
    if (!may_end(*e)) return;
    on_ended(e, exited);
  }
  // Unknown: it was told to end, and now has. Either way its starter may go.
  reply(wire::done());
}

void Exports::on_ended(const ExportPtr& e, const pb::Exited& exited) {
  pb::Envelope envelope;
  *envelope.mutable_exited() = exited;
  report(e, pb::JobReport::DONE, exited.status());
  to_shadow(e, {std::move(envelope), {}});
  forget(e);
}

bool Exports::on_suspended(const std::string& from, const pb::Suspended& suspended) {
  ExportPtr e = begun(suspended.job(), from);
  if (!e || from != e->record.site()) return false;
  e->suspended = suspended.reason();
  e->frozen = !suspended.resumed();
  note(e, suspended.resumed() ? fmt::format("goes on on {}", from)
                              : fmt::format("suspended on {}: {}", from, e->suspended));
  report(e, suspended.resumed() ? pb::JobReport::RUNNING : pb::JobReport::SUSPENDED);
  return true;
}

void Exports::on_obstacles(const std::string& from, const pb::Obstacles& obstacles) {
  ExportPtr e = find(obstacles.job());
  if (!e || from != e->record.site() || obstacles.text_size() == 0) return;
  const int more = obstacles.text_size() - 1;
  note(e,
       fmt::format("{}{}; when the owner of {} returns, the job waits there until he is away again",
                   obstacles.text(0), more > 0 ? fmt::format(", and {} more", more) : "", from));
}

void Exports::on_lost(const std::string& from, const pb::Lost& lost) {
  ExportPtr e = find(lost.job());
  if (!e) return;
  if (lost.attempt() == 0) {
    if (from == e->record.site()) lose(e, lost.text());
  } else if (from == e->record.site() && e->record.state().committed() == lost.attempt()) {
    lose(e, lost.text());
  } else if (e->move && from == e->move->target && e->move->attempt == lost.attempt()) {
    give_up_move(e, lost.text());
  }
}

bool Exports::on_where_is(const std::string& from, const pb::WhereIs& where_is,
                          const Post::Reply& reply) {
  // Asked by this host itself: only the executing side knows, and it has answered if it could.
  ExportPtr e = from == post_.own_name() ? nullptr : find(where_is.job());
  const bool there = e && (e->phase != Export::Phase::running || e->record.site() == from ||
                           e->move != nullptr || e->last_move != nullptr);
  if (there) reply(wire::done());
  return there;
}

// ---------------------------------------------------------------------------------- while it moves

void Exports::on_evict_request(const std::string& from, const pb::EvictRequest& evict,
                               const Post::Reply& reply) {
  ExportPtr e = begun(evict.job(), from);
  if (!e || from != e->record.site()) return reply(no_such_job());
  e->site_heard = Clock::now();
  e->frozen = evict.frozen();
  if (e->phase == Export::Phase::running && !e->record.moving()) {
    // Asked for too early it would be refused, and the next time the host asks is seconds away.
    if (may_move(*e))
      begin_move(e, post_.own_name(), evict.reason(), nullptr);
    else
      e->recall = evict.reason();
  }
  reply(wire::done());
}

void Exports::on_settle(const std::string& from, const pb::Settle& settle,
                        const Post::Reply& reply) {
  ExportPtr e = find(settle.job());
  // Only the live copy's host may decide what is open. What is known every source is told, however
  // late and whatever this hostd remembers of the move: one that gets no answer stays frozen, and
  // asks again.
  if (e && !e->record.settled(settle.attempt()) && from != e->record.site())
    return reply(no_such_job());
  pb::Envelope settled;
  settled.mutable_settled()->set_job(settle.job());
  // A job that has ended here cannot live there either.
  settled.mutable_settled()->set_committed(!e || e->record.settle(settle.attempt()));
  if (e) save(e);
  reply(std::move(settled));
}

bool Exports::on_arrived(const std::string& from, const pb::Arrived& arrived) {
  ExportPtr e = find(arrived.job());
  if (!e || from != e->record.site()) return false;
  e->site_heard = Clock::now();
  e->suspended.clear();
  e->frozen = false;
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

bool Exports::on_pages_in(const std::string& from, const pb::PagesIn& pages_in) {
  ExportPtr e = find(pages_in.job());
  if (!e || from != e->record.site()) return false;
  if (!pages_in.error().empty())
    return lose(e, fmt::format("its last pages did not reach {}: {}", from, pages_in.error())),
           true;
  if (e->last_move) {
    e->last_move->pages = pages_in.figures();
    note_move(e);
  }
  return true;
}

// ---------------------------------------------------------------------------------- upkeep

void Exports::look_for_sites() {
  for (const auto& [job, e] : std::map(exports_)) {
    if (e->phase != Export::Phase::running || e->record.moving()) continue;
    const std::string site = e->record.site();
    const Duration silence = Clock::now() - e->site_heard;
    const auto said = [&] {
      return fmt::format("{} s", std::chrono::duration_cast<seconds>(silence).count());
    };
    const Duration patience =
        nanoseconds(std::min<uint64_t>(e->record.state().run().patience_ns(), 1ull << 60));
    const bool impatient = patience > Duration::zero();
    if (silence > (impatient ? std::min<Duration>(kSilence, patience / 2) : kSilence) &&
        !e->site_silent) {
      e->site_silent = true;
      note(e, fmt::format("{} has not answered for {}; waiting for it", site, said()), true);
    }
    if (silence > (impatient ? patience + kPatienceMargin : options_.home_lost_after)) {
      lose(e, fmt::format("{}, where it ran, has been silent for {}", site, said()));
      continue;
    }
    look_for_site(e);
  }
}

void Exports::look_for_site(const ExportPtr& e) {
  const std::string site = e->record.site();
  pb::Envelope envelope;
  envelope.mutable_where_is()->set_job(e->job());
  post_.request(
      site, std::move(envelope), kSiteAnswer,
      [this, weak = std::weak_ptr<Export>(e), site](wire::Message answer) {
        ExportPtr x = weak.lock();
        if (!x || x->record.site() != site || x->record.moving()) return;
        if (!answer.envelope.has_failure()) {
          x->site_heard = Clock::now();
          x->denials = 0;
          if (std::exchange(x->site_silent, false))
            note(x, fmt::format("{} answers again", site), true);
        } else if (answer.envelope.failure().kind() == pb::Failure::STALE && ++x->denials > 1) {
          // The first time its last words may just have been on their way.
          lose(x, fmt::format("{} does not have it any more; it has been restarted", site));
        }
      });
}

void Exports::on_revoked(const pb::Revoked& revoked) {
  for (const auto& [job, e] : std::map(exports_)) {
    if (!e->grant || e->grant->lease() != revoked.lease()) continue;
    // The host itself asks us to take the job back when its owner returns; only a reclaim is ours
    // to act.
    if (!revoked.reclaim()) return;
    const auto leave = [this, weak = std::weak_ptr<Export>(e), lease = revoked.lease(),
                        reason = revoked.reason()] {
      ExportPtr x = weak.lock();
      if (x && x->grant && x->grant->lease() == lease && x->phase == Export::Phase::running &&
          !x->record.moving())
        begin_move(x, post_.own_name(), reason, nullptr);
    };
    if (e->holder == 0) return leave();
    e->reclaim_timer = loop_.after(kReclaimPatience, leave);
    return;
  }
}

}  // namespace hob::hostd
