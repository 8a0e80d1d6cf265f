#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "hostd/report_queue.h"
#include "wire/zmq.h"

namespace hob::hostd {

class CoordinatorLink;

/// One slot on one host, ours until this object goes. Move-only; dropping it returns the slot to
/// whom it came from: the coordinator (CoordinatorLink), or a local holder (Holdings).
class Grant {
 public:
  using GiveBack = std::function<void(const pb::Granted&)>;
  Grant() = default;
  Grant(pb::Granted granted, GiveBack give_back)
      : give_back_(std::move(give_back)), granted_(std::move(granted)) {}
  Grant(Grant&& other) noexcept;
  Grant& operator=(Grant&& other) noexcept;
  ~Grant() { reset(); }
  explicit operator bool() const { return give_back_ != nullptr; }
  const pb::Granted& operator*() const { return granted_; }
  const pb::Granted* operator->() const { return &granted_; }
  void reset();

 private:
  GiveBack give_back_;
  pb::Granted granted_;
};

/// This host's connection to its coordinator: tells the host's state, asks for grants, renews them.
///
/// A coordinator that is away changes nothing for jobs that run; requests for grants wait for it,
/// and are sent again when it is back. One thread, the loop's.
class CoordinatorLink {
 public:
  struct Events {
    std::function<pb::Hello()> hello;  ///< all soft state, when (re)connecting
    std::function<void(const pb::Welcome&)> welcome;
    std::function<void(const pb::Directory&)> directory;
    std::function<void(const pb::Revoked&)> revoked;
    std::function<void()> report_again;  ///< somebody looks at this host: its report, afresh
    /// The names of this home's jobs that have not ended, sorted. All that is known of the others
    /// has been told when it returns.
    std::function<std::vector<std::string>()> live_jobs;
  };
  static Result<std::unique_ptr<CoordinatorLink>> create(EventLoop& loop, wire::Context& context,
                                                         const std::string& endpoint,
                                                         const wire::Key& coordinator_key,
                                                         const wire::KeyPair& own, Events events);
  ~CoordinatorLink();

  bool connected() const { return connected_; }
  /// What is wrong when not connected: one sentence for people.
  std::string trouble() const;
  std::string unusable(const std::string& why) const;

  /// Reports and ledger entries. History is kept until the ledger has it (ReportQueue); the rest is
  /// dropped while the coordinator is away: Hello says it anew.
  void tell(pb::Envelope envelope);
  /// Something local users asked for. Calls back once.
  void ask(pb::Envelope envelope, Duration limit, wire::Client::OnAnswer on_answer);

  /// What becomes of a request for a grant. `granted` or `failed` ends it; `waiting` comes before,
  /// each time its reason changes.
  struct Wish {
    std::function<void(Grant)> granted;
    std::function<void(const std::string& reason)> waiting;
    std::function<void(const pb::Failure&)> failed;
  };
  /// Returns a number for withdraw(). Never calls back from inside this call.
  uint64_t select(pb::Select select, Wish wish);
  void withdraw(uint64_t number);

  /// Leases of grants that live; for Hello and heartbeats.
  std::vector<pb::HeldLease> held() const;
  /// A grant known from a record (hostd restarted): held again.
  Grant adopt(uint64_t lease, const std::string& host, const std::string& user);

 private:
  CoordinatorLink(EventLoop& loop, std::string endpoint, Events events);
  void greet();
  void on_message(wire::Message message);
  void on_welcome(const pb::Welcome& welcome);
  void on_answer(const pb::Envelope& envelope);
  void on_granted(const pb::Envelope& envelope);
  void send_reports();
  void tell_ledger();
  void send_live_jobs(const std::vector<std::string>& jobs);
  void heartbeat();
  void lost(const std::string& text);
  void greet_again();
  void ask(pb::Envelope envelope, Duration limit, wire::Client::OnAnswer on_answer, bool again);
  Grant own(pb::Granted granted);
  void release(uint64_t lease);
  void send_select(uint64_t number);
  void tell_trouble(uint64_t number);

  struct Pending {
    pb::Select select;
    Wish wish;
  };
  EventLoop& loop_;
  std::string endpoint_;
  Events events_;
  bool connected_ = false;
  bool greeting_again_ = false;  // it has been restarted, and is there
  std::string trouble_ = "not connected yet";
  Duration heartbeat_period_ = seconds(5);
  std::map<uint64_t, Pending> pending_;
  std::map<uint64_t, pb::HeldLease> held_;
  ReportQueue reports_;
  bool live_jobs_due_ = false;                     // when all reports have left
  std::vector<std::function<void()>> unanswered_;  // asked of a coordinator that had been restarted
  uint64_t next_select_;
  uint64_t session_ = 0;  // answers to heartbeats of an earlier one mean nothing
  EventLoop::Handle timer_;
  std::unique_ptr<wire::Client> client_;
};

}  // namespace hob::hostd
