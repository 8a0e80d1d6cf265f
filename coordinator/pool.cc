#include "coordinator/pool.h"

#include <algorithm>

#include "base/check.h"

namespace hob::coordinator {

Pool::Pool(PoolConfig config) : config_(config) {
  CHECK(config.epoch > 0 && config.epoch < 1u << (64 - LeaseId::serial_bits));
  CHECK(config.lease > Duration::zero());
}

void Pool::advance(Time now) {
  if (!started_) started_ = now_ = now;
  CHECK(now >= now_);
  now_ = now;
}

// Selection. -----------------------------------------------------------------------------------

std::optional<Refusal> Pool::impossible(const Request& request) const {
  if (request.wanted == 0 || request.wanted > config_.max_wanted ||
      request.exclude.size() > config_.max_excluded ||
      (request.host && excluded(request, *request.host))) {
    return Refusal::bad_request;
  }
  const HostFacts* home = host(request.client.home);
  if (home == nullptr || home->state == HostState::down) return Refusal::home_lost;
  if (home->export_to.kind == Policy::Kind::none) return Refusal::not_exported;
  if (request.host) {
    const HostFacts* wanted = host(*request.host);
    if (wanted == nullptr) return Refusal::no_such_host;
    if (!home->export_to.admits(wanted->id)) return Refusal::not_exported;
    if (!eligible(*wanted, *home)) return Refusal::host_unsuitable;
  }
  return std::nullopt;
}

HostRecord* Pool::pick(const Request& request) const {
  const HostRecord& home = hosts_.at(request.client.home);
  const Policy& exported = home.facts.export_to;
  if (!request.host && exported.kind == Policy::Kind::all) {
    return free_.first_for(home,
                           [&](const HostRecord& h) { return !excluded(request, h.facts.id); });
  }
  HostRecord* best = nullptr;
  const auto look = [&](HostId id) {
    const auto at = hosts_.find(id);
    if (at == hosts_.end()) return;
    auto& h = const_cast<HostRecord&>(at->second);
    if (!h.free() || !eligible(h.facts, home.facts) || excluded(request, id)) return;
    if (best == nullptr || FreeHosts::before(h, *best)) best = &h;
  };
  if (request.host) {
    look(*request.host);
  } else {
    for (HostId id : exported.hosts) look(id);
  }
  return best;
}

void Pool::grant(RequestId request, ClientRecord& client, HostRecord& host, Decisions& out) {
  CHECK(next_serial_ >> LeaseId::serial_bits == 0);
  const LeaseId id{uint64_t{config_.epoch} << LeaseId::serial_bits | next_serial_++};
  out.push_back(Granted{request, enter_lease(id, host, client).lease});
}

void Pool::serve(HostRecord& host, Decisions& out) {
  while (host.free()) {
    RequestRecord* r = queue_.first_for(host);
    if (r == nullptr) return;
    grant(r->id, *r->client, host, out);
    if (--r->missing == 0) end_request(*r);
  }
}

Queued Pool::queued(const RequestRecord& r) const {
  uint32_t position = static_cast<uint32_t>(queue_.size());
  return Queued{r.id, position, r.missing, census_.seen_from(hosts_.at(r.request.client.home))};
}

// Clients. -------------------------------------------------------------------------------------

Pool::Asked Pool::ask(const Request& request, Time now) {
  advance(now);
  Asked asked{RequestId{next_request_++}, {}};
  Decisions& out = asked.decisions;
  if (const auto why = impossible(request)) {
    const auto home = hosts_.find(request.client.home);
    out.push_back(Refused{asked.id, request.client, *why, request.wanted,
                          home == hosts_.end() ? Availability{} : census_.seen_from(home->second)});
    return asked;
  }
  ClientRecord& client = client_record(request.client);
  uint32_t missing = request.wanted;
  for (HostRecord* host; missing > 0 && (host = pick(request)) != nullptr; --missing) {
    grant(asked.id, client, *host, out);
  }
  if (missing > 0) {
    const HostRecord& home = hosts_.at(request.client.home);
    if (request.wait && home.waiting < config_.max_waiting_per_home) {
      RequestRecord& r = waiting_[asked.id];
      r = RequestRecord{asked.id, request, missing, 0, &client, nullptr};
      enqueue(r);
      out.push_back(queued(r));
      reclaim_for(r, out);
    } else {
      out.push_back(Refused{asked.id, request.client,
                            request.wait ? Refusal::queue_full : Refusal::nothing_free, missing,
                            census_.seen_from(home)});
      drop_if_idle(client);
    }
  }
  balance(out);
  return asked;
}

Decisions Pool::cancel(RequestId request, Time now) {
  advance(now);
  Decisions out;
  const auto r = waiting_.find(request);
  if (r == waiting_.end()) return out;
  end_request(r->second);
  balance(out);
  return out;
}

std::optional<Queued> Pool::waiting(RequestId request) const {
  const auto r = waiting_.find(request);
  if (r == waiting_.end()) return std::nullopt;
  return queued(r->second);
}

Pool::Renewal Pool::renew(LeaseId id, Time now) {
  advance(now);
  const auto at = leases_.find(id);
  if (at == leases_.end()) {
    return id.epoch() < config_.epoch && restoring(now) ? Renewal::not_yet : Renewal::unknown;
  }
  LeaseRecord& record = at->second;
  if (record.lease.expires <= now) return Renewal::unknown;
  if (record.lease.reclaimed) return Renewal::reclaimed;
  record.lease.expires = now + config_.lease;
  by_expiry_.splice(by_expiry_.end(), by_expiry_, record.at_expiry);
  return Renewal::renewed;
}

Decisions Pool::release(LeaseId id, Time now) {
  advance(now);
  Decisions out;
  claims_.erase(id);
  const auto at = leases_.find(id);
  if (at == leases_.end()) return out;
  HostRecord& host = *at->second.host;
  end_lease(at->second);
  serve(host, out);
  balance(out);
  return out;
}

Decisions Pool::client_gone(const Client& id, Time now) {
  advance(now);
  Decisions out;
  std::erase_if(claims_, [&](const auto& claim) { return claim.second.client == id; });
  const auto at = clients_.find(id);
  if (at == clients_.end()) return out;
  // The record goes with the last of these, so the lists are copied first.
  const auto requests = at->second.requests;
  const auto leases = at->second.leases;
  for (RequestRecord* r : requests) end_request(*r);
  std::vector<HostRecord*> freed;
  for (LeaseRecord* lease : leases) {
    freed.push_back(lease->host);
    end_lease(*lease);
  }
  for (HostRecord* host : freed) serve(*host, out);
  balance(out);
  return out;
}

// Time. ----------------------------------------------------------------------------------------

Decisions Pool::expire(Time now) {
  advance(now);
  Decisions out;
  if (!claims_.empty() && !restoring(now)) {
    for (const auto& [id, claim] : claims_) out.push_back(Expired{claim});
    claims_.clear();
  }
  const bool awaited = !awaited_at_.empty() && !restoring(now);
  while (awaited && !awaited_at_.empty()) await_no_more(HostId(awaited_at_.begin()->first), out);
  std::vector<HostRecord*> freed;
  while (!by_expiry_.empty() && by_expiry_.front()->lease.expires <= now) {
    LeaseRecord& record = *by_expiry_.front();
    out.push_back(Expired{record.lease});
    freed.push_back(record.host);
    end_lease(record);
  }
  for (HostRecord* host : freed) serve(*host, out);
  if (!freed.empty() || awaited) balance(out);
  return out;
}

std::optional<Time> Pool::next_expiry() const {
  std::optional<Time> next;
  if (!by_expiry_.empty()) next = by_expiry_.front()->lease.expires;
  if (!claims_.empty() || !awaited_at_.empty())
    next = std::min(next.value_or(Time::max()), *started_ + config_.lease);
  return next;
}

// Views. ---------------------------------------------------------------------------------------

const HostFacts* Pool::host(HostId id) const {
  const auto at = hosts_.find(id);
  return at == hosts_.end() ? nullptr : &at->second.facts;
}

const Lease* Pool::lease(LeaseId id) const {
  const auto at = leases_.find(id);
  return at == leases_.end() ? nullptr : &at->second.lease;
}

const Lease* Pool::claim(LeaseId id) const {
  const auto at = claims_.find(id);
  return at == claims_.end() ? nullptr : &at->second;
}

uint32_t Pool::grants_on(HostId id) const {
  const auto at = hosts_.find(id);
  return at == hosts_.end() ? 0 : static_cast<uint32_t>(at->second.leases.size());
}

}  // namespace hob::coordinator
