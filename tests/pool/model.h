#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/pool.h"

namespace hob::coordinator::test {

/// What the pool promises, said as plainly as possible: lists and loops over all of them, no
/// indexes.
///
/// The model does not decide. It is told each call and the decisions the pool returned, checks that
/// each decision was right at its moment, carries it out on its own books, and says at the end of
/// the call whether anything was left undone. Every answer is empty if all is well, else what is
/// wrong.
class Model {
 public:
  explicit Model(PoolConfig config) : config_(config) {}

  std::map<HostId, HostFacts> hosts;
  std::map<LeaseId, Lease> leases;
  struct Waiting {
    Request request;
    uint32_t missing = 0;
  };
  std::map<RequestId, Waiting> waiting;
  /// Homes of guests for whose grants a slot is kept, after a restart.
  std::map<HostId, std::vector<HostId>> awaited;

  // The caller's part of each call, before its decisions are checked.
  void begin_ask(RequestId id, const Request& request) {
    asking_ = {{id, {request, request.wanted}}};
  }
  void end_lease(LeaseId id);
  void end_request(RequestId id);
  void end_client(const Client& client);

  /// Checks and carries out what a call returned, at time `now`.
  std::string apply(const Decisions& decisions, Time now);
  /// Whether nothing is left to do, and pool and model agree.
  std::string finish(const Pool& pool);

 private:
  std::string apply(const Granted& d, Time now);
  std::string apply(const Queued& d, Time now);
  std::string apply(const Refused& d, Time now);
  std::string apply(const Reclaim& d, Time now);
  std::string apply(const Expired& d, Time now);
  std::string apply(const Revoked& d, Time now);

  bool has_room(const HostFacts& host) const;
  bool could_use(const HostFacts& host, const Request& request) const;
  uint32_t taken(HostId host) const;
  /// Taken, or kept for grants of before a restart.
  size_t used(HostId host) const;
  /// Grants held, those asked back not counted; of one client, or of a user.
  uint32_t holding(const Client& client) const;
  uint32_t holding(UserId user) const;
  uint32_t promised(RequestId request) const;
  uint32_t promised(const Client& client) const;
  uint32_t promised(UserId user) const;
  /// Whether fairness may take this grant for that request.
  bool owes(const Lease& lease, const Waiting& asker) const;

  PoolConfig config_;
  std::map<RequestId, Waiting> asking_;  // the request of this call, at most one
  std::map<LeaseId, RequestId> in_favour_of_;
};

}  // namespace hob::coordinator::test
