#include <fmt/format.h>

#include <algorithm>

#include "coordinator/pool.h"

/// The invariants of the books, from the definitions and not from the code that keeps them.
namespace hob::coordinator {

std::string Pool::broken_host(const HostRecord& host) const {
  const uint32_t id = static_cast<uint32_t>(host.facts.id);
  if (host.leases.size() > host.facts.slots) {
    return fmt::format("host {} has {} slots and {} grants", id, host.facts.slots,
                       host.leases.size());
  }
  if ((host.facts.state == HostState::active || host.facts.state == HostState::down) &&
      !host.leases.empty()) {
    return fmt::format("host {} is {} and has grants", id, to_string(host.facts.state));
  }
  if (host.free() && !free_.contains(const_cast<HostRecord&>(host))) {
    return fmt::format("host {} is free and not listed as free", id);
  }
  if (!(census_.features(host.feature_class) == host.facts.features)) {
    return fmt::format("host {} is in the class of other features", id);
  }
  for (HostId home : host.awaited) {
    const auto at = awaited_at_.find(home);
    if (spoken_.contains(home) || at == awaited_at_.end() || !at->second.contains(host.facts.id)) {
      return fmt::format("host {} waits for the grants of home {}, which will bring none", id,
                         static_cast<uint32_t>(home));
    }
  }
  for (const LeaseRecord* lease : host.leases) {
    if (lease->host != &host || lease->lease.host != host.facts.id) {
      return fmt::format("host {} lists the grant {:x} of another", id, lease->lease.id.value);
    }
    const HostFacts* home = this->host(lease->lease.client.home);
    if (home != nullptr && !eligible(host.facts, *home)) {
      return fmt::format("grant {:x} is on host {}, which does not suit its home",
                         lease->lease.id.value, id);
    }
  }
  return {};
}

std::string Pool::broken_client(const ClientRecord& client) const {
  const std::string who = fmt::format("client {}/{}/{}", static_cast<uint32_t>(client.id.home),
                                      static_cast<uint32_t>(client.id.user), client.id.id);
  if (client.leases.empty() && client.requests.empty()) return who + " has no reason to be there";
  uint32_t holding = 0, promised = 0;
  for (const LeaseRecord* lease : client.leases) {
    if (lease->holder != &client || lease->lease.client != client.id) {
      return who + " lists the grant of another";
    }
    if (!lease->lease.reclaimed) ++holding;
  }
  for (const RequestRecord* r : client.requests) {
    if (r->client != &client || r->missing == 0 || r->missing > r->request.wanted ||
        r->lane == nullptr || waiting_.count(r->id) == 0) {
      return who + " lists a request that does not wait";
    }
    promised += r->promised;
  }
  if (holding != client.holding) return who + ": the count of its grants is wrong";
  if (promised != client.promised) return who + ": the count of what it is promised is wrong";
  if (client.user->clients.count(const_cast<ClientRecord*>(&client)) == 0) {
    return who + " is unknown to its user";
  }
  return {};
}

std::string Pool::broken_queue() const {
  if (!queue_.consistent() || queue_.size() != waiting_.size()) return "the queue is inconsistent";
  std::unordered_map<HostId, uint32_t> per_home;
  std::unordered_map<RequestId, uint32_t> promised;
  for (const auto& [id, lease] : leases_) {
    if (lease.lease.reclaimed) ++promised[lease.in_favour_of];
  }
  for (const auto& [id, r] : waiting_) {
    const uint64_t number = static_cast<uint64_t>(id);
    if (r.id != id || r.client->requests.count(const_cast<RequestRecord*>(&r)) == 0) {
      return fmt::format("request {} is unknown to its client", number);
    }
    if (const auto why = impossible(r.request)) {
      return fmt::format("request {} waits in vain: {}", number, to_string(*why));
    }
    if (const auto p = promised.find(id); r.promised != (p == promised.end() ? 0 : p->second)) {
      return fmt::format("request {}: the count of what it is promised is wrong", number);
    }
    ++per_home[r.request.client.home];
    const HostFacts& home = hosts_.at(r.request.client.home).facts;
    for (const auto& [hid, host] : hosts_) {
      if (host.free() && eligible(host.facts, home) && !excluded(r.request, hid)) {
        return fmt::format("request {} waits while host {} is free for it", number,
                           static_cast<uint32_t>(hid));
      }
    }
  }
  for (const auto& [id, host] : hosts_) {
    const auto at = per_home.find(id);
    if (host.waiting != (at == per_home.end() ? 0 : at->second)) {
      return fmt::format("host {}: the count of its requests is wrong", static_cast<uint32_t>(id));
    }
  }
  return {};
}

std::string Pool::invariants() const {
  size_t on_hosts = 0, entries = 0, held = 0, by_user = 0;
  for (const auto& [id, host] : hosts_) {
    if (host.facts.id != id) return "a host is filed under another's number";
    if (std::string broken = broken_host(host); !broken.empty()) return broken;
    on_hosts += host.leases.size();
    const Policy& policy = host.facts.import_from;
    if (!host.free() || policy.kind == Policy::Kind::none) continue;
    entries += policy.kind == Policy::Kind::all ? 1 : policy.hosts.size();
  }
  if (entries != free_.entries()) return "a host is listed as free and is not";

  std::unordered_map<UserId, std::pair<uint32_t, uint32_t>> users;  // holding, promised
  for (const auto& [id, client] : clients_) {
    if (client.id != id) return "a client is filed under another's name";
    if (std::string broken = broken_client(client); !broken.empty()) return broken;
    held += client.leases.size();
    users[id.user].first += client.holding;
    users[id.user].second += client.promised;
  }
  if (on_hosts != leases_.size() || held != leases_.size()) {
    return "a grant is not held by one client on one host";
  }
  for (const auto& [id, user] : users_) {
    const auto counted = users.find(id);
    if (counted == users.end() || counted->second != std::pair(user.holding, user.promised) ||
        by_holding_.count(const_cast<UserRecord*>(&user)) == 0) {
      return fmt::format("user {}: the counts are wrong", static_cast<uint32_t>(id));
    }
    by_user += user.clients.size();
  }
  if (users.size() != users_.size() || by_holding_.size() != users_.size() ||
      by_user != clients_.size()) {
    return "the books of users and clients disagree";
  }
  if (by_expiry_.size() != leases_.size() ||
      !std::is_sorted(by_expiry_.begin(), by_expiry_.end(),
                      [](auto* a, auto* b) { return a->lease.expires < b->lease.expires; })) {
    return "the order of expiry is wrong";
  }
  return broken_queue();
}

}  // namespace hob::coordinator
