#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.h"
#include "coordinator/census.h"
#include "coordinator/free_hosts.h"
#include "coordinator/lease.h"
#include "coordinator/pool_records.h"
#include "coordinator/wait_queue.h"

namespace hob::coordinator {

struct PoolConfig {
  /// Which start of the coordinator this is; greater than at all earlier starts. From 1, 24 bits.
  uint32_t epoch = 1;
  /// How long a grant holds without renewal. A home that is cut off loses its guests' slots after
  /// this; homes renew at a third of it.
  Duration lease = seconds(60);
  /// Limits on what one peer can make us remember or look through.
  uint32_t max_wanted = 65536;
  uint32_t max_excluded = 64;
  uint32_t max_waiting_per_home = 4096;
  /// How far fair reclaim looks after each change: so many places at the head of the queue, and for
  /// each of them so many grants that might be taken. Where hosts are alike, the first of each
  /// fits; the limits keep a change cheap in a cell where few hosts suit those who wait.
  uint32_t reclaim_places = 4;
  uint32_t reclaim_grants = 32;
};

/// The host pool of a cell: which host is granted to whom. Facts and a time go in, decisions come
/// out; no I/O, no clock, no threads. `now` never goes back from one call to the next.
///
/// Rules (DESIGN.md, section 7):
/// - The host with fewest guests first: on one host they share its memory, its link and the halves
///   of its cores, and go home together when its owner returns. Of these the longest idle, for it
///   is the least likely to be reclaimed by its owner (Douglis and Ousterhout 1991, section 5).
/// - When none is free, requests wait in the order of Rank: who holds least is served first.
/// - Fair reclaim, as Sprite's migd did it: one grant is asked back from the user who holds most,
/// and
///   of that user's clients the one that holds most, if that user has at least two more than the
///   user who waits. Between clients of one user the same rule holds. What is already promised
///   counts as held, so that the shares meet in the middle and nothing is passed to and fro.
/// - An owner's return revokes at once all grants on the host. A host says IDLE again only when its
///   guests are gone.
///
/// Each call costs log(hosts) per set of processor features, plus the length of the policy lists it
/// touches and of the decisions it returns; fair reclaim is bounded by PoolConfig.
class Pool {
 public:
  explicit Pool(PoolConfig config);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Hosts. -------------------------------------------------------------------------------------

  /// A host joins, comes back, or reports changed facts. What no longer fits them is revoked.
  ///
  /// `serving`: with its first words to this coordinator, the homes of the guests that it has.
  /// While restoring(now) their slots are kept for the grants that these homes will bring back,
  /// until they have spoken (restore) or the host has lost its guests (IDLE).
  Decisions update(const HostFacts& facts, Time now, std::span<const HostId> serving = {});
  /// The frequent case of update(): the state alone. The host must be known.
  Decisions set_state(HostId host, HostState state, Time idle_since, Time now);
  /// The host leaves the cell, with all its clients and requests. Unknown: nothing happens.
  Decisions remove(HostId host, Time now);

  /// After a restart of the coordinator a home tells which grants it holds; `expires` of each is
  /// not looked at. Grants of earlier epochs are taken into the books while restoring(now), as soon
  /// as their host has reported, if it has room and its owner is away. What cannot be is Revoked,
  /// or Expired if the host does not report in time.
  Decisions restore(HostId home, std::span<const Lease> held, Time now);
  /// Until one lease time after the first call: no grant of an earlier epoch can be valid longer,
  /// unless it is restored.
  bool restoring(Time now) const;

  // Clients. -----------------------------------------------------------------------------------

  struct Asked {
    RequestId id;
    /// About this request: Granted for each slot, and then Queued or Refused if some are missing.
    /// Also Reclaim, of others' grants.
    Decisions decisions;
  };
  Asked ask(const Request& request, Time now);
  /// The request waits no longer; what was granted stays. Unknown: nothing happens.
  Decisions cancel(RequestId request, Time now);
  /// How a waiting request stands; nothing if it does not wait.
  std::optional<Queued> waiting(RequestId request) const;

  enum class Renewal : uint8_t {
    renewed,    ///< holds for another lease time
    reclaimed,  ///< holds until it expires, not longer: the guest is to leave
    unknown,    ///< has ended
    not_yet,    ///< may still be restored: ask again
  };
  Renewal renew(LeaseId lease, Time now);
  /// The slot is given back. Unknown: nothing happens, it ended before.
  Decisions release(LeaseId lease, Time now);
  /// The client has ended: all it held is given back, what it wanted is cancelled.
  Decisions client_gone(const Client& client, Time now);

