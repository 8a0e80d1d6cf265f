#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "hostd/stdio_relay.h"
#include "migrate/migrate.h"
#include "migrate/sandbox.h"
#include "wire/stream.h"

namespace hob::hostd {

/// The process that starts, holds, captures and restores one guest: one per guest, started by
/// hostd.
///
/// Its life: spare (a sandbox without a guest) -> Start or Receive -> a guest runs -> it ends
/// (Exited, repeated until home has it) or departs (Depart). When a guest has ended and its sandbox
/// is clean, the starter is a spare again, for the same user and home (making a sandbox costs more
/// than `true` does); otherwise it ends too. It outlives a hostd restart: it reconnects and says
/// what it holds (StarterHello). Without a hostd that watches the owner for kUnwatched, it freezes
/// a foreign guest (DESIGN.md section 2: nobody is looking out for the owner).
///
/// Single-threaded while it clones or traces, as the engine asks.
class Starter {
 public:
  struct Options {
    std::string cgroup;   ///< to be made for the sandbox
    std::string socket;   ///< where hostd takes starters back after a restart
    std::string host;     ///< this host's name
    std::string address;  ///< where migrations are received
    std::string pages;    ///< directory for pages that wait (strategy flush)
  };
  /// `channel` is the connection to hostd.
  static Result<std::unique_ptr<Starter>> create(EventLoop& loop, Options options, Fd channel);
  ~Starter();

 private:
  class Source;
  class Target;
  class Restarted;

  Starter(EventLoop& loop, Options options) : loop_(loop), options_(std::move(options)) {}

  // Connection to hostd.
  Result<void> connect(Fd channel);
  void on_channel_lost();
  void try_reconnect();
  void say_hello();
  void on_message(wire::Message message);
  void send(pb::Envelope envelope);
  /// Sends a request and turns the loop until it is answered, through reconnections, for as long as
  /// it takes: for the two questions whose answer cannot be guessed (Commit, Settle).
  /// Failures::ignored: a Failure is no answer either.
  enum class Failures { count, ignored };
  pb::Envelope ask_until_answered(const pb::Envelope& question, Failures failures);

  // The guest's life.
  void on_start(const pb::Envelope& request);
  void on_receive(const pb::Envelope& request);
  void on_restart(const pb::Envelope& request);
  void on_depart(const pb::Depart& depart);
  void on_hurry();
  /// The guest that `arrival` has put into the sandbox runs: its streams, its end, its pages.
  void follow(migrate::Arrival arrival, const pb::StdioState& stdio, bool tell_pages);
  void on_signal(const pb::Signal& signal);
  void on_check(const pb::Envelope& request);
  void look_ahead();
  void let_go();
  Result<void> make_relay(const pb::Program& program);
  Result<void> watch_root();
  void on_root_exit(int status);
  void report_exit();
  void finish_exit();
  bool look_reusable();
  void leave();
  bool foreign() const { return home_ != options_.host; }

  EventLoop& loop_;
  Options options_;
  std::unique_ptr<wire::StreamChannel> channel_;
  EventLoop::Handle reconnect_, unwatched_, repeat_, resend_, arrival_watch_, root_watch_;
  EventLoop::Handle look_, let_go_again_;
  std::vector<std::string> obstacles_seen_, obstacles_told_;  // by look_ahead()
  uint64_t acknowledged_before_ = 0;
  std::optional<migrate::Sandbox> sandbox_;
  std::unique_ptr<StdioRelay> relay_;
  std::optional<migrate::Arrival> arrival_;

  std::string job_, home_;
  pb::Identity identity_;
  uint64_t attempt_ = 0, lease_ = 0;
  bool keep_ = false;
  bool running_ = false;
  bool departing_ = false;                       // in migrate::send()
  std::optional<pb::Depart> depart_when_whole_;  // came while pages of the last move were arriving
  bool hurried_ = false;                         // while departing: the owner is back
  std::optional<int> ended_meanwhile_;           // while departing: the guest's root, and how
  migrate::Guest guest_;
  std::optional<int> exit_status_;
  bool reusable_ = false;       // as its guest ended
  std::string furnished_for_;   // the home whose name and clocks the sandbox shows
  uint64_t cpu_before_ns_ = 0;  // of earlier guests
  uint64_t exit_request_ = 0;   // number of the Exited that waits for home's Done
  uint64_t next_request_ = 1;
  std::optional<pb::Envelope> answer_;  // for ask_until_answered
  uint64_t awaited_ = 0;
  Failures awaited_failures_ = Failures::count;
};

}  // namespace hob::hostd
