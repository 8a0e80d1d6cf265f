#pragma once

#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "coordinator/census.h"
#include "coordinator/pool_records.h"

namespace hob::coordinator {

/// The hosts that have room: those with fewest slots taken first, of these the longest idle.
///
/// A host that takes guests of everybody stands in one set per feature class. One that names the
/// homes it takes guests from stands in a set of each of these homes instead. Either way a home
/// finds its host at the head of a few sets.
class FreeHosts {
 public:
  explicit FreeHosts(const Census& census) : census_(census) {}

  /// `host` must be free(); between the two neither its facts nor what it has taken must change.
  void insert(HostRecord& host);
  void erase(HostRecord& host);

  using Accept = std::function<bool(const HostRecord&)>;
  /// The first host that takes guests of `home`, which lets them go anywhere, and that `accept`
  /// does not turn down; null if there is none. Log(hosts) per feature class, and linear in the
  /// number of hosts turned down.
  HostRecord* first_for(const HostRecord& home, const Accept& accept) const;

  /// Of two free hosts, whether `a` is to be used first.
  static bool before(const HostRecord& a, const HostRecord& b);

  /// For Pool::invariants().
  bool contains(HostRecord& host) const;
  size_t entries() const;

 private:
  using Set = std::set<FreeKey>;
  static FreeKey key(HostRecord& host) {
    return {host.facts.idle_since, host.facts.id, static_cast<uint32_t>(host.taken()), &host};
  }

  const Census& census_;
  std::vector<Set> open_;                                    // by class
  std::map<std::pair<HostId, Census::Class>, Set> invited_;  // by home and class of the host
};

}  // namespace hob::coordinator
