#pragma once

#include <cstdint>
#include <list>
#include <set>
#include <tuple>
#include <vector>

#include "coordinator/lease.h"

/// The pool's books, seen by its own files only. Records live in node containers of the Pool, so
/// that pointers to them hold until they are erased.
namespace hob::coordinator {

struct ClientRecord;
struct HostRecord;
struct Lane;
struct LeaseRecord;

/// A place in the order of free hosts: fewest slots taken, then the longest idle first.
struct FreeKey {
  Time idle_since;
  HostId id;
  uint32_t taken;  // beside the id: no larger than without it
  HostRecord* host;
  bool operator<(const FreeKey& other) const {
    return std::tie(taken, idle_since, id) < std::tie(other.taken, other.idle_since, other.id);
  }
};

struct HostRecord {
  /// Of facts.features, in the Census.
  uint32_t feature_class = 0;
  /// Oldest first. Its size is the number of slots taken.
  std::list<LeaseRecord*> leases;
  /// Where it stands in FreeHosts, while it is free and takes guests of everybody: the way out
  /// without a search.
  std::set<FreeKey>::iterator at_free;
  /// After a restart of the coordinator: the homes of guests that this host has and whose grants
  /// are not in the books yet, one entry for each. They take a slot like a grant.
  std::vector<HostId> awaited;
  /// As a home: how many of its requests wait.
  uint32_t waiting = 0;
  HostFacts facts;

  /// Accepts grants, if a slot is left.
  bool open() const {
    return facts.state == HostState::idle || facts.state == HostState::part_used;
  }
  size_t taken() const { return leases.size() + awaited.size(); }
  bool free() const { return open() && taken() < facts.slots; }
};

/// A person who holds or waits for something.
struct UserRecord {
  UserId id{};
  /// Grants held, those asked back not counted.
  uint32_t holding = 0;
  /// Grants asked back in this user's favour and not yet given up.
  uint32_t promised = 0;
  struct MostFirst {
    bool operator()(const ClientRecord* a, const ClientRecord* b) const;
  };
  std::set<ClientRecord*, MostFirst> clients;
  /// Where this user waits.
  std::set<Lane*> lanes;
};

struct RequestRecord {
  RequestId id{};
  Request request;
  uint32_t missing = 0;   ///< slots still wanted
  uint32_t promised = 0;  ///< grants asked back in favour of this request
  ClientRecord* client = nullptr;
  Lane* lane = nullptr;
};

struct ClientRecord {
  Client id;
  UserRecord* user = nullptr;
  uint32_t holding = 0;            ///< as in UserRecord
  uint32_t promised = 0;           ///< as in UserRecord
  std::list<LeaseRecord*> leases;  ///< oldest first
  std::set<RequestRecord*> requests;
};

struct LeaseRecord {
  Lease lease;
  HostRecord* host = nullptr;
  ClientRecord* holder = nullptr;
  /// With lease.reclaimed: the request it was asked back for, which may be over by now.
  RequestId in_favour_of{};
  std::list<LeaseRecord*>::iterator at_host, at_holder, at_expiry;
};

/// The order of the queue: the user with the fewest grants, then that user's client with the
/// fewest, then first come, first served. So whoever has nothing goes before everybody who has
/// something, and nobody who has nothing can be overtaken for ever.
struct Rank {
  uint32_t user_holding = 0;
  uint32_t client_holding = 0;
  RequestId id{};

  static Rank of(const RequestRecord& r) {
    return {r.client->user->holding, r.client->holding, r.id};
  }
  auto operator<=>(const Rank&) const = default;
};

inline bool UserRecord::MostFirst::operator()(const ClientRecord* a, const ClientRecord* b) const {
  return std::tie(b->holding, a->id) < std::tie(a->holding, b->id);
}

}  // namespace hob::coordinator
