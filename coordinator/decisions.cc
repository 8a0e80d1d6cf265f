// coordinator/coordinator.h, the part that carries the pool's decisions out.
#include <fmt/core.h>

#include "base/log.h"
#include "coordinator/coordinator.h"
#include "wire/grant_token.h"

namespace hob::coordinator {

void Coordinator::apply(const Decisions& decisions) {
  for (const Decision& decision : decisions)
    std::visit([this](const auto& d) { apply(d); }, decision);
  arm_expiry();
}

void Coordinator::apply(const Granted& granted) {
  auto it = asked_.find(granted.request);
  const HostRow* host = registry_->find(granted.lease.host);
  if (it == asked_.end() || host == nullptr) {
    // Nobody waits for it any more: it goes back, and may serve another at once.
    return apply(pool_.release(granted.lease.id, Clock::now()));
  }
  const std::string home = it->second.home;
  pb::Envelope envelope;
  envelope.set_answers(it->second.number);
  pb::Granted* out = envelope.mutable_granted();
  out->set_lease(granted.lease.id.value);
  out->mutable_host()->set_name(host->name);
  out->mutable_host()->set_endpoint(host->endpoint);
  out->mutable_host()->set_public_key(host->public_key);
  const WallTime expires =
      WallClock::now() + std::chrono::duration_cast<WallClock::duration>(config_.lease_duration);
  const auto expires_ns = static_cast<uint64_t>(
      std::chrono::duration_cast<nanoseconds>(expires.time_since_epoch()).count());
  out->set_expires_wall_ns(expires_ns);
  out->set_token(wire::grant_token(hosts_[host->name].grant_key, out->lease(), home, expires_ns));
  out->set_cpu_features(common_features());
  asked_by_.erase({home, it->second.number});
  asked_.erase(it);
  record(GrantBegan{granted.lease.id, granted.lease.host, granted.lease.client.home,
                    user_names_.at(static_cast<uint32_t>(granted.lease.client.user)),
                    WallClock::now()});
  send(home, std::move(envelope));
}

/// Why nothing is granted, for people.
std::string Coordinator::why_none(const Asked& asked, const Availability& hosts) const {
  if (asked.host.empty()) return fmt::format("no idle host: {}", to_string(hosts));
  const auto because = [&](std::string_view why) {
    return fmt::format("host {} is not free: {}", asked.host, why);
  };
  const auto it = hosts_.find(asked.host);
  if (it == hosts_.end() || it->second.down) return because("it does not answer");
  switch (it->second.report.state()) {
    case pb::HOST_ACTIVE:
      return because("its owner is present");
    case pb::HOST_FULL:
      return because("all of its slots are used");
    case pb::HOST_REFUSES:
      return because((it->second.report.reason()));
    case pb::HOST_IDLE:
    case pb::HOST_PART_USED:
      return because(fmt::format(
          "it takes no jobs of {} (owner.import, owner.export, or another processor)", asked.home));
    default:
      return because("it does not answer");
  }
}

void Coordinator::apply(const Queued& queued) {
  auto it = asked_.find(queued.request);
  if (it == asked_.end()) return;
  const std::string reason = why_none(it->second, queued.hosts);
  if (reason == it->second.reason) return;
  it->second.reason = reason;
  pb::Envelope envelope;
  envelope.set_answers(it->second.number);
  envelope.mutable_queued()->set_position(queued.position);
  envelope.mutable_queued()->set_reason(reason);
  send(it->second.home, std::move(envelope));
}

void Coordinator::apply(const Refused& refused) {
  auto it = asked_.find(refused.request);
  if (it == asked_.end()) return;
  const Asked asked = it->second;
  asked_by_.erase({asked.home, asked.number});
  asked_.erase(it);
  const bool nothing_free = refused.why == Refusal::nothing_free;
  pb::Envelope envelope =
      wire::failure(refused.why == Refusal::no_such_host  ? pb::Failure::NOT_FOUND
                    : refused.why == Refusal::bad_request ? pb::Failure::USAGE
                                                          : pb::Failure::NO_HOST,
                    nothing_free ? why_none(asked, refused.hosts)
                                 : fmt::format("no grant: {}", to_string(refused.why)));
  envelope.set_answers(asked.number);
  send(asked.home, std::move(envelope));
}

void Coordinator::tell_revoked(const Lease& lease, bool reclaim, const std::string& reason) {
  const HostRow* home = registry_->find(lease.client.home);
  if (home == nullptr) return;
  pb::Envelope envelope;
  envelope.mutable_revoked()->set_lease(lease.id.value);
  envelope.mutable_revoked()->set_reclaim(reclaim);
  envelope.mutable_revoked()->set_reason(reason);
  send(home->name, std::move(envelope));
}

void Coordinator::apply(const Reclaim& reclaim) {
  tell_revoked(reclaim.lease, true, "another user has fewer hosts");
}

void Coordinator::apply(const Expired& expired) {
  record(GrantEnded{expired.lease.id, "expired", WallClock::now()});
  tell_revoked(expired.lease, false, "the grant has expired");
}

void Coordinator::apply(const Revoked& revoked) {
  record(GrantEnded{revoked.lease.id, std::string(to_string(revoked.why)), WallClock::now()});
  tell_revoked(revoked.lease, false, std::string(to_string(revoked.why)));
}

void Coordinator::tell_changed_reasons() {
  for (const auto& [id, asked] : std::map(asked_))
    if (std::optional<Queued> queued = pool_.waiting(id)) apply(*queued);
}

void Coordinator::arm_expiry() {
  const std::optional<Time> next = pool_.next_expiry();
  expiry_timer_ =
      next ? loop_.at(*next, [this] { apply(pool_.expire(Clock::now())); }) : EventLoop::Handle();
}

}  // namespace hob::coordinator
