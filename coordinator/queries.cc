// coordinator/coordinator.h, the part that answers what people ask.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "coordinator/coordinator.h"
#include "wire/invitation.h"

namespace hob::coordinator {
namespace {

/// How long `remote hosts` waits for fresh reports before it shows what is known.
constexpr auto kFreshReports = milliseconds(300);
constexpr auto kInvitationValid = hours(24);

uint64_t wall_ns(WallTime time) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<nanoseconds>(time.time_since_epoch()).count());
}

uint64_t count_ns(Duration d) {
  return d.count() < 0 ? 0 : static_cast<uint64_t>(d.count());
}

pb::JobReport::State to_wire(JobState state) {
  switch (state) {
    case JobState::running:
      return pb::JobReport::RUNNING;
    case JobState::moving:
      return pb::JobReport::MOVING;
    case JobState::suspended:
      return pb::JobReport::SUSPENDED;
    case JobState::done:
      return pb::JobReport::DONE;
    case JobState::lost:
      return pb::JobReport::LOST;
    case JobState::waiting:
      break;
  }
  return pb::JobReport::WAITING;
}

}  // namespace

// ---------------------------------------------------------------------------------- answers

void Coordinator::on_list_hosts(const wire::Server::Connection& connection,
                                const pb::Envelope& request) {
  auto query = std::make_shared<HostQuery>();
  query->connection = connection;
  query->request.set_request(request.request());
  // Reports come when something changes; times and reasons age meanwhile. So everybody is asked.
  pb::Envelope again;
  again.mutable_host_status();
  for (const auto& [name, host] : hosts_) {
    if (host.down || host.connection.empty()) continue;
    query->awaited.insert(name);
    send(name, again);
  }
  query->limit = loop_.after(kFreshReports, [this, raw = query.get()] { answer_hosts(*raw); });
  queries_.push_back(query);
}

void Coordinator::answer_hosts(HostQuery& query) {
  pb::Envelope envelope;
  for (const auto& [name, row] : registry_->hosts()) {
    const Host& host = hosts_[name];
    pb::HostStatus* status = envelope.mutable_host_list()->add_hosts();
    status->set_name(name);
    status->set_endpoint(row.endpoint);
    *status->mutable_report() = host.report;
    status->mutable_report()->set_reason(shortened(host.report.reason()));
    status->mutable_report()->clear_cpu_features();
    status->set_granted(pool_.grants_on(row.id));
    if (host.seen != Time{}) status->set_seen_ns(count_ns(Clock::now() - host.seen));
    if (host.down) {
      status->mutable_report()->set_state(pb::HOST_DOWN);
      status->mutable_report()->set_reason(
          host.seen == Time{} ? "has not been heard of since the coordinator started"
                              : fmt::format("has not been heard of for {:.0f} s",
                                            to_seconds(Clock::now() - host.seen)));
    }
  }
  server_->answer(query.connection, query.request, std::move(envelope));
  loop_.defer([this, raw = &query] {
    std::erase_if(queries_, [raw](const auto& q) { return q.get() == raw; });
  });
  query.awaited = {"(answered)"};  // reports that still come must not answer it again
  query.limit.reset();
}

pb::Envelope Coordinator::list_jobs(const pb::ListJobs& request) {
  flush();
  Result<std::vector<JobRow>> rows = ledger_.jobs(request.ended());
  if (!rows.ok()) return wire::failure(pb::Failure::INTERNAL, rows.error().text);
  pb::Envelope envelope;
  pb::JobList* list = envelope.mutable_job_list();
  for (const JobRow& row : *rows) {
    pb::JobStatus* status = list->add_jobs();
    status->mutable_job()->set_job(row.id);
    status->mutable_job()->set_user(row.user);
    status->mutable_job()->set_uid(row.uid);
    status->mutable_job()->set_command(row.command);
    status->mutable_job()->set_state(to_wire(row.state));
    if (row.host) status->mutable_job()->set_host(registry_->name_or_number(*row.host));
    if (row.exit_status) status->mutable_job()->set_exit_status(*row.exit_status);
    status->mutable_job()->set_text(row.text);
    status->set_home(registry_->name_or_number(row.home));
    if (row.started) status->set_started_wall_ns(wall_ns(*row.started));
  }
  return envelope;
}

