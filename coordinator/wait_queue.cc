#include "coordinator/wait_queue.h"

#include <algorithm>

#include "base/check.h"

namespace hob::coordinator {

bool excluded(const Request& request, HostId host) {
  if (request.host && *request.host != host) return true;
  return std::find(request.exclude.begin(), request.exclude.end(), host) != request.exclude.end();
}

WaitQueue::LaneName WaitQueue::name_of(const RequestRecord& r) {
  return {r.request.client.home, r.request.host.has_value(), r.request.host.value_or(HostId{}),
          r.request.client.user};
}

void WaitQueue::rank(Lane& lane) {
  const Rank at = lane.rank();
  CHECK(order_.emplace(at, &lane).second);
  if (lane.anywhere) {
    const Census::Class c = lane.home->feature_class;
    if (anywhere_.size() <= c) anywhere_.resize(c + 1);
    anywhere_[c].emplace(at, &lane);
  }
  for (HostId host : lane.targets) wanted_[host].emplace(at, &lane);
}

void WaitQueue::unrank(Lane& lane) {
  const Rank at = lane.rank();
  CHECK(order_.erase(at) == 1);
  if (lane.anywhere) CHECK(anywhere_[lane.home->feature_class].erase(at) == 1);
  for (HostId host : lane.targets) {
    const auto wanted = wanted_.find(host);
    CHECK(wanted != wanted_.end() && wanted->second.erase(at) == 1);
    if (wanted->second.empty()) wanted_.erase(wanted);
  }
}

void WaitQueue::insert(RequestRecord& r, const HostRecord& home) {
  const auto [at, fresh] = lanes_.try_emplace(name_of(r));
  Lane& lane = at->second;
  if (fresh) {
    const Policy& policy = home.facts.export_to;
    lane.user = r.client->user;
    lane.home = &home;
    lane.anywhere = !r.request.host && policy.kind == Policy::Kind::all;
    if (r.request.host) {
      lane.targets = {*r.request.host};
    } else if (policy.kind == Policy::Kind::listed) {
      lane.targets = policy.hosts;
    }
    lane.user->lanes.insert(&lane);
  } else {
    unrank(lane);
  }
  lane.requests.emplace(Lane::key(r), &r);
  r.lane = &lane;
  rank(lane);
  ++size_;
}

void WaitQueue::erase(RequestRecord& r) {
  Lane& lane = *r.lane;
  unrank(lane);
  CHECK(lane.requests.erase(Lane::key(r)) == 1);
  r.lane = nullptr;
  --size_;
  if (!lane.requests.empty()) {
    rank(lane);
  } else {
    lane.user->lanes.erase(&lane);
    CHECK(lanes_.erase(name_of(r)) == 1);
  }
}

void WaitQueue::change_holding(ClientRecord& client, int delta) {
  UserRecord& user = *client.user;
  for (Lane* lane : user.lanes) unrank(*lane);
  for (RequestRecord* r : client.requests) {
    if (r->lane != nullptr) CHECK(r->lane->requests.erase(Lane::key(*r)) == 1);
  }
  user.clients.erase(&client);
  client.holding += static_cast<uint32_t>(delta);
  user.holding += static_cast<uint32_t>(delta);
  user.clients.insert(&client);
  for (RequestRecord* r : client.requests) {
    if (r->lane != nullptr) r->lane->requests.emplace(Lane::key(*r), r);
  }
  for (Lane* lane : user.lanes) rank(*lane);
}

RequestRecord* WaitQueue::first_for(const HostRecord& host) const {
  if (size_ == 0) return nullptr;
  Rank best_rank;
  RequestRecord* best = nullptr;
  const auto look = [&](const Lane& lane) {
    if (!eligible(host.facts, lane.home->facts)) return;
    for (const auto& [key, r] : lane.requests) {
      const Rank rank = Rank::of(*r);
      if (best != nullptr && best_rank < rank) return;
      if (excluded(r->request, host.facts.id)) continue;
      best = r;
      best_rank = rank;
      return;
    }
  };
  const auto look_through = [&](const Order& order) {
    for (const auto& [rank, lane] : order) {
      if (best != nullptr && best_rank < rank) return;
      look(*lane);
    }
  };

  const Policy& policy = host.facts.import_from;
  if (policy.kind == Policy::Kind::all) {
    census_.each_beyond(host.facts.features, [&](Census::Class c) {
      if (c < anywhere_.size()) look_through(anywhere_[c]);
    });
  }
  for (HostId home : policy.hosts) {
    for (auto it = lanes_.lower_bound({home, false, HostId{}, UserId{}});
         it != lanes_.end() && std::get<0>(it->first) == home && !std::get<1>(it->first); ++it) {
      look(it->second);
    }
  }
  if (const auto wanted = wanted_.find(host.facts.id); wanted != wanted_.end()) {
    look_through(wanted->second);
  }
  return best;
}

std::vector<RequestRecord*> WaitQueue::only_for(HostId host) const {
  std::vector<RequestRecord*> found;
  const auto wanted = wanted_.find(host);
  if (wanted == wanted_.end()) return found;
  for (const auto& [rank, lane] : wanted->second) {
    for (const auto& [key, r] : lane->requests) {
      if (r->request.host == host) found.push_back(r);
    }
  }
  return found;
}

bool WaitQueue::consistent() const {
  size_t requests = 0, wanted = 0, targets = 0, anywhere = 0, placed_anywhere = 0;
  for (const auto& [name, lane] : lanes_) {
    if (lane.requests.empty() || lane.user->lanes.count(const_cast<Lane*>(&lane)) == 0)
      return false;
    for (const auto& [key, r] : lane.requests) {
      if (key != Lane::key(*r) || r->lane != &lane || name_of(*r) != name) return false;
    }
    const auto at = order_.find(lane.rank());
    if (at == order_.end() || at->second != &lane) return false;
    requests += lane.requests.size();
    targets += lane.targets.size();
    anywhere += lane.anywhere ? 1 : 0;
  }
  for (const Order& order : anywhere_) placed_anywhere += order.size();
  for (const auto& [host, order] : wanted_) {
    if (order.empty()) return false;
    wanted += order.size();
  }
  return requests == size_ && order_.size() == lanes_.size() && wanted == targets &&
         anywhere == placed_anywhere;
}

}  // namespace hob::coordinator
