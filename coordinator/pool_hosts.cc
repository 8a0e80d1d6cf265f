#include <algorithm>

#include "base/check.h"
#include "coordinator/pool.h"

/// What follows from a change of a host's facts, for its guests and for its own clients.
namespace hob::coordinator {

template <class Change>
void Pool::change_state(HostRecord& host, Change change) {
  if (host.free()) free_.erase(host);
  census_.uncount(host);
  change();
  census_.count(host);
  if (host.free()) free_.insert(host);
}

void Pool::revoke(LeaseRecord& record, Revocation why, Decisions& out) {
  out.push_back(Revoked{record.lease, why});
  end_lease(record);
}

void Pool::refuse(RequestRecord& r, Refusal why, Decisions& out) {
  const auto home = hosts_.find(r.request.client.home);
  CHECK(home != hosts_.end());
  out.push_back(Refused{r.id, r.request.client, why, r.missing, census_.seen_from(home->second)});
  end_request(r);
}

void Pool::settle(HostRecord& host, Decisions& out) {
  const HostState state = host.facts.state;
  if (state == HostState::active || state == HostState::down) {
    const auto why = state == HostState::active ? Revocation::owner_back : Revocation::host_down;
    while (!host.leases.empty()) revoke(*host.leases.back(), why, out);
  }
  while (host.leases.size() > host.facts.slots) {
    revoke(*host.leases.back(), Revocation::fewer_slots, out);
  }
  if (!claims_.empty()) adopt_claims(host, out);
  serve(host, out);
}

Decisions Pool::set_state(HostId id, HostState state, Time idle_since, Time now) {
  advance(now);
  Decisions out;
  HostRecord& host = hosts_.at(id);
  change_state(host, [&] {
    host.facts.state = state;
    host.facts.idle_since = idle_since;
    if (state == HostState::idle) host.awaited.clear();
  });
  if (state == HostState::down && host.waiting > 0) {
    for (RequestRecord* r : requests_of(id)) refuse(*r, Refusal::home_lost, out);
  }
  settle(host, out);
  balance(out);
  return out;
}

void Pool::revoke_misfits(HostRecord& host, Decisions& out) {
  std::vector<LeaseRecord*> misfits;
  for (LeaseRecord* lease : host.leases) {
    const HostFacts* home = this->host(lease->holder->id.home);
    if (home != nullptr && !eligible(host.facts, *home)) misfits.push_back(lease);
  }
  for (LeaseRecord* lease : leases_of(host.facts.id)) {
    if (!eligible(lease->host->facts, host.facts)) misfits.push_back(lease);
  }
  std::vector<HostRecord*> freed;
  for (LeaseRecord* lease : misfits) {
    freed.push_back(lease->host);
    revoke(*lease, Revocation::not_allowed, out);
  }
  for (HostRecord* h : freed) {
    if (h != &host) serve(*h, out);
  }
}

Decisions Pool::update(const HostFacts& facts, Time now, std::span<const HostId> serving) {
  advance(now);
  Decisions out;
  const auto [at, fresh] = hosts_.try_emplace(facts.id);
  HostRecord& host = at->second;
  // Requests are filed by what home may use, so home's own stand aside while that changes.
  std::vector<RequestRecord*> own = requests_of(facts.id);
  for (RequestRecord* r : own) queue_.erase(*r);
  if (!fresh) {
    if (host.free()) free_.erase(host);
    census_.leave(host);
  }
  host.facts = facts;
  await(host, serving);
  census_.enter(host);
  if (host.free()) free_.insert(host);
  for (RequestRecord* r : own) queue_.insert(*r, host);
  const auto refuse_impossible = [&](const std::vector<RequestRecord*>& requests) {
    for (RequestRecord* r : requests) {
      if (const auto why = impossible(r->request)) {
        refuse(*r, *why == Refusal::no_such_host ? Refusal::host_unsuitable : *why, out);
      }
    }
  };
  refuse_impossible(own);
  refuse_impossible(queue_.only_for(facts.id));

  revoke_misfits(host, out);
  settle(host, out);
  // Home may have become fit for hosts that stood free.
  std::vector<RequestId> left;
  for (RequestRecord* r : requests_of(facts.id)) left.push_back(r->id);
  for (RequestId id : left) {
    for (auto r = waiting_.find(id); r != waiting_.end(); r = waiting_.find(id)) {
      HostRecord* free = pick(r->second.request);
      if (free == nullptr) break;
      serve(*free, out);
    }
  }
  balance(out);
  return out;
}

Decisions Pool::remove(HostId id, Time now) {
  advance(now);
  Decisions out;
  const auto at = hosts_.find(id);
  if (at == hosts_.end()) return out;
  HostRecord& host = at->second;
  for (RequestRecord* r : requests_of(id)) refuse(*r, Refusal::home_lost, out);
  for (RequestRecord* r : queue_.only_for(id)) refuse(*r, Refusal::no_such_host, out);
  change_state(host, [&] { host.facts.state = HostState::down; });
  settle(host, out);
  std::vector<HostRecord*> freed;
  for (LeaseRecord* lease : leases_of(id)) {
    freed.push_back(lease->host);
    revoke(*lease, Revocation::home_removed, out);
  }
  census_.leave(host);
  hosts_.erase(at);
  await_no_more(id, out);
  for (HostRecord* h : freed) serve(*h, out);
  balance(out);
  return out;
}

bool Pool::restoring(Time now) const {
  return !started_ || now < *started_ + config_.lease;
}

/// The host must be out of all indexes.
void Pool::await(HostRecord& host, std::span<const HostId> serving) {
  if (host.facts.state == HostState::idle || !serving.empty()) host.awaited.clear();
  if (!restoring(now_)) return;
  for (HostId home : serving.first(std::min<size_t>(serving.size(), host.facts.slots))) {
    if (home == host.facts.id || spoken_.contains(home)) continue;
    host.awaited.push_back(home);
    awaited_at_[home].insert(host.facts.id);
  }
}

void Pool::await_no_more(HostId home, Decisions& out) {
  const auto at = awaited_at_.find(home);
  if (at == awaited_at_.end()) return;
  const std::set<HostId> waited = std::move(at->second);
  awaited_at_.erase(at);
  for (HostId id : waited) {
    const auto host = hosts_.find(id);
    if (host == hosts_.end()) continue;
    change_state(host->second, [&] { std::erase(host->second.awaited, home); });
    serve(host->second, out);
  }
}

void Pool::adopt(const Lease& claim, HostRecord& host, Decisions& out) {
  const HostFacts* home = this->host(claim.client.home);
  if (host.facts.state == HostState::active) {
    out.push_back(Revoked{claim, Revocation::owner_back});
  } else if (host.leases.size() >= host.facts.slots) {
    out.push_back(Revoked{claim, Revocation::fewer_slots});
  } else if (home != nullptr && !eligible(host.facts, *home)) {
    out.push_back(Revoked{claim, Revocation::not_allowed});
  } else {
    change_state(host, [&] {
      const auto its = std::find(host.awaited.begin(), host.awaited.end(), claim.client.home);
      if (its != host.awaited.end()) host.awaited.erase(its);
    });
    enter_lease(claim.id, host, client_record(claim.client));
  }
}

void Pool::adopt_claims(HostRecord& host, Decisions& out) {
  if (host.facts.state == HostState::down) return;
  for (auto it = claims_.begin(); it != claims_.end();) {
    if (it->second.host != host.facts.id) {
      ++it;
      continue;
    }
    adopt(it->second, host, out);
    it = claims_.erase(it);
  }
}

Decisions Pool::restore(HostId home, std::span<const Lease> held, Time now) {
  advance(now);
  Decisions out;
  if (restoring(now)) spoken_.insert(home);
  for (const Lease& claim : held) {
    const auto known = leases_.find(claim.id);
    if (known != leases_.end() && known->second.lease.host == claim.host &&
        known->second.lease.client == claim.client) {
      continue;
    }
    if (known != leases_.end() || claim.client.home != home || claim.host == home ||
        claim.id.epoch() >= config_.epoch || !restoring(now)) {
      out.push_back(Revoked{claim, Revocation::unknown});
      continue;
    }
    const auto host = hosts_.find(claim.host);
    if (host == hosts_.end() || host->second.facts.state == HostState::down) {
      claims_[claim.id] = claim;  // the host has not reported yet
    } else {
      adopt(claim, host->second, out);
    }
  }
  await_no_more(home, out);
  balance(out);
  return out;
}

}  // namespace hob::coordinator
