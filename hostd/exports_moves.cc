// hostd/exports.h, the part that orchestrates moves.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/exports.h"
#include "migrate/strategy.h"
#include "wire/grant_token.h"

namespace hob::hostd {
namespace {

/// A host may take that long to make ready for a job.
constexpr auto kReadyLimit = seconds(10);
/// From Depart until the target asks to commit: the image of the largest job over a slow link.
constexpr auto kMoveLimit = seconds(120);
constexpr auto kDepartAgain = seconds(2);

double ms(uint64_t ns) {
  return static_cast<double>(ns) / 1e6;
}

}  // namespace

void Exports::migrate(const std::string& job, const std::string& host, const std::string& memory,
                      std::function<void(pb::Envelope)> on_end) {
  ExportPtr e = find(job);
  const std::string target = host.empty() ? post_.own_name() : host;
  const auto refuse = [&](const std::string& text) {
    on_end(wire::failure(pb::Failure::USAGE, text));
  };
  if (!e || e->phase != Export::Phase::running)
    return refuse(fmt::format("job {} does not run", job));
  if (e->record.moving()) return refuse(fmt::format("job {} is on the move already", job));
  if (e->record.site() == target)
    return refuse(fmt::format("job {} is on {} already", job, target));
  if (!memory.empty() && !migrate::strategy_named(memory))
    return refuse(
        fmt::format("no memory strategy '{}'; there are {}", memory, strategies_for_people()));
  if (target == post_.own_name())
    return begin_move(e, target, "asked for", std::move(on_end), {}, memory);
  pb::Select select;
  select.set_user(e->record.state().identity().user());
  select.set_host(target);
  select.set_no_wait(true);
  auto shared = std::make_shared<std::function<void(pb::Envelope)>>(std::move(on_end));
  coordinator_->select(
      std::move(select),
      {[this, weak = std::weak_ptr<Export>(e), target, shared, memory](Grant grant) {
         ExportPtr x = weak.lock();
         if (x && x->phase == Export::Phase::running && !x->record.moving())
           return begin_move(x, target, "asked for", std::move(*shared), std::move(grant), memory);
         (*shared)(wire::failure(pb::Failure::NOT_FOUND, "the job has ended meanwhile"));
       },
       [](const std::string&) {},
       [shared](const pb::Failure& failure) {
         (*shared)(wire::failure(failure.kind(), failure.text()));
       }});
}

void Exports::migrate_to_slot(const std::string& job, uint64_t lease,
                              std::function<void(pb::Envelope)> on_end) {
  ExportPtr e = find(job);
  const auto refuse = [&](const std::string& text) {
    on_end(wire::failure(pb::Failure::USAGE, text));
  };
  if (!e || e->phase != Export::Phase::running || e->record.moving() || !may_move(*e))
    return refuse(fmt::format("job {} does not run, or is on the move", job));
  std::optional<Grant> slot = holdings_->lend(lease, e->record.state().identity().uid());
  if (!slot) return on_end(wire::failure(pb::Failure::STALE, "that slot is held no longer"));
  const std::string target = (*slot)->host().name();
  if (target == e->record.site())
    return refuse(fmt::format("job {} is on {} already", job, target));
  begin_move(e, target, "a host is idle again", std::move(on_end), std::move(*slot));
}

void Exports::begin_move(const ExportPtr& e, const std::string& target, const std::string& reason,
                         std::function<void(pb::Envelope)> on_end, Grant grant,
                         const std::string& memory) {
  e->move = std::make_unique<Move>();
  e->move->attempt = e->record.begin(target);
  e->move->from = e->record.site();
  e->move->target = target;
  e->move->reason = reason;
  const std::string& of_job = e->record.state().run().memory();
  e->move->memory = !memory.empty() ? memory : !of_job.empty() ? of_job : options_.memory;
  e->move->grant = std::move(grant);
  e->move->on_end = std::move(on_end);
  e->recall.clear();
  save(e);
  report(e, pb::JobReport::MOVING);
  log::info("job {}: from {} to {} ({})", e->job(), e->record.site(), target, reason);

  const std::string key = wire::random_bytes(32);
  pb::Envelope envelope;
  pb::Receive* receive = envelope.mutable_receive();
  receive->set_job(e->job());
  receive->set_attempt(e->move->attempt);
  receive->set_key(key);
  receive->set_home(post_.own_name());
  *receive->mutable_identity() = e->record.state().identity();
  *receive->mutable_program() = e->record.state().run().program();
  receive->mutable_program()->clear_environment();  // it is in the guest's memory
  *receive->mutable_clocks() = clocks_now();
  const uint64_t ahead = e->record.state().clock_ahead_ns();
  receive->mutable_clocks()->set_monotonic_ns(receive->clocks().monotonic_ns() + ahead);
  receive->mutable_clocks()->set_boottime_ns(receive->clocks().boottime_ns() + ahead);
  receive->set_keep(e->record.state().run().keep());
  receive->set_patience_ns(e->record.state().run().patience_ns());
  if (e->move->grant) {
    receive->set_lease(e->move->grant->lease());
    receive->set_token(e->move->grant->token());
    receive->set_expires_wall_ns(e->move->grant->expires_wall_ns());
  }
  post_.request(target, std::move(envelope), kReadyLimit,
                [this, weak = std::weak_ptr<Export>(e), attempt = e->move->attempt,
                 key](wire::Message answer) {
                  if (ExportPtr x = weak.lock()) on_listening(x, attempt, answer.envelope, key);
                });
}

void Exports::on_listening(const ExportPtr& e, uint64_t attempt, const pb::Envelope& answer,
                           const std::string& key) {
  if (!e->move || e->move->attempt != attempt) return;  // given up meanwhile; the target was told
  if (!answer.has_listening()) return give_up_move(e, answer.failure().text());
  pb::Envelope envelope;
  pb::Depart* depart = envelope.mutable_depart();
  depart->set_job(e->job());
  depart->set_attempt(attempt);
  depart->set_address(answer.listening().address());
  depart->set_port(answer.listening().port());
  depart->set_key(key);
  depart->set_home(e->move->target == post_.own_name());
  depart->set_memory(e->move->memory);
  post_.send(e->record.site(), envelope);
  // A connection that breaks takes messages with it. Who is leaving already does not mind being
  // told again.
  e->move->repeat = loop_.every(kDepartAgain, [this, weak = std::weak_ptr<Export>(e), envelope] {
    if (ExportPtr x = weak.lock(); x && x->move) post_.send(x->record.site(), envelope);
  });
  // Where all pages travel before the commit it takes as long as they are many; links that break
  // are noticed by their ends.
  if (const auto strategy = migrate::strategy_named(e->move->memory);
      strategy && migrate::plan_of(*strategy).before_commit)
    return;
  e->move->limit = loop_.after(kMoveLimit, [this, weak = std::weak_ptr<Export>(e)] {
    ExportPtr x = weak.lock();
    if (x && x->move) give_up_move(x, fmt::format("not finished within {} s", kMoveLimit.count()));
  });
}

void Exports::on_commit(const std::string& from, const pb::Commit& commit,
                        const Post::Reply& reply) {
  ExportPtr e = find(commit.job());
  if (!e) return reply(wire::failure(pb::Failure::STALE, "no such job at home"));
  const bool first = e->record.moving();
  const uint64_t lease = e->move && e->move->grant ? e->move->grant->lease() : 0;
  Record next = e->record;
  if (!next.commit(commit.attempt(), from, lease))
    return reply(wire::failure(pb::Failure::STALE, "this attempt was given up"));
  if (first) {
    // On file before it counts: a hostd that is restarted now must not think otherwise.
    if (Result<void> saved = store_.save(next); !saved.ok()) {
      reply(wire::failure(pb::Failure::STALE, saved.error().text));
      return give_up_move(e, saved.error().text);
    }
    e->record = std::move(next);
    if (e->last_move) close_move(e, "the job has moved on");
    e->last_move = std::move(e->move);
    e->last_move->repeat.reset();
    e->last_move->limit.reset();
    if (e->last_move->memory == name_of(migrate::Strategy::demand)) return reply(wire::done());
    // The old site's slot is free when the old site is clean (note_move), or is given up.
    std::swap(e->grant, e->last_move->grant);
    e->last_move->limit =
        loop_.after(options_.home_lost_after, [this, weak = std::weak_ptr<Export>(e)] {
          ExportPtr x = weak.lock();
          if (x && x->last_move)
            close_move(x, fmt::format("not heard of within {:.0f} s",
                                      to_seconds(options_.home_lost_after)));
        });
  }
  reply(wire::done());
}

void Exports::on_departed(const std::string& from, const pb::Departed& departed) {
  ExportPtr e = find(departed.job());
  if (!e || !speaks_for(*e, from)) return;
  if (e->saving && e->saving->number == departed.attempt()) return on_copied(e, departed);
  if (e->last_move && e->last_move->attempt == departed.attempt()) {
    e->last_move->departed = true;
    e->last_move->source = departed.figures();
    return note_move(e);
  }
  if (!e->move || e->move->attempt != departed.attempt()) return;
  std::string why = departed.text();
  if (departed.obstacles_size() > 0) {
    why = departed.obstacles(0);
    // It stays where it is, and waits if that is no place to run.
    if (e->frozen) e->suspended = why;
  }
  give_up_move(e, why);
}

void Exports::give_up_move(const ExportPtr& e, const std::string& why) {
  std::unique_ptr<Move> move = std::move(e->move);
  e->record.abandon(move->attempt);
  e->site_heard = Clock::now();  // nobody has asked the site while it was to leave it
  save(e);
  pb::Envelope envelope;
  envelope.mutable_abandon()->set_job(e->job());
  envelope.mutable_abandon()->set_attempt(move->attempt);
  post_.send(move->target, std::move(envelope));
  log::warning("job {}: not moved from {} to {}: {}", e->job(), e->record.site(), move->target,
               why);
  if (std::exchange(e->trouble, why) != why)
    note(e,
         fmt::format("could not be moved from {} to {}: {}{}", e->record.site(), move->target, why,
                     e->suspended.empty()
                         ? ""
                         : "; it waits there, suspended, until the owner is away again"));
  report_move(e, *move, false, why);
  send_held(e);
  report(e, e->suspended.empty() ? pb::JobReport::RUNNING : pb::JobReport::SUSPENDED);
  if (move->on_end)
    move->on_end(wire::failure(pb::Failure::INTERNAL,
                               fmt::format("job {} was not moved: {}", e->job(), why)));
}

bool Exports::Move::pages_in() const {
  return pages.push_ns() != 0 || pages.pages_moved() != 0;
}

bool Exports::may_move(const Export& e) const {
  if (!e.last_move) return true;
  return e.last_move->pages_in() &&
         (e.last_move->departed || e.last_move->from != post_.own_name());
}

void Exports::recall(const ExportPtr& e) {
  if (e->recall.empty()) return;
  if (!may_move(*e)) {
    // Pages that nobody has touched would hold it there for ever.
    pb::Envelope envelope;
    envelope.mutable_hurry()->set_job(e->job());
    return post_.send(e->record.site(), std::move(envelope));
  }
  const std::string reason = std::exchange(e->recall, {});
  if (e->phase == Export::Phase::running && !e->record.moving() &&
      e->record.site() != post_.own_name())
    begin_move(e, post_.own_name(), reason, nullptr);
}

void Exports::note_move(const ExportPtr& e) {
  Move& move = *e->last_move;
  if (may_move(*e) && e->phase == Export::Phase::running && !e->record.moving() &&
      e->suspended.empty())
    tell_holder(e, pb::JobReport::RUNNING);
  if (!move.departed || !move.pages_in()) return recall(e);
  const pb::MoveFigures& source = move.source;
  const pb::MoveFigures& pages = move.pages;
  note(e,
       fmt::format("moved from {} to {} ({}): frozen {:.1f} ms; {} pages, {} of them on demand; {} "
                   "clean after {:.0f} ms",
                   move.from, move.target, move.reason, ms(source.freeze_ns()), pages.pages_moved(),
                   pages.pages_demanded(), move.from, ms(source.clean_ns())));
  report_move(e, move, true, "");
  e->last_move.reset();  // and with it the grant of the old site
  recall(e);
}

void Exports::close_move(const ExportPtr& e, const std::string& why) {
  const std::unique_ptr<Move> move = std::move(e->last_move);
  const std::string missing = !move->departed
                                  ? fmt::format("that {} is clean", move->from)
                                  : fmt::format("that all pages are on {}", move->target);
  log::warning("job {}: moved from {} to {}, but {}: {}; its grant on {} is given back", e->job(),
               move->from, move->target, missing, why, move->from);
  report_move(e, *move, true, fmt::format("{}: {}", missing, why));
  if (move->on_end)
    move->on_end(
        wire::failure(pb::Failure::INTERNAL,
                      fmt::format("job {} was moved to {}, but has not said that it runs there",
                                  e->job(), move->target)));
}

}  // namespace hob::hostd
