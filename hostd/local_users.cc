// hostd/hostd.h, the part that serves `remote` on this host.
#include <fmt/core.h>

#include "base/log.h"
#include "hostd/hostd.h"

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
  // A guest is a user of its home, not of this host: it could lift the owner's pause, or run what is
  // never sent home. Who has gone already may have been one.
  Result<std::string> group = read_file(fmt::format("/proc/{}/cgroup", who->pid), 65536);
  if (!group.ok() || group->find("0::" + config_.cgroup + "/guests/") != std::string::npos)
    return log::warning("refused a connection from process {} of user id {}: a job's, or gone",
                        who->pid, who->uid);
  auto key = std::make_shared<const wire::StreamChannel*>(nullptr);
  Result<std::unique_ptr<wire::StreamChannel>> channel = wire::StreamChannel::create(
      loop_, std::move(socket),
      {[this, key](wire::Message message) { on_local_message(*key, std::move(message)); },
       [this, key](const Error& error) {
         log::debug("local client: {}", error.text);
         exports_->on_shadow_gone(*key);
         loop_.defer([this, key] { sessions_.erase(*key); });
       }});
  if (!channel.ok()) return log::warning("{}", channel.error().text);
  *key = channel->get();
  sessions_.emplace(*key, Session{std::move(*channel), std::move(*who)});
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
  switch (request.body_case()) {
    case pb::Envelope::kRun: return exports_->on_run(session.channel, session.who, request);
    case pb::Envelope::kAttach: return exports_->on_attach(session.channel, session.who, request);
    case pb::Envelope::kData:
    case pb::Envelope::kAck:
    case pb::Envelope::kSignal:
    case pb::Envelope::kWindowSize:
      return exports_->on_shadow_message(session.channel, std::move(message));
    case pb::Envelope::kPause: return session.channel->answer(request, pause(request.pause()));
    case pb::Envelope::kHostStatus: {
      pb::Envelope envelope;
      envelope.mutable_host_status()->set_name(config_.host_name);
      *envelope.mutable_host_status()->mutable_report() = report();
      return session.channel->answer(request, std::move(envelope));
    }
    case pb::Envelope::kListJobs:
      if (request.list_jobs().all_hosts()) return ask_coordinator(session, request);
      {
        pb::Envelope envelope;
        *envelope.mutable_job_list() = list_jobs();
        return session.channel->answer(request, std::move(envelope));
      }
    case pb::Envelope::kListHosts:
    case pb::Envelope::kListHistory: return ask_coordinator(session, request);
    case pb::Envelope::kEvictAll: {
      const std::string& job = request.evict_all().job();
      if (guests_->evict(job, "asked by a user of " + config_.host_name))
        return session.channel->answer(request, wire::done());
      return session.channel->answer(
          request, wire::failure(pb::Failure::NOT_FOUND,
                                 fmt::format("evict: no guest {} runs on {}", job,
                                             config_.host_name)));
    }
    case pb::Envelope::kMigrate: return migrate_job(session, request);
    case pb::Envelope::kKillJob: return kill_job(session, request);
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
  coordinator_->ask(std::move(question), kCoordinatorAnswer,
                    [this, weak, number](wire::Message answer) {
                      answer_later(weak, number, std::move(answer.envelope));
                    });
}

void Hostd::kill_job(const Session& session, const pb::Envelope& request) {
  const std::string job = exports_->resolve(request.kill_job().job());
  const auto refuse = [&](pb::Failure::Kind kind, const char* why) {
    session.channel->answer(
        request, wire::failure(kind, fmt::format("kill {}: {}", request.kill_job().job(), why)));
  };
  if (job.empty()) return refuse(pb::Failure::NOT_FOUND, "no such job of this host; see `remote ps`");
  if (session.who.uid != 0 && session.who.uid != exports_->uid_of(job))
    return refuse(pb::Failure::NOT_PERMITTED, "it is another user's");
  exports_->signal(job, request.kill_job().signal());
  session.channel->answer(request, wire::done());
}

void Hostd::migrate_job(const Session& session, const pb::Envelope& request) {
  const std::string job = exports_->resolve(request.migrate().job());
  const auto refuse = [&](pb::Failure::Kind kind, const char* why) {
    session.channel->answer(
        request, wire::failure(kind, fmt::format("migrate {}: {}", request.migrate().job(), why)));
  };
  if (job.empty()) return refuse(pb::Failure::NOT_FOUND, "no such job of this host; see `remote ps`");
  if (session.who.uid != 0 && session.who.uid != exports_->uid_of(job))
    return refuse(pb::Failure::NOT_PERMITTED, "it is another user's");
  exports_->migrate(job, request.migrate().host(),
                    [this, weak = std::weak_ptr<wire::StreamChannel>(session.channel),
                     number = request.request()](pb::Envelope answer) {
                      answer_later(weak, number, std::move(answer));
                    });
}

}  // namespace hob::hostd
