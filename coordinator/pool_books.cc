#include <algorithm>

#include "base/check.h"
#include "coordinator/pool.h"

/// How records come into the books and leave them, with every index kept in step.
namespace hob::coordinator {

ClientRecord& Pool::client_record(const Client& id) {
  const auto [at, fresh] = clients_.try_emplace(id);
  ClientRecord& client = at->second;
  if (!fresh) return client;
  const auto [user, new_user] = users_.try_emplace(id.user);
  if (new_user) {
    user->second.id = id.user;
    by_holding_.insert(&user->second);
  }
  client.id = id;
  client.user = &user->second;
  client.user->clients.insert(&client);
  return client;
}

void Pool::drop_if_idle(ClientRecord& client) {
  if (!client.leases.empty() || !client.requests.empty()) return;
  UserRecord& user = *client.user;
  user.clients.erase(&client);
  clients_.erase(Client(client.id));
  if (!user.clients.empty()) return;
  by_holding_.erase(&user);
  users_.erase(UserId(user.id));
}

void Pool::change_holding(ClientRecord& client, int delta) {
  by_holding_.erase(client.user);
  queue_.change_holding(client, delta);
  by_holding_.insert(client.user);
}

void Pool::change_promised(RequestRecord& request, int delta) {
  const auto d = static_cast<uint32_t>(delta);
  request.promised += d;
  request.client->promised += d;
  request.client->user->promised += d;
}

template <class Change>
void Pool::change_slots(HostRecord& host, Change change) {
  // Most grants on a host of many slots leave it free, which is all that the census counts.
  const bool before = host.free();
  const bool stays = before && host.taken() + 1 < host.facts.slots;
  if (before) free_.erase(host);
  if (!stays) census_.uncount(host);
  change();
  if (!stays) census_.count(host);
  if (host.free()) free_.insert(host);
}

LeaseRecord& Pool::enter_lease(LeaseId id, HostRecord& host, ClientRecord& client) {
  const auto [at, fresh] = leases_.try_emplace(id);
  CHECK(fresh);
  LeaseRecord& record = at->second;
  record.lease = Lease{id, host.facts.id, client.id, now_ + config_.lease, false};
  record.host = &host;
  record.holder = &client;
  change_slots(host, [&] { record.at_host = host.leases.insert(host.leases.end(), &record); });
  record.at_holder = client.leases.insert(client.leases.end(), &record);
  // All leases last equally long and time does not go back, so the last to start is last to expire.
  record.at_expiry = by_expiry_.insert(by_expiry_.end(), &record);
  change_holding(client, +1);
  return record;
}

void Pool::end_lease(LeaseRecord& record) {
  HostRecord& host = *record.host;
  ClientRecord& client = *record.holder;
  change_slots(host, [&] {
    host.leases.erase(record.at_host);
    // A full host has room for one again; its next report says whether that is so.
    if (host.facts.state == HostState::full) host.facts.state = HostState::part_used;
  });
  client.leases.erase(record.at_holder);
  by_expiry_.erase(record.at_expiry);
  if (!record.lease.reclaimed) {
    change_holding(client, -1);
  } else if (const auto r = waiting_.find(record.in_favour_of); r != waiting_.end()) {
    change_promised(r->second, -1);
  }
  leases_.erase(LeaseId(record.lease.id));
  drop_if_idle(client);
}

void Pool::enqueue(RequestRecord& request) {
  HostRecord& home = hosts_.at(request.request.client.home);
  request.client->requests.insert(&request);
  queue_.insert(request, home);
  ++home.waiting;
}

void Pool::end_request(RequestRecord& request) {
  ClientRecord& client = *request.client;
  change_promised(request, -static_cast<int>(request.promised));
  if (request.lane != nullptr) queue_.erase(request);
  --hosts_.at(client.id.home).waiting;
  client.requests.erase(&request);
  waiting_.erase(RequestId(request.id));
  drop_if_idle(client);
}

std::vector<RequestRecord*> Pool::requests_of(HostId home) {
  std::vector<RequestRecord*> found;
  for (auto it = clients_.lower_bound(Client{home, UserId{}, 0});
       it != clients_.end() && it->first.home == home; ++it) {
    found.insert(found.end(), it->second.requests.begin(), it->second.requests.end());
  }
  std::sort(found.begin(), found.end(),
            [](const RequestRecord* a, const RequestRecord* b) { return a->id < b->id; });
  return found;
}

std::vector<LeaseRecord*> Pool::leases_of(HostId home) {
  std::vector<LeaseRecord*> found;
  for (auto it = clients_.lower_bound(Client{home, UserId{}, 0});
       it != clients_.end() && it->first.home == home; ++it) {
    found.insert(found.end(), it->second.leases.begin(), it->second.leases.end());
  }
  return found;
}

}  // namespace hob::coordinator
