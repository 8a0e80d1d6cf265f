#pragma once

#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coordinator/census.h"
#include "coordinator/pool_records.h"

namespace hob::coordinator {

/// Requests of one user at one home that any of the same hosts could serve.
struct Lane {
  UserRecord* user = nullptr;
  const HostRecord* home = nullptr;
  /// The hosts that can serve it: these, or with `anywhere` all that take guests of home.
  std::vector<HostId> targets;
  bool anywhere = true;
  /// By what Rank says within one user.
  using Key = std::pair<uint32_t, RequestId>;
  static Key key(const RequestRecord& r) { return {r.client->holding, r.id}; }
  std::map<Key, RequestRecord*> requests;

  Rank rank() const { return Rank::of(*requests.begin()->second); }
};

/// The requests that wait, in the order of Rank.
///
/// The mirror image of FreeHosts: lanes that may go anywhere stand in one order per feature class
/// of their home, lanes that want particular hosts in an order of each of these. So a host that
/// gets a slot free finds the request to serve at the head of a few orders, however many wait for
/// others.
class WaitQueue {
 public:
  explicit WaitQueue(const Census& census) : census_(census) {}

  /// Until erased, the facts of home must not change, nor the ranks of requests other than in
  /// change_holding.
  void insert(RequestRecord& request, const HostRecord& home);
  void erase(RequestRecord& request);

  /// Adds `delta` to what `client` and its user hold, moving their requests to where they belong
  /// now.
  void change_holding(ClientRecord& client, int delta);

  /// The first request that `host` can serve, or null. Log(requests) per feature class, and linear
  /// in the number of requests of one home, and in those that exclude `host`.
  RequestRecord* first_for(const HostRecord& host) const;

  /// The requests that want `host` and no other.
  std::vector<RequestRecord*> only_for(HostId host) const;

  size_t size() const { return size_; }
  /// All lanes, for a look at the head of the queue.
  const std::map<Rank, Lane*>& lanes() const { return order_; }
  /// For Pool::invariants(): all lanes stand where they belong.
  bool consistent() const;

 private:
  using Order = std::map<Rank, Lane*>;
  using LaneName = std::tuple<HostId, bool, HostId, UserId>;  // home, one target?, target, user
  static LaneName name_of(const RequestRecord& request);
  void rank(Lane& lane);
  void unrank(Lane& lane);

  const Census& census_;
  std::map<LaneName, Lane> lanes_;
  Order order_;
  std::vector<Order> anywhere_;  // by class of the home
  std::unordered_map<HostId, Order> wanted_;
  size_t size_ = 0;
};

/// Whether `request` turns `host` down, or wants another.
bool excluded(const Request& request, HostId host);

}  // namespace hob::coordinator
