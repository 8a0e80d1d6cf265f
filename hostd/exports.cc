#include "hostd/exports.h"

#include <fmt/core.h>

#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/users.h"
#include "migrate/strategy.h"

namespace hob::hostd {
namespace {

constexpr auto kShadowGrace = seconds(30);
constexpr auto kLookForSites = seconds(5);

pb::Identity identity_of(const wire::PeerIdentity& who) {
  pb::Identity identity;
  identity.set_uid(who.uid);
  identity.set_gid(who.gid);
  for (gid_t group : who.groups) identity.add_groups(group);
  identity.set_user(user_name(who.uid));
  return identity;
}

}  // namespace

Exports::Exports(EventLoop& loop, Post& post, RecordStore store, JobNumbers numbers,
                 Options options, std::function<void()> changed)
    : loop_(loop),
      post_(post),
      store_(std::move(store)),
      numbers_(std::move(numbers)),
      options_(std::move(options)),
      changed_(std::move(changed)) {
  site_timer_ = loop_.every(kLookForSites, [this] { look_for_sites(); });
}

Exports::~Exports() = default;

Exports::ExportPtr Exports::find(const std::string& job) const {
  auto it = exports_.find(job);
  return it == exports_.end() ? nullptr : it->second;
}

std::string Exports::new_job_id() {
  return fmt::format("{}.{}", post_.own_name(), numbers_.next());
}

void Exports::recover() {
  for (Record& record : store_.load()) {
    pb::ExportRecord state = record.state();
    auto e = std::make_shared<Export>(state);
    e->record.abandon(state.attempt());
    e->phase = Export::Phase::running;
    e->on_file = true;
    // A checkpoint of an earlier hostd may be old: the next one counts.
    save_now_and_then(e);
    e->command = command_line(state.run().program());
    e->site_heard = Clock::now();
    e->grant = coordinator_->adopt(state.lease(), state.site(), state.identity().user());
    e->shadow_limit = loop_.after(kShadowGrace, [this, weak = std::weak_ptr<Export>(e)] {
      ExportPtr late = weak.lock();
      if (!late || late->shadow) return;
      log::info("job {}: its shadow did not come back; killed", late->job());
      end_everywhere(late);
    });
    log::info("job {} on {}: taken over from an earlier hostd", e->job(), e->record.site());
    exports_[e->job()] = std::move(e);
  }
}

// ---------------------------------------------------------------------------------- shadows

void Exports::on_run(const Shadow& shadow, const wire::PeerIdentity& who,
                     const pb::Envelope& request) {
  const pb::Run& run = request.run();
  const auto refuse = [&](pb::Failure::Kind kind, const std::string& text) {
    shadow->answer(request, wire::failure(kind, text));
  };
  if (run.program().arguments_size() == 0) return refuse(pb::Failure::USAGE, "run: no command");
  if (who.uid == 0 || who.gid == 0)
    return refuse(pb::Failure::NOT_PERMITTED,
                  "run: jobs of root are not taken; run as an ordinary user");
  const bool local = run.local() || run.host() == post_.own_name() || !run.checkpoint().empty();
  if (!run.memory().empty() && !migrate::strategy_named(run.memory()))
    return refuse(pb::Failure::USAGE, "run: no such memory strategy");
  if (!local && who.uid < options_.min_uid)
    return refuse(
        pb::Failure::NOT_PERMITTED,
        fmt::format("run: jobs of user id {} do not leave home (owner.min_uid is {}); use "
                    "--local, or run as an ordinary user",
                    who.uid, options_.min_uid));
  if (!local && !options_.may_export)
    return refuse(pb::Failure::NOT_PERMITTED,
                  "run: this host sends no jobs away (owner.export); use --local");
  if (by_shadow_.contains(shadow.get()) && run.lease() == 0)
    return refuse(pb::Failure::USAGE, "run: one job a shadow, but on held slots");
  std::optional<Grant> slot;
  if (run.lease() != 0 && !(slot = holdings_->lend(run.lease(), who.uid)))
    return refuse(pb::Failure::STALE, "run: that slot is held no longer");

  pb::ExportRecord state;
  state.set_job(new_job_id());
  *state.mutable_identity() = identity_of(who);
  *state.mutable_run() = run;
  auto e = std::make_shared<Export>(std::move(state));
  e->shadow = shadow;
  e->command = command_line(run.program());
  exports_[e->job()] = e;
  by_shadow_[shadow.get()].insert(e->job());

  pb::Envelope accepted;
  accepted.mutable_accepted()->set_job(e->job());
  shadow->answer(request, std::move(accepted));
  if (local) return start_on(e, post_.own_name());
  if (!slot) return look_for_host(e);
  e->holder = holdings_->holder(run.lease());
  on_granted(e, std::move(*slot));
}

void Exports::on_attach(const Shadow& shadow, const wire::PeerIdentity& who,
                        const pb::Envelope& request) {
  ExportPtr e = find(request.attach().job());
  if (!e || e->record.state().identity().uid() != who.uid)
    return shadow->answer(request, wire::failure(pb::Failure::NOT_FOUND,
                                                 fmt::format("no job {} of yours runs any more",
                                                             request.attach().job())));
  leave_shadow(*e);
  e->shadow = shadow;
  e->shadow_limit.reset();
  by_shadow_[shadow.get()].insert(e->job());
  pb::Envelope accepted;
  accepted.mutable_accepted()->set_job(e->job());
  shadow->answer(request, std::move(accepted));
  if (e->record.site().empty()) return;
  pb::Envelope started;
  started.mutable_started()->set_job(e->job());
  started.mutable_started()->set_host(e->record.site());
  to_shadow(e, {std::move(started), {}});
  pb::Envelope attach;
  *attach.mutable_attach() = request.attach();
  e->stdout_seen = request.attach().stdout_offset();
  e->stderr_seen = request.attach().stderr_offset();
  post_.send(e->record.site(), std::move(attach));
}

Exports::ExportPtr Exports::of_shadow(const wire::StreamChannel* shadow,
                                      const std::string& job) const {
  auto it = by_shadow_.find(shadow);
  if (it == by_shadow_.end()) return nullptr;
  if (it->second.contains(job)) return find(job);
  return it->second.size() == 1 && job.empty() ? find(*it->second.begin()) : nullptr;
}

void Exports::leave_shadow(const Export& e) {
  auto it = by_shadow_.find(e.shadow.get());
  if (it == by_shadow_.end()) return;
  it->second.erase(e.job());
  if (it->second.empty()) by_shadow_.erase(it);
}

void Exports::on_shadow_message(const Shadow& shadow, wire::Message message) {
  pb::Envelope& envelope = message.envelope;
  std::string* job = nullptr;
  switch (envelope.body_case()) {
    case pb::Envelope::kData:
      job = envelope.mutable_data()->mutable_job();
      break;
    case pb::Envelope::kAck:
      job = envelope.mutable_ack()->mutable_job();
      break;
    case pb::Envelope::kSignal:
      job = envelope.mutable_signal()->mutable_job();
      break;
    case pb::Envelope::kWindowSize:
      job = envelope.mutable_window_size()->mutable_job();
      break;
    default:
      return log::warning("a shadow sent a message of kind {}",
                          static_cast<int>(envelope.body_case()));
  }
  ExportPtr e = of_shadow(shadow.get(), *job);
  if (!e || e->record.site().empty()) return;  // ended, or not begun: offsets make up for it
  *job = e->job();
  if (envelope.has_signal()) {
    answer_signal(e, envelope);
    const int number = envelope.signal().number();
    if (number == 0) return;
    e->stopped = number == SIGSTOP || (e->stopped && number != SIGCONT);
  }
  envelope.set_request(0);
  const bool must_arrive = envelope.has_signal() || envelope.has_window_size();
  // The source's starter does not listen any more, the target's does not yet.
  if (e->record.moving() && must_arrive) return e->held.push_back(std::move(message));
  post_.send(e->record.site(), std::move(message));
}

void Exports::send_held(const ExportPtr& e) {
  for (wire::Message& message : std::exchange(e->held, {}))
    post_.send(e->record.site(), std::move(message));
}

void Exports::on_shadow_gone(const wire::StreamChannel* shadow) {
  auto it = by_shadow_.find(shadow);
  if (it == by_shadow_.end()) return;
  const std::set<std::string> jobs = std::move(it->second);
  by_shadow_.erase(it);
  for (const std::string& job : jobs) {
    ExportPtr e = find(job);
    if (!e) continue;
    e->shadow.reset();
    log::info("job {}: its shadow is gone; ended", job);
    end_everywhere(e);
  }
}

void Exports::to_shadow(const ExportPtr& e, wire::Message message) {
  message.envelope.set_request(0);
  if (e->shadow) e->shadow->send(std::move(message));
}

void Exports::note(const ExportPtr& e, const std::string& text, bool silence) {
  pb::Envelope envelope;
  envelope.mutable_note()->set_job(e->job());
  envelope.mutable_note()->set_silence(silence);
  envelope.mutable_note()->set_text(text);
  to_shadow(e, {std::move(envelope), {}});
}

// ---------------------------------------------------------------------------------- ending

pb::Envelope Exports::failed(const ExportPtr& e, pb::Failure::Kind kind,
                             const std::string& text) const {
  pb::Envelope envelope = wire::failure(kind, text);
  envelope.mutable_failure()->set_job(e->job());
  return envelope;
}

void Exports::lose(const ExportPtr& e, const std::string& why) {
  if (go_on_from_checkpoint(e, why)) return;
  const std::string text = fmt::format("job {} is lost: {}", e->job(), why);
  log::error("{}", text);
  report(e, pb::JobReport::LOST, 0, why);
  e->told_end = true;
  to_shadow(e, {failed(e, pb::Failure::LOST, text), {}});
  end_everywhere(e);
}

void Exports::fail(const ExportPtr& e, pb::Failure::Kind kind, const std::string& text) {
  // It never began. What its shadow ends with (`remote help run`) is its end, as waitpid(2) would
  // tell it.
  const int status = kind == pb::Failure::NO_PROGRAM       ? 127
                     : kind == pb::Failure::NOT_EXECUTABLE ? 126
                                                           : 125;
  report(e, kind == pb::Failure::LOST ? pb::JobReport::LOST : pb::JobReport::DONE, status << 8,
         text);
  to_shadow(e, {failed(e, kind, text), {}});
  forget(e);
}

void Exports::end_everywhere(const ExportPtr& e) {
  if (e->phase == Export::Phase::waiting) {
    coordinator_->withdraw(e->select);
    // Only one that waited visibly is in the ledger.
    if (e->waiting_reason.empty()) e->told_end = true;
  }
  if (!e->record.site().empty()) {
    pb::Envelope kill;
    kill.mutable_kill()->set_job(e->job());
    post_.send(e->record.site(), std::move(kill));
  }
  if (!e->told_end) report(e, pb::JobReport::DONE, SIGKILL);
  forget(e);
}

void Exports::forget(const ExportPtr& e) {
  e->phase = Export::Phase::ended;
  if (e->move) {
    // Its program may have ended by itself meanwhile; the target would keep a slot for it.
    pb::Envelope abandon;
    abandon.mutable_abandon()->set_job(e->job());
    abandon.mutable_abandon()->set_attempt(e->move->attempt);
    post_.send(e->move->target, std::move(abandon));
  }
  if (e->on_file) store_.remove(e->job());
  if (e->saved_wall) ::unlink(own_checkpoint(*e).c_str());
  if (e->saving)
    std::exchange(e->saving, nullptr)
        ->on_end(Error{fmt::format("checkpoint {}: the job has ended", e->job()), ESRCH});
  for (Move* move : {e->move.get(), e->last_move.get()})
    if (move != nullptr && move->on_end)
      std::exchange(move->on_end, nullptr)(
          wire::failure(pb::Failure::NOT_FOUND, fmt::format("job {} has ended", e->job())));
  if (e->last_move) report_move(e, *e->last_move, true, "ended before its figures came");
  leave_shadow(*e);
  exports_.erase(e->job());
  changed_();
}

bool Exports::signal(const std::string& job, int number) {
  ExportPtr e = find(job);
  if (!e) return false;
  if (number == 0 || e->record.site().empty()) {
    note(e, "ended by `remote kill`");
    pb::Envelope exited;
    exited.mutable_exited()->set_job(job);
    exited.mutable_exited()->set_status(SIGKILL);
    exited.mutable_exited()->set_stdout_end(e->stdout_seen);
    exited.mutable_exited()->set_stderr_end(e->stderr_seen);
    to_shadow(e, {std::move(exited), {}});
    end_everywhere(e);
    return true;
  }
  e->stopped = number == SIGSTOP || (e->stopped && number != SIGCONT);
  pb::Envelope envelope;
  envelope.mutable_signal()->set_job(job);
  envelope.mutable_signal()->set_number(number);
  post_.send(e->record.site(), std::move(envelope));
  return true;
}

}  // namespace hob::hostd
