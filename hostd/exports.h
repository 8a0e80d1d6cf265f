#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "hostd/coordinator_link.h"
#include "hostd/holdings.h"
#include "hostd/post.h"
#include "hostd/record.h"
#include "hostd/recorder.h"
#include "wire/stream.h"

namespace hob::hostd {

/// The home side: the jobs that were started on this host, wherever they run.
///
/// Home finds a host for each job, starts it there, carries the bytes between shadow and guest,
/// decides every move (record.h) and brings the job back when its host asks. A job ends when its
/// root process does, or with its shadow. One thread, the loop's.
class Exports {
 public:
  struct Options {
    uint32_t min_uid = 1000;
    bool may_export = true;                  ///< owner's policy: `export` is not "none"
    Duration home_lost_after = minutes(10);  ///< a host that is silent for so long is given up
    std::string memory;                      ///< strategy of moves that ask for none
    // For checkpoints: the recorder's program, where it listens, the group it is born in, and the
    // directory for those that hostd makes by itself.
    std::string starter, address, checkpoints;
    std::shared_ptr<const migrate::Cgroup> recorders;
  };
  Exports(EventLoop& loop, Post& post, RecordStore store, JobNumbers numbers, Options options,
          std::function<void()> changed);
  ~Exports();
  void set_coordinator(CoordinatorLink* coordinator) { coordinator_ = coordinator; }
  void set_holdings(Holdings* holdings) { holdings_ = holdings; }

  /// Takes up the jobs that an earlier hostd of this boot has left; their shadows have kShadowGrace
  /// to come back.
  void recover();

  /// A shadow's connection, of one job or of many (Run in wire/hob.proto). The channel's messages
  /// go to on_shadow_message.
  using Shadow = std::shared_ptr<wire::StreamChannel>;
  void on_run(const Shadow& shadow, const wire::PeerIdentity& who, const pb::Envelope& request);
  void on_attach(const Shadow& shadow, const wire::PeerIdentity& who, const pb::Envelope& request);
  void on_shadow_message(const Shadow& shadow, wire::Message message);
  void on_shadow_gone(const wire::StreamChannel* shadow);

  /// Messages of our jobs from the hosts where they run. False if it was not about one of them.
  bool on_message(const std::string& from, wire::Message& message, const Post::Reply& reply);
  void on_revoked(const pb::Revoked& revoked);

  /// For `remote migrate`: to `host`, or home if empty; by `memory`, or as the job's moves go if
  /// empty. Calls back once with Done or Failure.
  void migrate(const std::string& job, const std::string& host, const std::string& memory,
               std::function<void(pb::Envelope)> on_end);
  /// The same to the slot of that lease, which a holder of the job's user has.
  void migrate_to_slot(const std::string& job, uint64_t lease,
                       std::function<void(pb::Envelope)> on_end);
  /// For `remote checkpoint`: into the file, with the rights of the job's user. `memory` is
  /// freeze-copy or pre-copy (empty). Calls back once.
  void checkpoint(const std::string& job, const std::string& path, const std::string& memory,
                  std::function<void(Result<uint64_t> size)> on_end);
  /// For `remote check`: asks the host where it runs. Calls back once with Checked or Failure.
  void check(const std::string& job, bool table, std::function<void(pb::Envelope)> on_end);
  /// For `remote kill`; 0 ends it for good. False: no such job.
  bool signal(const std::string& job, int number);
  /// The job of that id, or of this host's that number; empty if there is none. Nothing shorter:
  /// jobs are counted, so when h0.1 has ended, h0.17 must not be taken for it.
  std::string resolve(const std::string& name) const;
  uint32_t uid_of(const std::string& job) const;

  std::vector<pb::JobStatus> list() const;
  /// Some of our jobs run on other hosts and may come home at any moment.
  bool any_abroad() const;
  /// The names of all our jobs that have not ended, sorted. The ledger has been told of the others.
  std::vector<std::string> live_jobs();

 private:
  struct Move {
    uint64_t attempt = 0;
    std::string from, target, reason, memory;
    Grant grant;  // of the target, if it is another host
    bool arrived = false, departed = false;
    pb::MoveFigures source, pages;
    std::function<void(pb::Envelope)> on_end;
    EventLoop::Handle limit, repeat;
    bool pages_in() const;
  };
  /// A checkpoint that is being made.
  struct Saving {
    uint64_t number = 0;
    std::string memory;
    std::unique_ptr<Recorder> recorder;
    std::function<void(Result<uint64_t> size)> on_end;
  };
  struct Export {
    explicit Export(pb::ExportRecord state) : record(std::move(state)) {}
    Record record;
    Shadow shadow;
    std::string command;
    enum class Phase { waiting, starting, running, ended } phase = Phase::waiting;
    uint64_t select = 0;  // number of the wish, while waiting
    uint64_t holder = 0;  // who held the slot it was started on (Holdings); 0: nobody
    Grant grant;
    std::unique_ptr<Move> move;
    std::unique_ptr<Move> last_move;  // committed; its figures are still coming
    std::unique_ptr<Saving> saving;
    EventLoop::Handle save_timer;
    std::optional<WallTime> saved_wall;  // its own latest checkpoint, of --checkpoint-every
    std::string save_trouble;            // why the latest could not be made, as told
    std::string starting_on, waiting_reason, suspended;
    uint64_t start_request = 0;                 // of starting_on's
    std::string recall;                         // why it is to come home, as soon as it can
    bool frozen = false;                        // as its host said when it asked to be rid of it
    bool stopped = false;                       // by SIGSTOP from its shadow or `remote kill`
    std::vector<std::string> refused_by;        // hosts that did not honour a grant for it
    std::vector<wire::Message> held;            // signals that came while it moved
    std::string trouble;                        // why the last move failed, as told
    uint64_t stdout_seen = 0, stderr_seen = 0;  // of its output, without a gap
    bool on_file = false;                       // its record
    bool told_end = false;  // the ledger knows how it ended, or never heard of it
    EventLoop::Handle shadow_limit, reclaim_timer;
    Time site_heard{};
    bool site_silent = false;
    unsigned tries = 0, moves = 0, denials = 0;
    const std::string& job() const { return record.state().job(); }
  };
  using ExportPtr = std::shared_ptr<Export>;

