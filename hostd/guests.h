#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "hostd/admission.h"
#include "hostd/evictions.h"
#include "hostd/post.h"
#include "migrate/cgroup.h"
#include "migrate/program.h"
#include "wire/stream.h"

namespace hob::hostd {

/// The executing side: the guests on this host, one starter process each, among them this host's
/// own jobs that run at home (which the owner's return does not touch).
///
/// Messages of a job come from its home through Post and go on to its starter, and the other way.
/// The owner's return turns away who is on his way here and has not asked for the commit, and
/// freezes every foreign guest at once and asks its home to take it back, again
/// and again until it has left. One thread, the loop's.
class Guests {
 public:
  struct Options {
    std::string starter;         ///< path of hob-starter
    std::string starter_socket;  ///< where starters come back after a restart of hostd
    std::string cgroup;   ///< v2 path below which each guest has its own; `starters` beside it
    std::string pages;    ///< directory for pages that wait
    std::string address;  ///< where starters of this host receive migrations
    uint64_t memory_limit = 0;  ///< per guest, bytes; 0: none
    Duration home_lost_after = minutes(10);
    size_t spares = 1;  ///< starters kept ready while guests are welcome
  };
  Guests(EventLoop& loop, Post& post, Options options, std::function<void()> changed);
  ~Guests();

  /// Must be called once: opens the socket for starters that outlived an earlier hostd.
  Result<void> start();

  /// Start, Receive, Depart, Kill, Data, Ack, Signal, WindowSize, Attach, Abandon, WhereIs, Check
  /// of jobs that are here. False if it was none of these or the job is unknown here.
  bool on_message(const std::string& from, wire::Message& message, const Post::Reply& reply);

  /// What to ask of newcomers; guests and slots are filled in here.
  void set_admission(Admission admission);
  /// Spares are kept only while guests, or our own jobs from abroad, may come.
  void set_spares(bool wanted);

  /// Freezes all foreign guests, at once, and sends them home.
  void owner_returned(const std::string& reason);
  /// Whoever is still here, frozen, goes on.
  void owner_away();
  /// Sends one guest (or all: empty) home although the owner is away, also one that could not be
  /// moved before. Calls back once: see Evictions; Failure NOT_FOUND if there is no such guest.
  void evict(const std::string& job, const std::string& reason, Evictions::OnEnd on_end);

  size_t foreign_count() const;
  std::vector<pb::JobStatus> list() const;
  std::vector<std::string> jobs() const;
  /// Pids of starters: not the owner's activity.
  std::vector<pid_t> starter_pids() const;
  /// Ends every guest and starter here; for tests and for leaving the cell.
  void kill_all();

 private:
  static constexpr char kJustStarted[] = "hob was started again, and the owner may be back";
  enum class Phase { spare, starting, arriving, running, leaving, done };
  struct Guest {
    std::string job, home;
    pb::Identity identity;
    std::string command;
    uint64_t lease = 0, attempt = 0;
    bool keep = false, commit_asked = false;
    Phase phase = Phase::spare;
    bool used = false;  // a spare that has served this home and user; good for no other
    EventLoop::Handle unused_limit;
    pid_t starter = 0;
    std::string cgroup;
    std::optional<migrate::Cgroup> group;  // held open from the start: freezing looks nothing up
    std::unique_ptr<wire::StreamChannel> channel;
    EventLoop::Handle exit_watch, channel_limit;
    Fd pidfd;
    std::map<uint64_t, Post::Reply> replies;  // of requests passed on to the starter
    bool brief = false;                       // Started may turn out not to be worth a message
    EventLoop::Handle started_later;          // until it is known
    bool leads_home = false;                  // its last move
    bool frozen = false;
    Time frozen_at{};
    uint64_t frozen_wall_ns = 0;
    Duration lead{0};      // frozen before the engine began
    std::string evicting;  // reason; empty: not being sent home
    EventLoop::Handle again;
    std::string suspended;  // why it cannot leave
    Time home_heard{};
    Duration patience{0};  // how long home may be silent; 0: Options::home_lost_after
    uint64_t started_wall_ns = 0;
  };
  using GuestPtr = std::shared_ptr<Guest>;

  Result<GuestPtr> spawn();
  Result<void> attach(const GuestPtr& guest, Fd channel);
  Result<void> watch_starter(const GuestPtr& guest);
  Result<GuestPtr> take_spare(const std::string& home, const pb::Identity& identity, bool unused);
  void keep_spares();
  void drop_spare(Guest& spare);
  void clear_group(const std::string& path, Time limit);
  GuestPtr find(const std::string& job);
  void on_starter_message(const GuestPtr& guest, wire::Message message);
  void on_hello(const GuestPtr& guest, const pb::StarterHello& hello);
  void on_starter_gone(const GuestPtr& guest);
  void on_departed(const GuestPtr& guest, pb::Departed& departed);
  void pass_to_starter(const GuestPtr& guest, wire::Message message, const Post::Reply& reply);
  void ask_home(const GuestPtr& guest, pb::Envelope envelope);
  void begin(const std::string& from, wire::Message& message, const Post::Reply& reply);
  void depart(const GuestPtr& guest, wire::Message message);
  void open_group(Guest& guest);
  void freeze(Guest& guest);
  /// Its starter has stopped all of it to move it.
  static bool in_the_engines_hands(const Guest& guest);
  /// Of one that has just been frozen: in the engine's hands it stands still already, and frozen it
  /// could not do what the engine has it do. In this order one of the two sees the other: the
  /// engine looks for a freeze when it has stopped the guest (Captives).
  void leave_to_engine(const GuestPtr& guest);
  void watch_engine(const GuestPtr& guest);
  void hasten(const Guest& guest);
  void thaw(Guest& guest);
  void stop_start(const GuestPtr& guest);
  static void give_up_start(Guest& guest);
  /// Ends one that is on its way here and has not asked for the commit, and tells home why.
  void turn_away(Guest& guest);
  void send_home(const GuestPtr& guest);
  void ask_again(const GuestPtr& guest);
  /// Its starter has nothing left to do: killed if it has not ended in a moment.
  void expect_end(const GuestPtr& guest);
  void kill(const GuestPtr& guest);
  void look_for_homes();
  bool foreign(const Guest& guest) const { return guest.home != post_.own_name(); }

  EventLoop& loop_;
  Post& post_;
  Options options_;
  std::function<void()> changed_;
  Admission admission_;
  bool owner_present_ = true;             // fail closed: until the state machine says otherwise
  std::string unwelcome_ = kJustStarted;  // why guests may not be here, while owner_present_
  bool spares_wanted_ = false;
  uint64_t next_cgroup_ = 1, next_request_ = 1;
  Evictions evictions_;
  std::optional<migrate::Cgroup> starters_;  // the group they are born in
  std::vector<GuestPtr> guests_;
  std::unique_ptr<wire::StreamListener> listener_;
  EventLoop::Handle home_timer_;
  std::map<std::string, EventLoop::Handle> clearing_;  // groups of dead starters
};

}  // namespace hob::hostd
