#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "config/config.h"
#include "hostd/activity.h"
#include "hostd/coordinator_link.h"
#include "hostd/exports.h"
#include "hostd/guests.h"
#include "hostd/holdings.h"
#include "hostd/load.h"
#include "hostd/owner.h"
#include "hostd/post.h"
#include "migrate/urgency.h"
#include "wire/stream.h"

namespace hob::hostd {

/// One workstation's daemon: watches the owner, reports to the coordinator, keeps this host's
/// guests and this host's jobs, and serves local users over a unix socket.
///
/// This class only wires its parts together; what each decides stands in its own header. One event
/// loop, one thread.
class Hostd {
 public:
  /// Everything that can fail at start-up: keys, sockets, cgroup, records. `starter` is the path of
  /// hob-starter.
  static Result<std::unique_ptr<Hostd>> create(EventLoop& loop, HostdConfig config,
                                               std::string starter);
  ~Hostd();

  /// Sends all guests home; calls back when none is left or after `limit`. For a clean end.
  void leave(Duration limit, std::function<void()> on_end);

 private:
  Hostd(EventLoop& loop, HostdConfig config) : loop_(loop), config_(std::move(config)) {}

  // The owner.
  Result<void> watch_owner();
  void on_input(Owner::Source source, Time when, std::string_view what);
  void sample_load();
  void judge();
  std::string why_unwelcome(HostState state, Time now, WallTime wall) const;
  void rank(bool guests_run);
  void restore_pause();
  void set_pause(bool on, std::optional<WallTime> until);

  // The cell.
  pb::HostReport report() const;
  void report_changes();
  void on_welcome(const pb::Welcome& welcome);
  void on_peer_message(const std::string& from, wire::Message message, const Post::Reply& reply);

  // Local users.
  struct Session {
    std::shared_ptr<wire::StreamChannel> channel;
    wire::PeerIdentity who;
    bool from_job = false;  // inside a guest: gets an explanation, and nothing else
  };
  Result<void> serve_local_users();
  void on_session(Fd socket);
  void on_local_message(const wire::StreamChannel* channel, wire::Message message);
  pb::Envelope pause(const pb::Pause& pause);
  pb::JobList list_jobs() const;
  pb::JobList with_ended(const pb::JobList& ledger) const;
  std::optional<pb::Envelope> refusal(const Session& session, const std::string& verb,
                                      const std::string& name) const;
  void kill_job(const Session& session, const pb::Envelope& request);
  void check_job(const Session& session, const pb::Envelope& request);
  void hold(const Session& session, const pb::Envelope& request);
  void migrate_job(const Session& session, const pb::Envelope& request);
  void checkpoint_job(const Session& session, const pb::Envelope& request);
  void ask_coordinator(const Session& session, const pb::Envelope& request);
  void answer_later(const std::weak_ptr<wire::StreamChannel>& channel, uint64_t request,
                    pb::Envelope envelope);

  EventLoop& loop_;
  HostdConfig config_;
  wire::KeyPair keys_;
  std::string grant_key_, earlier_grant_key_;

  std::unique_ptr<wire::Context> context_;
  std::unique_ptr<Post> post_;
  std::unique_ptr<CoordinatorLink> coordinator_;
  std::unique_ptr<Holdings> holdings_;  // before exports_, which lends from it
  std::unique_ptr<Guests> guests_;
  std::unique_ptr<Exports> exports_;

  std::optional<Owner> owner_;
  std::optional<LoadMeter> load_;
  std::vector<std::unique_ptr<InputSource>> sources_;
  unsigned slots_ = 1;
  bool guests_allowed_ = false;
  std::optional<migrate::FirstOfAll> first_of_all_;  // while guests run
  std::string last_report_;
  bool reported_accepting_ = false;

  std::unique_ptr<wire::StreamListener> local_listener_;
  std::map<const wire::StreamChannel*, Session> sessions_;
  EventLoop::Handle deadline_, load_timer_, leave_timer_, report_timer_;
};

}  // namespace hob::hostd