  ExportPtr find(const std::string& job) const;
  std::string new_job_id();
  /// The job that a shadow speaks of: the one named, or its only one. Nothing: it has ended.
  ExportPtr of_shadow(const wire::StreamChannel* shadow, const std::string& job) const;
  void leave_shadow(const Export& e);
  pb::Envelope failed(const ExportPtr& e, pb::Failure::Kind kind, const std::string& text) const;
  // Finding a host.
  void look_for_host(const ExportPtr& e);
  void on_granted(const ExportPtr& e, Grant grant);
  void start_on(const ExportPtr& e, const std::string& host);
  void not_honoured(const ExportPtr& e, const std::string& host, const pb::Failure& failure);
  void on_started(const ExportPtr& e, const std::string& host);
  void on_ended(const ExportPtr& e, const pb::Exited& exited);
  void on_start_answer(const ExportPtr& e, const std::string& host, const pb::Envelope& answer);
  // While it runs.
  /// The answer to Start takes another connection than everything else its host says, which may be
  /// quicker, and of a short job it is not sent at all: one that speaks or ends has started.
  ExportPtr begun(const std::string& job, const std::string& from);
  bool speaks_for(const Export& e, const std::string& host) const;
  void note_output(Export& e, const pb::Data& data, size_t size);
  bool all_seen(const Export& e, const pb::Exited& exited) const;
  void answer_signal(const ExportPtr& e, const pb::Envelope& request);
  bool on_stream(const std::string& from, wire::Message& message);
  void on_exited(const std::string& from, const pb::Exited& exited, const Post::Reply& reply);
  bool on_suspended(const std::string& from, const pb::Suspended& suspended);
  void on_obstacles(const std::string& from, const pb::Obstacles& obstacles);
  void on_lost(const std::string& from, const pb::Lost& lost);
  bool on_where_is(const std::string& from, const pb::WhereIs& where_is, const Post::Reply& reply);
  void look_for_sites();
  void look_for_site(const ExportPtr& e);
  // Moving.
  void begin_move(const ExportPtr& e, const std::string& target, const std::string& reason,
                  std::function<void(pb::Envelope)> on_end, Grant grant = {},
                  const std::string& memory = {});
  void on_listening(const ExportPtr& e, uint64_t attempt, const pb::Envelope& answer,
                    const std::string& key);
  void on_evict_request(const std::string& from, const pb::EvictRequest& evict,
                        const Post::Reply& reply);
  void on_commit(const std::string& from, const pb::Commit& commit, const Post::Reply& reply);
  void on_settle(const std::string& from, const pb::Settle& settle, const Post::Reply& reply);
  bool on_arrived(const std::string& from, const pb::Arrived& arrived);
  bool on_pages_in(const std::string& from, const pb::PagesIn& pages_in);
  /// Its last move has got so far that it could move again: all of its pages have left the host
  /// before, and nothing of it is left here, where all of its moves are decided.
  bool may_move(const Export& e) const;
  void recall(const ExportPtr& e);
  void on_departed(const std::string& from, const pb::Departed& departed);
  void send_held(const ExportPtr& e);
  void give_up_move(const ExportPtr& e, const std::string& why);
  void note_move(const ExportPtr& e);
  /// The committed move will tell no more: what it still holds is given back.
  void close_move(const ExportPtr& e, const std::string& why);
  // Checkpoints.
  void copy_to(const ExportPtr& e, const pb::Listening& listening, const std::string& key);
  void on_copied(const ExportPtr& e, const pb::Departed& departed);
  void end_saving(const ExportPtr& e, Result<uint64_t> size);
  std::string own_checkpoint(const Export& e) const;
  void save_now_and_then(const ExportPtr& e);
  /// False: it has none. Else the job has been started again from it.
  bool go_on_from_checkpoint(const ExportPtr& e, const std::string& why);
  // Ending.
  void lose(const ExportPtr& e, const std::string& why);
  void fail(const ExportPtr& e, pb::Failure::Kind kind, const std::string& text);
  void forget(const ExportPtr& e);
  void end_everywhere(const ExportPtr& e);

  void to_shadow(const ExportPtr& e, wire::Message message);
  void note(const ExportPtr& e, const std::string& text, bool silence = false);
  void save(const ExportPtr& e);
  void report(const ExportPtr& e, pb::JobReport::State state, int status = 0,
              const std::string& text = {});
  /// The part of report() for who holds the slot it was started on.
  void tell_holder(const ExportPtr& e, pb::JobReport::State state);
  void send_reports();
  void report_move(const ExportPtr& e, const Move& move, bool moved, const std::string& text);

  EventLoop& loop_;
  Post& post_;
  RecordStore store_;
  JobNumbers numbers_;
  Options options_;
  std::function<void()> changed_;
  CoordinatorLink* coordinator_ = nullptr;
  Holdings* holdings_ = nullptr;
  std::map<std::string, ExportPtr> exports_;
  std::map<const wire::StreamChannel*, std::set<std::string>> by_shadow_;
  EventLoop::Handle site_timer_, reports_timer_;
  std::vector<pb::JobReport> reports_;  // of jobs on held slots, for the ledger
  uint64_t copies_ = 0;                 // checkpoints begun
};

}  // namespace hob::hostd
