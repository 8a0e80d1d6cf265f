#include "tests/pool/model.h"

#include <algorithm>
#include <tuple>

namespace hob::coordinator::test {

void Model::end_lease(LeaseId id) {
  const auto at = leases.find(id);
  if (at == leases.end()) return;
  HostFacts& host = hosts.at(at->second.host);
  if (host.state == HostState::full) host.state = HostState::part_used;
  leases.erase(at);
  in_favour_of_.erase(id);
}

void Model::end_client(const Client& client) {
  std::vector<LeaseId> held;
  for (const auto& [id, lease] : leases) {
    if (lease.client == client) held.push_back(id);
  }
  for (LeaseId id : held) end_lease(id);
  std::vector<RequestId> wanted;
  for (const auto& [id, w] : waiting) {
    if (w.request.client == client) wanted.push_back(id);
  }
  for (RequestId id : wanted) end_request(id);
}

void Model::end_request(RequestId id) {
  waiting.erase(id);
  std::erase_if(in_favour_of_, [&](const auto& promise) { return promise.second == id; });
}

uint32_t Model::taken(HostId host) const {
  return static_cast<uint32_t>(std::count_if(leases.begin(), leases.end(),
                                             [&](const auto& l) { return l.second.host == host; }));
}

size_t Model::used(HostId host) const {
  const auto kept = awaited.find(host);
  return taken(host) + (kept == awaited.end() ? 0 : kept->second.size());
}

bool Model::has_room(const HostFacts& host) const {
  return (host.state == HostState::idle || host.state == HostState::part_used) &&
         used(host.id) < host.slots;
}

bool Model::could_use(const HostFacts& host, const Request& request) const {
  return eligible(host, hosts.at(request.client.home)) &&
         (!request.host || *request.host == host.id) &&
         std::count(request.exclude.begin(), request.exclude.end(), host.id) == 0;
}

uint32_t Model::holding(const Client& client) const {
  return static_cast<uint32_t>(std::count_if(leases.begin(), leases.end(), [&](const auto& l) {
    return l.second.client == client && !l.second.reclaimed;
  }));
}

uint32_t Model::holding(UserId user) const {
  return static_cast<uint32_t>(std::count_if(leases.begin(), leases.end(), [&](const auto& l) {
    return l.second.client.user == user && !l.second.reclaimed;
  }));
}

uint32_t Model::promised(RequestId request) const {
  return static_cast<uint32_t>(
      std::count_if(in_favour_of_.begin(), in_favour_of_.end(),
                    [&](const auto& promise) { return promise.second == request; }));
}

uint32_t Model::promised(const Client& client) const {
  uint32_t sum = 0;
  for (const auto& [id, w] : waiting) {
    if (w.request.client == client) sum += promised(id);
  }
  return sum;
}

uint32_t Model::promised(UserId user) const {
  uint32_t sum = 0;
  for (const auto& [id, w] : waiting) {
    if (w.request.client.user == user) sum += promised(id);
  }
  return sum;
}

bool Model::owes(const Lease& lease, const Waiting& asker) const {
  if (lease.reclaimed || !could_use(hosts.at(lease.host), asker.request)) return false;
  const Client& client = asker.request.client;
  if (lease.client.user != client.user) {
    return holding(lease.client.user) >= holding(client.user) + promised(client.user) + 2;
  }
  return holding(lease.client) >= holding(client) + promised(client) + 2;
}

// Decisions. -----------------------------------------------------------------------------------

std::string Model::apply(const Decisions& decisions, Time now) {
  for (const Decision& decision : decisions) {
    std::string wrong = std::visit([&](const auto& d) { return apply(d, now); }, decision);
    if (!wrong.empty()) return wrong;
  }
  return asking_.empty() || asking_.begin()->second.missing == 0 ? "" : "a request was forgotten";
}

std::string Model::apply(const Granted& d, Time now) {
  const bool new_request = asking_.count(d.request) == 1;
  if (!new_request && waiting.count(d.request) == 0) return "granted to a request that is over";
  Waiting& w = new_request ? asking_.at(d.request) : waiting.at(d.request);
  const HostFacts& host = hosts.at(d.lease.host);
  if (d.lease.client != w.request.client) return "granted to another client than asked";
  if (d.lease.expires != now + config_.lease || d.lease.reclaimed)
    return "granted for another time";
  if (leases.count(d.lease.id) != 0) return "granted under a number in use";
  if (w.missing == 0) return "granted more than was asked";
  if (!has_room(host)) return "granted a host without room";
  if (!could_use(host, w.request)) return "granted a host that is not suitable";
  if (new_request) {
    const auto place = [&](const HostFacts& h) {
      return std::tuple(used(h.id), h.idle_since, h.id);
    };
    for (const auto& [id, other] : hosts) {
      if (has_room(other) && could_use(other, w.request) && place(other) < place(host)) {
        return "granted a host, and another has fewer guests or was idle for longer";
      }
    }
  } else {
    const auto rank = [&](RequestId id, const Waiting& x) {
      return std::tuple(holding(x.request.client.user), holding(x.request.client), id);
    };
    for (const auto& [id, other] : waiting) {
      if (could_use(host, other.request) && rank(id, other) < rank(d.request, w)) {
        return "granted to a request before its turn";
      }
    }
  }
  leases[d.lease.id] = d.lease;
  if (--w.missing == 0 && !new_request) {
    end_request(RequestId(d.request));
  }
  return {};
}

std::string Model::apply(const Queued& d, Time) {
  const auto asked = asking_.find(d.request);
  if (asked == asking_.end() || asked->second.missing != d.missing)
    return "queued what did not ask";
  if (!asked->second.request.wait) return "queued what does not wait";
  waiting[d.request] = asked->second;
  asking_.clear();
  return {};
}

std::string Model::apply(const Refused& d, Time) {
  const bool new_request = asking_.erase(d.request) == 1;
  if (!new_request && waiting.count(d.request) == 0) return "refused a request that is over";
  end_request(d.request);
  return {};
}

std::string Model::apply(const Reclaim& d, Time) {
  const auto lease = leases.find(d.lease.id);
  const auto w = waiting.find(d.in_favour_of);
  if (lease == leases.end() || w == waiting.end()) return "asked back what is over";
  if (promised(d.in_favour_of) >= w->second.missing) return "asked back more than is missing";
  if (!owes(lease->second, w->second)) return "asked back from one who does not owe it";
  for (const auto& [id, host] : hosts) {
    if (has_room(host) && could_use(host, w->second.request)) return "asked back while one is free";
  }
  // Other users first, and of these who holds most.
  for (const auto& [id, other] : leases) {
    if (!owes(other, w->second)) continue;
    const UserId asker = w->second.request.client.user;
    const auto standing = [&](const Lease& l) {
      return std::tuple(l.client.user != asker, holding(l.client.user));
    };
    if (standing(lease->second) < standing(other)) return "asked back, and another holds more";
  }
  lease->second.reclaimed = true;
  in_favour_of_[d.lease.id] = d.in_favour_of;
  return {};
}

std::string Model::apply(const Expired& d, Time now) {
  const auto lease = leases.find(d.lease.id);
  if (lease == leases.end() || lease->second.expires > now) return "expired before its time";
  end_lease(d.lease.id);
  return {};
}

std::string Model::apply(const Revoked& d, Time) {
  const auto at = leases.find(d.lease.id);
  if (at == leases.end()) return "revoked what is over";
  const Lease lease = at->second;
  const HostFacts& host = hosts.at(lease.host);
  const auto home = hosts.find(lease.client.home);
  const bool right = [&] {
    switch (d.why) {
      case Revocation::owner_back:
        return host.state == HostState::active;
      case Revocation::host_down:
        return host.state == HostState::down;
      case Revocation::fewer_slots:
        return taken(lease.host) > host.slots;
      case Revocation::not_allowed:
        return !eligible(host, home->second);
      case Revocation::home_removed:
      case Revocation::unknown:
        return false;  // these tests neither remove nor restore
    }
    return false;
  }();
  if (!right) return "revoked without the reason it gives";
  end_lease(d.lease.id);
  return {};
}

std::string Model::finish(const Pool& pool) {
  asking_.clear();
  if (pool.leases() != leases.size() || pool.requests() != waiting.size()) {
    return "pool and model have different books";
  }
  for (const auto& [id, lease] : leases) {
    const Lease* there = pool.lease(id);
    if (there == nullptr || *there != lease) return "pool and model disagree on a grant";
    const HostFacts& host = hosts.at(lease.host);
    if (host.state == HostState::active || host.state == HostState::down) {
      return "a grant is left on a host that takes no guests";
    }
    if (taken(lease.host) > host.slots) return "more grants than slots";
  }
  for (const auto& [id, w] : waiting) {
    const auto there = pool.waiting(id);
    if (!there || there->missing != w.missing) return "pool and model disagree on a request";
    for (const auto& [hid, host] : hosts) {
      if (has_room(host) && could_use(host, w.request))
        return "a request waits, and a host is free";
    }
    if (promised(id) >= w.missing) continue;
    for (const auto& [lid, lease] : leases) {
      if (owes(lease, w)) return "a request waits, and is owed a grant";
    }
  }
  return {};
}

}  // namespace hob::coordinator::test