  // Time. --------------------------------------------------------------------------------------

  /// Ends the grants whose time is over.
  Decisions expire(Time now);
  /// When expire() has something to do next.
  std::optional<Time> next_expiry() const;

  // What is in the books. ----------------------------------------------------------------------

  const HostFacts* host(HostId host) const;
  const Lease* lease(LeaseId lease) const;
  /// One that was restored and waits for its host to report: not yet among the grants, but its home
  /// may release it.
  const Lease* claim(LeaseId lease) const;
  uint32_t grants_on(HostId host) const;
  size_t hosts() const { return hosts_.size(); }
  size_t leases() const { return leases_.size(); }
  size_t requests() const { return queue_.size(); }

  /// Empty if all that this class promises of its books holds, else what does not. Looks at
  /// everything: for tests and for a coordinator started with --check-invariants.
  std::string invariants() const;

 private:
  struct HashLease {
    size_t operator()(LeaseId id) const { return std::hash<uint64_t>()(id.value); }
  };
  struct HoldsMost {
    bool operator()(const UserRecord* a, const UserRecord* b) const {
      return std::tie(b->holding, a->id) < std::tie(a->holding, b->id);
    }
  };

  void advance(Time now);
  /// Run `change`, of the state or of the leases of a host, with the host out of all indexes.
  template <class Change>
  void change_state(HostRecord& host, Change change);
  template <class Change>
  void change_slots(HostRecord& host, Change change);

  // Clients and users (pool_books.cc): a record lives while it holds or wants something.
  ClientRecord& client_record(const Client& client);
  void drop_if_idle(ClientRecord& client);
  void change_holding(ClientRecord& client, int delta);
  static void change_promised(RequestRecord& request, int delta);
  LeaseRecord& enter_lease(LeaseId id, HostRecord& host, ClientRecord& client);
  /// Takes a lease out of the books; the host may serve another then.
  void end_lease(LeaseRecord& lease);
  void end_request(RequestRecord& request);
  void enqueue(RequestRecord& request);

  std::vector<RequestRecord*> requests_of(HostId home);
  std::vector<LeaseRecord*> leases_of(HostId home);

  // Selection (pool.cc).
  std::optional<Refusal> impossible(const Request& request) const;
  HostRecord* pick(const Request& request) const;
  void grant(RequestId request, ClientRecord& client, HostRecord& host, Decisions& out);
  void serve(HostRecord& host, Decisions& out);
  Queued queued(const RequestRecord& request) const;

  // Changes of hosts (pool_hosts.cc).
  void settle(HostRecord& host, Decisions& out);
  void revoke(LeaseRecord& lease, Revocation why, Decisions& out);
  void refuse(RequestRecord& request, Refusal why, Decisions& out);
  void revoke_misfits(HostRecord& host, Decisions& out);
  void adopt(const Lease& claim, HostRecord& host, Decisions& out);
  void adopt_claims(HostRecord& host, Decisions& out);
  void await(HostRecord& host, std::span<const HostId> serving);
  void await_no_more(HostId home, Decisions& out);

  // Fair reclaim (pool_reclaim.cc).
  void balance(Decisions& out);
  void reclaim_for(RequestRecord& request, Decisions& out);
  LeaseRecord* find_reclaimable(const RequestRecord& request) const;

  // pool_invariants.cc
  std::string broken_host(const HostRecord& host) const;
  std::string broken_client(const ClientRecord& client) const;
  std::string broken_queue() const;

  const PoolConfig config_;
  std::optional<Time> started_;
  Time now_{};
  uint64_t next_serial_ = 1;
  uint64_t next_request_ = 1;

  std::unordered_map<HostId, HostRecord> hosts_;
  std::unordered_map<LeaseId, LeaseRecord, HashLease> leases_;
  /// Restored grants whose hosts have not reported.
  std::map<LeaseId, Lease> claims_;
  /// Homes that have told which grants they hold; and those that have not, with the hosts that wait
  /// for it.
  std::set<HostId> spoken_;
  std::map<HostId, std::set<HostId>> awaited_at_;
  std::list<LeaseRecord*> by_expiry_;       // the next to expire first
  std::map<Client, ClientRecord> clients_;  // those of one home together
  std::unordered_map<UserId, UserRecord> users_;
  std::set<UserRecord*, HoldsMost> by_holding_;
  std::unordered_map<RequestId, RequestRecord> waiting_;
  Census census_;
  FreeHosts free_{census_};
  WaitQueue queue_{census_};
};

}  // namespace hob::coordinator
