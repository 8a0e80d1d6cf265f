#include "coordinator/free_hosts.h"

#include "base/check.h"

namespace hob::coordinator {

bool FreeHosts::before(const HostRecord& a, const HostRecord& b) {
  const size_t a_taken = a.taken(), b_taken = b.taken();
  return std::tie(a_taken, a.facts.idle_since, a.facts.id) <
         std::tie(b_taken, b.facts.idle_since, b.facts.id);
}

void FreeHosts::insert(HostRecord& host) {
  const Policy& policy = host.facts.import_from;
  if (policy.kind == Policy::Kind::all) {
    if (open_.size() <= host.feature_class) open_.resize(host.feature_class + 1);
    // Hosts mostly come in at the end, as the last whose owner has left.
    Set& set = open_[host.feature_class];
    host.at_free = set.insert(set.end(), key(host));
  } else if (policy.kind == Policy::Kind::listed) {
    for (HostId home : policy.hosts) {
      const bool fresh = invited_[std::pair(home, host.feature_class)].insert(key(host)).second;
      CHECK(fresh);
    }
  }
}

void FreeHosts::erase(HostRecord& host) {
  const Policy& policy = host.facts.import_from;
  if (policy.kind == Policy::Kind::all) {
    open_[host.feature_class].erase(host.at_free);
  } else if (policy.kind == Policy::Kind::listed) {
    for (HostId home : policy.hosts) {
      const auto set = invited_.find({home, host.feature_class});
      CHECK(set != invited_.end() && set->second.erase(key(host)) == 1);
      if (set->second.empty()) invited_.erase(set);
    }
  }
}

HostRecord* FreeHosts::first_for(const HostRecord& home, const Accept& accept) const {
  HostRecord* best = nullptr;
  const auto look = [&](const Set& set) {
    for (const FreeKey& key : set) {
      if (best != nullptr && !before(*key.host, *best)) return;
      if (key.host == &home || !accept(*key.host)) continue;
      best = key.host;
      return;
    }
  };
  census_.each_within(home.facts.features, [&](Census::Class c) {
    if (c < open_.size()) look(open_[c]);
  });
  for (auto it = invited_.lower_bound({home.facts.id, 0});
       it != invited_.end() && it->first.first == home.facts.id; ++it) {
    if (census_.features(it->first.second).within(home.facts.features)) look(it->second);
  }
  return best;
}

bool FreeHosts::contains(HostRecord& host) const {
  const Policy& policy = host.facts.import_from;
  if (policy.kind == Policy::Kind::none) return true;
  if (policy.kind == Policy::Kind::all) {
    return host.feature_class < open_.size() && open_[host.feature_class].count(key(host)) == 1;
  }
  for (HostId home : policy.hosts) {
    const auto set = invited_.find({home, host.feature_class});
    if (set == invited_.end() || set->second.count(key(host)) == 0) return false;
  }
  return true;
}

size_t FreeHosts::entries() const {
  size_t sum = 0;
  for (const Set& set : open_) sum += set.size();
  for (const auto& [home, set] : invited_) sum += set.size();
  return sum;
}

}  // namespace hob::coordinator
