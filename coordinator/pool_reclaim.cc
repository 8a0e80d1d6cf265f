#include "coordinator/pool.h"

/// Fair reclaim: see the rules in pool.h.
namespace hob::coordinator {
namespace {

/// Migd's "at least two more": with one more, a grant would only change sides.
constexpr uint32_t more = 2;

bool owes(const LeaseRecord& lease, const RequestRecord& asker) {
  if (lease.lease.reclaimed) return false;
  const ClientRecord& holder = *lease.holder;
  const ClientRecord& client = *asker.client;
  if (holder.user != client.user) {
    return holder.user->holding >= client.user->holding + client.user->promised + more;
  }
  return holder.holding >= client.holding + client.promised + more;
}

}  // namespace

LeaseRecord* Pool::find_reclaimable(const RequestRecord& r) const {
  const Request& request = r.request;
  const HostFacts& home = hosts_.at(request.client.home).facts;
  const ClientRecord& asker = *r.client;
  uint32_t looks = config_.reclaim_grants;

  // Few hosts will do: the holder of most among those who hold them.
  if (request.host || home.export_to.kind == Policy::Kind::listed) {
    LeaseRecord* best = nullptr;
    const auto standing = [&](const LeaseRecord& l) {
      return std::tuple(l.holder->user != asker.user, l.holder->user->holding, l.holder->holding);
    };
    const auto look = [&](HostId id) {
      const auto at = hosts_.find(id);
      if (at == hosts_.end() || !eligible(at->second.facts, home) || excluded(request, id)) return;
      for (LeaseRecord* l : at->second.leases) {
        if (looks == 0) return;
        --looks;
        if (owes(*l, r) && (best == nullptr || standing(*best) < standing(*l))) best = l;
      }
    };
    if (request.host) {
      look(*request.host);
    } else {
      for (HostId id : home.export_to.hosts) look(id);
    }
    return best;
  }

  // The newest grant first: it is on a host that others are on, too, or on one that was idle for
  // less.
  const auto newest_of = [&](const ClientRecord& client) -> LeaseRecord* {
    for (auto l = client.leases.rbegin(); l != client.leases.rend() && looks > 0; ++l, --looks) {
      const HostFacts& host = (*l)->host->facts;
      if (!(*l)->lease.reclaimed && eligible(host, home) && !excluded(request, host.id)) return *l;
    }
    return nullptr;
  };
  for (const UserRecord* user : by_holding_) {
    if (user->holding < asker.user->holding + asker.user->promised + more) break;
    if (user == asker.user) continue;
    for (const ClientRecord* client : user->clients) {
      if (LeaseRecord* l = newest_of(*client)) return l;
      if (looks == 0) return nullptr;
    }
  }
  for (const ClientRecord* client : asker.user->clients) {
    if (client->holding < asker.holding + asker.promised + more) break;
    if (LeaseRecord* l = newest_of(*client)) return l;
    if (looks == 0) return nullptr;
  }
  return nullptr;
}

void Pool::reclaim_for(RequestRecord& r, Decisions& out) {
  while (r.promised < r.missing) {
    LeaseRecord* l = find_reclaimable(r);
    if (l == nullptr) return;
    l->lease.reclaimed = true;
    l->in_favour_of = r.id;
    change_holding(*l->holder, -1);
    change_promised(r, +1);
    out.push_back(Reclaim{l->lease, r.id});
  }
}

void Pool::balance(Decisions& out) {
  if (queue_.size() == 0) return;
  // Taking a grant back changes the holder's rank and so the queue; look at a copy of its head.
  std::vector<RequestRecord*> head;
  for (const auto& [rank, lane] : queue_.lanes()) {
    for (const auto& [key, r] : lane->requests) {
      if (head.size() == config_.reclaim_places) break;
      if (r->promised < r->missing) head.push_back(r);
    }
    if (head.size() == config_.reclaim_places) break;
  }
  for (RequestRecord* r : head) reclaim_for(*r, out);
}

}  // namespace hob::coordinator
