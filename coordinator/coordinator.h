#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "config/config.h"
#include "coordinator/ledger.h"
#include "coordinator/pool.h"
#include "coordinator/registry.h"
#include "wire/stream.h"
#include "wire/zmq.h"

namespace hob::coordinator {

/// Whether the policies of a host's report are of a length that HostList allows; an Error says what
/// to change. The rest of a report is cut to size where it is used.
Result<void> check_policies(const pb::HostReport& report);

/// The cell's coordinator: hosts tell it how they stand, homes ask it for grants. The pool decides;
/// this class carries facts in and decisions out, and writes down what happened. It never touches
/// job data.
///
/// After a restart it knows the hosts and the history from the ledger; who is idle and who holds
/// what comes back with each host's Hello. One event loop, one thread.
class Coordinator {
 public:
  static Result<std::unique_ptr<Coordinator>> create(EventLoop& loop, CoordinatorConfig config);
  ~Coordinator();
  /// Writes what is still in memory to the ledger.
  void flush();

 private:
  Coordinator(EventLoop& loop, CoordinatorConfig config, Ledger ledger);

  /// What is known of a host since this coordinator started.
  struct Host {
    HostId id{};
    wire::Server::Connection connection;  // empty: it has not said Hello
    pb::HostReport report;
    Time seen{};
    std::string grant_key;
    bool down = true;
    // Of its numbered reports on this connection: the latest that was taken, the latest answered.
    uint64_t told = 0, answered = 0;
    bool must_repeat = false;  // one was not taken; what comes after it neither, until a Hello
  };
  struct Asked {  // a Select that waits in the pool's queue
    std::string home;
    uint64_t number = 0;
    std::string host;    // the only one that will do; empty: any
    std::string reason;  // as told last
  };
  struct HostQuery {  // a `remote hosts` that waits for fresh reports
    wire::Server::Connection connection;
    pb::Envelope request;
    std::set<std::string> awaited;
    EventLoop::Handle limit;
  };

  // From hosts.
  void on_message(const std::string& peer, const wire::Server::Connection& connection,
                  wire::Message message);
  void enter(const std::string& name, HostId id);
  void on_join(const std::string& peer, const wire::Server::Connection& connection,
               const pb::Envelope& request);
  void on_hello(const std::string& peer, const wire::Server::Connection& connection,
                const pb::Envelope& request);
  void on_report(const std::string& peer, const pb::HostReport& report,
                 const std::vector<HostId>& serving = {});
  /// Of the guests that a host has.
  std::vector<HostId> homes_of(const pb::Hello& hello) const;
  void on_heartbeat(const std::string& peer, const wire::Server::Connection& connection,
                    const pb::Envelope& request);
  void on_select(const std::string& peer, const pb::Envelope& request);
  void on_withdraw(const std::string& peer, const pb::Withdraw& withdraw);
  void on_list_hosts(const wire::Server::Connection& connection, const pb::Envelope& request);
  void answer_hosts(HostQuery& query);
  pb::Envelope list_jobs(const pb::ListJobs& request);
  pb::Envelope history(const std::string& peer, const pb::ListHistory& request);

  // The pool.
  HostFacts facts_of(const std::string& name, const Host& host) const;
  Policy policy_of(const pb::Policy& policy) const;
  CpuFeatures features_of(const std::string& names);
  /// The names of those that every host has which has ever told its own, also if it is away now.
  const std::string& common_features();
  UserId user_number(const std::string& name);
  void apply(const Decisions& decisions);
  void apply(const Granted& granted);
  std::string why_none(const Asked& asked, const Availability& hosts) const;
  void apply(const Queued& queued);
  void apply(const Refused& refused);
  void apply(const Reclaim& reclaim);
  void apply(const Expired& expired);
  void apply(const Revoked& revoked);
  void tell_revoked(const Lease& lease, bool reclaim, const std::string& reason);
  void tell_changed_reasons();
  void check_liveness();
  void arm_expiry();

  // Out.
  void send(const std::string& host, pb::Envelope envelope);
  void broadcast_directory();

  // What happened. False: it was not kept.
  /// Text of a host, for people: enough for a sentence, too little to fill the ledger.
  static std::string shortened(const std::string& text);
  void on_history(const std::string& peer, const pb::Envelope& envelope);
  bool take_history(const std::string& peer, const pb::Envelope& envelope);
  bool on_job_report(const std::string& peer, const pb::JobReport& report);
  bool on_move_report(const std::string& peer, const pb::MoveReport& report);
  bool on_live_jobs(const std::string& peer, const pb::LiveJobs& live);
  bool record(Row row);
  void arm_commit();
  void commit();
  Result<void> write();
  void answer_history(const std::string& name, Host& host);
  void want_again(const std::string& name, Host& host);

  // Root on this machine.
  Result<void> serve_administrator();
  pb::Envelope remove(const std::string& name);
  pb::Envelope administer(const pb::Envelope& request);

  EventLoop& loop_;
  CoordinatorConfig config_;
  wire::KeyPair keys_;
  Ledger ledger_;
  Pool pool_;
  std::optional<Registry> registry_;
  std::unique_ptr<wire::Context> context_;
  std::unique_ptr<wire::Server> server_;
  std::map<std::string, Host> hosts_;
  std::map<std::string, UserId> users_;
  std::vector<std::string> user_names_;
  std::map<std::string, size_t> feature_bits_;
  std::optional<std::string> common_features_;  // until one is told anew
  std::map<RequestId, Asked> asked_;
  std::map<std::pair<std::string, uint64_t>, RequestId> asked_by_;
  std::vector<std::shared_ptr<HostQuery>> queries_;

  std::unique_ptr<wire::StreamListener> admin_listener_;
  std::map<const wire::StreamChannel*, std::unique_ptr<wire::StreamChannel>> administrators_;
  EventLoop::Handle commit_timer_, liveness_timer_, expiry_timer_, reason_timer_;
  bool ledger_in_trouble_ = false;
};

}  // namespace hob::coordinator
