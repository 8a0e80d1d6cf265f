#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/event_loop.h"
#include "hostd/coordinator_link.h"
#include "wire/stream.h"

namespace hob::hostd {

/// Grants that local programs hold for many jobs, one after another: a build asks once, not for
/// each compile.
///
/// A holder says how many slots it wants; so many requests wait at the coordinator, and what comes
/// is the holder's until it wants less, ends, or loses it to the host's owner or to fairness
/// (Revoked). A job of the same user is put on a slot with lend(): the slot is the job's until its
/// Grant goes, and then the holder's again. A slot that is to leave while a job has it leaves with
/// the job. One thread, the loop's.
class Holdings {
 public:
  using Channel = std::shared_ptr<wire::StreamChannel>;
  Holdings(EventLoop& loop, CoordinatorLink& coordinator, std::string own_name);
  ~Holdings();

  /// `pmake`'s request and its end.
  void on_hold(const Channel& channel, const wire::PeerIdentity& who, const pb::Envelope& request);
  void on_gone(const wire::StreamChannel* channel);

  /// The slot of that lease for one job of user `uid`. Nothing: it has left, another job has it, or
  /// it is not his.
  std::optional<Grant> lend(uint64_t lease, uint32_t uid);
  /// The host did not honour the lease: it is not lent again. Nothing happens if it is not one of
  /// ours.
  void refused(uint64_t lease);
  /// From the coordinator. A slot that no job has leaves at once.
  void on_revoked(const pb::Revoked& revoked);
  /// Whether a holder has it, so that a reclaim may wait a little for the end of a short job.
  bool holds(uint64_t lease) const { return holder_of_.contains(lease); }
  /// News of a job for who holds, or held, the slot it was started on; nothing if he has gone.
  void tell(uint64_t holder, pb::HeldJob news);
  /// The number of the holder that has the lease, for tell(); 0: nobody.
  uint64_t holder(uint64_t lease) const;

 private:
  struct Slot {
    Grant grant;  // empty while a job has it
    std::string host;
    bool leaving = false;
  };
  struct Holder {
    uint64_t number = 0;
    Channel channel;
    std::string user;
    uint32_t uid = 0;
    uint32_t wanted = 0;
    std::set<uint64_t> wishes;       // numbers of requests at the coordinator
    std::map<uint64_t, Slot> slots;  // by lease; leases are counted, so the longest held first
    std::string waiting;             // why there are not more
    bool telling = false;            // Holding is about to be sent
    std::string told;                // the latest
  };
  using HolderPtr = std::shared_ptr<Holder>;

  void adjust(const HolderPtr& holder);
  void wish(const HolderPtr& holder);
  void enter(const HolderPtr& holder, Grant grant);
  void remove(const HolderPtr& holder, uint64_t lease);
  void take_back(uint64_t number, Grant grant);
  void tell_soon(const HolderPtr& holder);
  HolderPtr find(uint64_t number) const;

  EventLoop& loop_;
  CoordinatorLink& coordinator_;
  std::string own_name_;
  uint64_t last_ = 0;
  std::map<const wire::StreamChannel*, HolderPtr> holders_;
  std::map<uint64_t, HolderPtr> holder_of_;  // by lease
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace hob::hostd