pb::Envelope Coordinator::history(const std::string& peer, const pb::ListHistory& request) {
  flush();
  Result<std::optional<JobRow>> found = ledger_.job(request.job());
  // "17" is short for the asker's own job of that number.
  if (found.ok() && !*found) found = ledger_.job(peer + "." + request.job());
  if (!found.ok()) return wire::failure(pb::Failure::INTERNAL, found.error().text);
  if (!*found)
    return wire::failure(pb::Failure::NOT_FOUND,
                         fmt::format("history: no job {}; see `remote ps --all`", request.job()));
  const JobRow& row = **found;
  Result<std::vector<MoveRow>> moves = ledger_.moves(row.id);
  if (!moves.ok()) return wire::failure(pb::Failure::INTERNAL, moves.error().text);
  pb::Envelope envelope;
  pb::History* history = envelope.mutable_history();
  history->mutable_job()->set_job(row.id);
  history->mutable_job()->set_user(row.user);
  history->mutable_job()->set_uid(row.uid);
  history->mutable_job()->set_command(row.command);
  history->mutable_job()->set_state(to_wire(row.state));
  if (row.host) history->mutable_job()->set_host(registry_->name_or_number(*row.host));
  if (row.exit_status) history->mutable_job()->set_exit_status(*row.exit_status);
  history->mutable_job()->set_text(row.text);
  history->set_home(registry_->name_or_number(row.home));
  history->set_submitted_wall_ns(wall_ns(row.submitted));
  if (row.started) history->set_started_wall_ns(wall_ns(*row.started));
  if (row.ended) history->set_ended_wall_ns(wall_ns(*row.ended));
  for (const MoveRow& move : *moves) {
    pb::MoveReport* out = history->add_moves();
    out->set_job(move.job);
    out->set_from(registry_->name_or_number(move.from));
    out->set_to(registry_->name_or_number(move.to));
    out->set_reason(move.reason);
    out->set_moved(move.moved);
    out->set_text(move.text);
    pb::MoveFigures* figures = out->mutable_figures();
    figures->set_freeze_ns(count_ns(move.freeze));
    figures->set_push_ns(count_ns(move.push));
    figures->set_clean_ns(count_ns(move.clean));
    figures->set_pages_moved(move.pages_moved);
    figures->set_pages_demanded(move.pages_demanded);
    figures->set_image_bytes(move.image_bytes);
    figures->set_threads(move.threads);
    figures->set_processes(move.processes);
    out->set_wall_ns(wall_ns(move.at));
  }
  return envelope;
}

// ---------------------------------------------------------------------------------- administration

Result<void> Coordinator::serve_administrator() {
  admin_listener_ = TRY(wire::StreamListener::create(
      loop_, config_.run_dir + "/coordinator.sock", 0600, [this](Fd socket) {
        Result<wire::PeerIdentity> who = wire::peer_identity(socket.get());
        if (!who.ok() || who->uid != 0) return;  // the socket's mode says so already
        auto key = std::make_shared<const wire::StreamChannel*>(nullptr);
        auto channel = wire::StreamChannel::create(
            loop_, std::move(socket),
            {[this, key](wire::Message message) {
               administrators_.at(*key)->answer(message.envelope, administer(message.envelope));
             },
             [this, key](const Error&) {
               loop_.defer([this, key] { administrators_.erase(*key); });
             }});
        if (!channel.ok()) return log::warning("{}", channel.error().text);
        *key = channel->get();
        administrators_[*key] = std::move(*channel);
      }));
  return {};
}

pb::Envelope Coordinator::administer(const pb::Envelope& request) {
  pb::Envelope envelope;
  if (request.has_invite()) {
    Result<wire::Key> secret = registry_->invite(request.invite().name(), kInvitationValid);
    if (!secret.ok()) {
      const int code = secret.error().code;
      const auto kind =
          code == EINVAL || code == EEXIST ? pb::Failure::USAGE : pb::Failure::INTERNAL;
      return wire::failure(kind, secret.error().text);
    }
    std::string address = config_.listen_address;
    if (address == "0.0.0.0") {
      char name[256] = {};
      if (::gethostname(name, sizeof name - 1) == 0) address = name;
    }
    wire::Invitation invitation;
    invitation.endpoint = fmt::format("tcp://{}:{}", address, config_.listen_port);
    invitation.coordinator_key = keys_.public_key;
    invitation.secret_key = *secret;
    envelope.mutable_invitation()->set_text(wire::to_text(invitation));
    return envelope;
  }
  if (request.has_list_invitations()) {
    Result<std::vector<InviteRow>> rows = ledger_.invitations(WallClock::now());
    if (!rows.ok()) return wire::failure(pb::Failure::INTERNAL, rows.error().text);
    pb::InvitationList* list = envelope.mutable_invitation_list();
    for (const InviteRow& row : *rows) {
      pb::InvitationList::Entry* entry = list->add_invitations();
      entry->set_number(row.number);
      entry->set_name(row.name);
      entry->set_made_wall_ns(wall_ns(row.made));
      entry->set_expires_wall_ns(wall_ns(row.expires));
    }
    return envelope;
  }
  if (request.has_remove_host()) return remove(request.remove_host().name());
  return wire::failure(pb::Failure::USAGE, "the coordinator takes no such request here");
}

pb::Envelope Coordinator::remove(const std::string& name) {
  // An invitation in somebody's pocket would let the host in again.
  Result<int64_t> withdrawn = ledger_.withdraw(name, WallClock::now());
  if (!withdrawn.ok()) return wire::failure(pb::Failure::INTERNAL, withdrawn.error().text);
  const HostRow* row = registry_->find(name);
  if (row == nullptr && *withdrawn > 0) return wire::done();
  const HostId id = row != nullptr ? row->id : HostId{};
  if (Result<void> removed = registry_->remove(name); !removed.ok())
    return wire::failure(
        removed.error().code == ENOENT ? pb::Failure::NOT_FOUND : pb::Failure::INTERNAL,
        removed.error().text);
  apply(pool_.remove(id, Clock::now()));
  record(LiveJobs{id,
                  "",
                  "",
                  {},
                  "its home was removed from the cell before it said how it ended",
                  WallClock::now()});
  hosts_.erase(name);
  common_features_.reset();
  broadcast_directory();
  log::info("host {} was removed from the cell", name);
  return wire::done();
}

}  // namespace hob::coordinator
