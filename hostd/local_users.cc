// hostd/hostd.h, the part that serves `remote` on this host.
#include <fmt/core.h>

#include <optional>
#include <set>

#include "base/log.h"
#include "hostd/hostd.h"
#include "migrate/strategy.h"

namespace hob::hostd {
namespace {

constexpr auto kCoordinatorAnswer = seconds(5);

}  // namespace

Result<void> Hostd::serve_local_users() {
  // Everybody may connect; the kernel says who it is.
  local_listener_ =
      TRY(wire::StreamListener::create(loop_, config_.run_dir + "/hostd.sock", 0666,
                                       [this](Fd socket) { on_session(std::move(socket)); }));
  return {};
}

void Hostd::on_session(Fd socket) {
  Result<wire::PeerIdentity> who = wire::peer_identity(socket.get());
  if (!who.ok()) return log::warning("{}", who.error().text);
  // A guest is a user of its home, not of this host: it could lift the owner's pause, or run what
  // is never sent home. Who has gone already may have been one.
  Result<std::string> group = read_file(fmt::format("/proc/{}/cgroup", who->pid), 65536);
  const bool from_job =
      !group.ok() || group->find("0::" + config_.cgroup + "/guests/") != std::string::npos;
  if (from_job)
    log::warning("refusing process {} of user id {}: a job's, or gone", who->pid, who->uid);
  auto key = std::make_shared<const wire::StreamChannel*>(nullptr);
  Result<std::unique_ptr<wire::StreamChannel>> channel = wire::StreamChannel::create(
      loop_, std::move(socket),
      {[this, key](wire::Message message) { on_local_message(*key, std::move(message)); },
       [this, key](const Error& error) {
         log::debug("local client: {}", error.text);
         exports_->on_shadow_gone(*key);
         holdings_->on_gone(*key);
         loop_.defer([this, key] { sessions_.erase(*key); });
       }});
  if (!channel.ok()) return log::warning("{}", channel.error().text);
  (*channel)->gather();
  *key = channel->get();
  sessions_.emplace(*key, Session{std::move(*channel), std::move(*who), from_job});
}

void Hostd::answer_later(const std::weak_ptr<wire::StreamChannel>& channel, uint64_t request,
                         pb::Envelope envelope) {
  pb::Envelope asked;
  asked.set_request(request);
  envelope.set_request(0);
  if (auto open = channel.lock()) open->answer(asked, std::move(envelope));
}

void Hostd::on_local_message(const wire::StreamChannel* channel, wire::Message message) {
  auto it = sessions_.find(channel);
  if (it == sessions_.end()) return;
  const Session session = it->second;
  const pb::Envelope& request = message.envelope;
  if (session.from_job)
    return session.channel->answer(
        request,
        wire::failure(
            pb::Failure::NOT_PERMITTED,
            "use remote: not inside a job, which can neither start jobs nor order them yet; "
            "use it at home, outside of jobs"));
  switch (request.body_case()) {
    case pb::Envelope::kRun:
      return exports_->on_run(session.channel, session.who, request);
    case pb::Envelope::kAttach:
      return exports_->on_attach(session.channel, session.who, request);
    case pb::Envelope::kData:
    case pb::Envelope::kAck:
    case pb::Envelope::kSignal:
    case pb::Envelope::kWindowSize:
      return exports_->on_shadow_message(session.channel, std::move(message));
    case pb::Envelope::kHold:
      return hold(session, request);
    case pb::Envelope::kPause:
      return session.channel->answer(request, pause(request.pause()));
    case pb::Envelope::kHostStatus: {
      pb::Envelope envelope;
      envelope.mutable_host_status()->set_name(config_.host_name);
      *envelope.mutable_host_status()->mutable_report() = report();
      return session.channel->answer(request, std::move(envelope));
    }
    case pb::Envelope::kListJobs:
      if (request.list_jobs().all_hosts() || request.list_jobs().ended())
        return ask_coordinator(session, request);
      {
        pb::Envelope envelope;
        *envelope.mutable_job_list() = list_jobs();
        return session.channel->answer(request, std::move(envelope));
      }
    case pb::Envelope::kListHosts:
    case pb::Envelope::kListHistory:
      return ask_coordinator(session, request);
    case pb::Envelope::kEvictAll:
      return guests_->evict(request.evict_all().job(), "asked by a user of " + config_.host_name,
                            [this, weak = std::weak_ptr<wire::StreamChannel>(session.channel),
                             number = request.request()](pb::Envelope answer) {
                              answer_later(weak, number, std::move(answer));
                            });
    case pb::Envelope::kMigrate:
      return migrate_job(session, request);
    case pb::Envelope::kCheck:
      return check_job(session, request);
    case pb::Envelope::kCheckpoint:
      return checkpoint_job(session, request);
    case pb::Envelope::kKillJob:
      return kill_job(session, request);
    default:
      session.channel->answer(
          request, wire::failure(pb::Failure::USAGE, "hostd does not take such requests here"));
  }
}

pb::Envelope Hostd::pause(const pb::Pause& pause) {
  std::optional<WallTime> until;
  if (pause.on() && pause.for_ns() > 0)
    until = WallClock::now() + std::chrono::duration_cast<WallClock::duration>(
                                   nanoseconds(std::min<uint64_t>(pause.for_ns(), 1ull << 60)));
  set_pause(pause.on(), until);
  judge();
  return wire::done();
}

pb::JobList Hostd::list_jobs() const {
  pb::JobList list;
  for (pb::JobStatus& job : exports_->list()) *list.add_jobs() = std::move(job);
  for (pb::JobStatus& job : guests_->list()) *list.add_jobs() = std::move(job);
  return list;
}

void Hostd::ask_coordinator(const Session& session, const pb::Envelope& request) {
  const std::weak_ptr<wire::StreamChannel> weak = session.channel;
  const uint64_t number = request.request();
  pb::Envelope question = request;
  if (question.has_list_history()) {
    const std::string job = exports_->resolve(question.list_history().job());
    if (!job.empty()) question.mutable_list_history()->set_job(job);
  }
  const bool own_jobs = request.has_list_jobs() && !request.list_jobs().all_hosts();
  coordinator_->ask(std::move(question), kCoordinatorAnswer,
                    [this, weak, number, own_jobs](wire::Message answer) {
                      pb::Envelope& envelope = answer.envelope;
                      if (own_jobs && envelope.has_job_list())
                        *envelope.mutable_job_list() = with_ended(envelope.job_list());
                      answer_later(weak, number, std::move(envelope));
                    });
}

/// What runs as this host knows it, and from the ledger's list the jobs of this host that have
/// ended.
pb::JobList Hostd::with_ended(const pb::JobList& ledger) const {
  pb::JobList list = list_jobs();
  std::set<std::string> alive;
  for (const pb::JobStatus& job : list.jobs()) alive.insert(job.job().job());
  for (const pb::JobStatus& job : ledger.jobs())
    if (job.home() == config_.host_name && !alive.contains(job.job().job())) *list.add_jobs() = job;
  return list;
}

/// Why a user may not order the job that he calls `name`; nothing if he may. `verb` begins the
/// sentence.
std::optional<pb::Envelope> Hostd::refusal(const Session& session, const std::string& verb,
                                           const std::string& name) const {
  const auto refuse = [&](pb::Failure::Kind kind, const std::string& why) {
    return wire::failure(kind, fmt::format("{} '{}': {}", verb, name, why));
  };
  const std::string job = exports_->resolve(name);
  if (!job.empty()) {
    if (session.who.uid == 0 || session.who.uid == exports_->uid_of(job)) return std::nullopt;
    return refuse(pb::Failure::NOT_PERMITTED, "it is another user's");
  }
  if (post_->knows(name))
    return refuse(pb::Failure::NOT_FOUND, "that is a host; name a job, as `remote ps` shows it");
  const size_t dot = name.rfind('.');
  const std::string home = name.substr(0, dot == std::string::npos ? 0 : dot);
  if (!home.empty() && home != config_.host_name && post_->knows(home))
    return refuse(
        pb::Failure::NOT_FOUND,
        fmt::format("its home is {0}; order it there. Here `remote evict {1}` sends it home", home,
                    name));
  return refuse(pb::Failure::NOT_FOUND,
                "no such job was started on this host, or it has ended; see `remote ps`");
}

void Hostd::kill_job(const Session& session, const pb::Envelope& request) {
  const std::string& name = request.kill_job().job();
  if (std::optional<pb::Envelope> refused = refusal(session, "kill", name))
    return session.channel->answer(request, std::move(*refused));
  exports_->signal(exports_->resolve(name), request.kill_job().signal());
  session.channel->answer(request, wire::done());
}

void Hostd::check_job(const Session& session, const pb::Envelope& request) {
  const std::string& name = request.check().job();
  if (std::optional<pb::Envelope> refused = refusal(session, "check", name))
    return session.channel->answer(request, std::move(*refused));
  exports_->check(exports_->resolve(name), request.check().table(),
                  [this, weak = std::weak_ptr<wire::StreamChannel>(session.channel),
                   number = request.request()](pb::Envelope answer) {
                    answer_later(weak, number, std::move(answer));
                  });
}

void Hostd::checkpoint_job(const Session& session, const pb::Envelope& request) {
  const pb::Checkpoint& wish = request.checkpoint();
  if (std::optional<pb::Envelope> refused = refusal(session, "checkpoint", wish.job()))
    return session.channel->answer(request, std::move(*refused));
  const auto strategy = migrate::strategy_named(wish.memory());
  const bool whole = strategy ? migrate::plan_of(*strategy).before_commit : wish.memory().empty();
  if (!whole || !wish.path().starts_with('/'))
    return session.channel->answer(
        request, wire::failure(pb::Failure::USAGE,
                               "checkpoint: needs an absolute path, and freeze-copy or pre-copy"));
  exports_->checkpoint(exports_->resolve(wish.job()), wish.path(), wish.memory(),
                       [this, weak = std::weak_ptr<wire::StreamChannel>(session.channel),
                        number = request.request()](Result<uint64_t> size) {
                         pb::Envelope answer;
                         if (size.ok())
                           answer.mutable_checkpointed()->set_size(*size);
                         else
                           answer = wire::failure(pb::Failure::INTERNAL, size.error().text);
                         answer_later(weak, number, std::move(answer));
                       });
}

void Hostd::migrate_job(const Session& session, const pb::Envelope& request) {
  const std::string& name = request.migrate().job();
  if (std::optional<pb::Envelope> refused = refusal(session, "migrate", name))
    return session.channel->answer(request, std::move(*refused));
  const auto on_end = [this, weak = std::weak_ptr<wire::StreamChannel>(session.channel),
                       number = request.request()](pb::Envelope answer) {
    answer_later(weak, number, std::move(answer));
  };
  if (request.migrate().lease() != 0)
    return exports_->migrate_to_slot(exports_->resolve(name), request.migrate().lease(), on_end);
  exports_->migrate(exports_->resolve(name), request.migrate().host(), request.migrate().memory(),
                    on_end);
}

/// Those whose jobs could not leave anyway hold nothing.
void Hostd::hold(const Session& session, const pb::Envelope& request) {
  const auto refuse = [&](const std::string& why) {
    session.channel->answer(request, wire::failure(pb::Failure::NOT_PERMITTED, why));
  };
  if (session.who.uid < config_.owner_min_uid || session.who.gid == 0)
    return refuse(fmt::format("jobs of user id {} do not leave home (owner.min_uid is {})",
                              session.who.uid, config_.owner_min_uid));
  if (config_.owner_export.kind == HostList::Kind::none)
    return refuse("this host sends no jobs away (owner.export)");
  holdings_->on_hold(session.channel, session.who, request);
}

}  // namespace hob::hostd
