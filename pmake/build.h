#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "pmake/arguments.h"
#include "pmake/away.h"
#include "pmake/jobserver.h"
#include "pmake/output_file.h"
#include "pmake/placement.h"
#include "pmake/schedule.h"
#include "pmake/timeline.h"
#include "pmake/visitor.h"
#include "wire/stream.h"

namespace hob::pmake {

/// One build: the user's make as a child, a server for its recipes' shells (recipe.h), and a holder
/// of slots at hostd. Or the standing build (stand.h): without a child, for `remote cc`. Shells
/// come in two ways: to the door, where pmake is the shadow of what they want run (visitor.h,
/// away.h), or, whole, to the socket, and are their jobs' shadows themselves.
///
/// Decisions are schedule.h's; this class brings it the facts and carries out what it says. Without
/// a hostd everything runs at home, as make would. One thread, the loop's.
class Build {
 public:
  /// Makes a private directory with the socket and the makefile that puts recipe.h under every
  /// recipe. `shell` is the path of that program.
  static Result<std::unique_ptr<Build>> create(EventLoop& loop, Tool tool, Options options,
                                               Rules rules, std::string shell);
  ~Build();

  /// Runs it all. How the tool ended, as waitpid(2) tells it; 0 for the standing build.
  Result<int> run();
  const Timeline& timeline() const { return timeline_; }
  Duration wall() const { return ended_ - began_; }

 private:
  Build(EventLoop& loop, Tool tool, Options options, Rules rules, std::string shell);
  Result<void> prepare();
  Result<void> prepare_stand();
  Result<void> prepare_directory();
  void on_signal(int signal, bool from_terminal);
  void interrupt(int signal);
  void interrupt_recipes(int signal, int looks);
  void tell_away(int signal);
  void stop();

  // The tool.
  Result<void> start_tool();
  std::vector<std::string> tool_arguments() const;
  void set_environment() const;

  // hostd.
  void connect_hostd();
  void on_hostd_message(const wire::Message& message);
  void on_hostd_gone(const Error& reason);
  void on_holding(const pb::Holding& holding);
  void go_on();
  void on_held_job(const pb::HeldJob& news);
  void order(const Schedule::SendOut& order);
  void want();

  // Recipes.
  struct Line {
    std::shared_ptr<wire::StreamChannel> channel;  // of a whole shell
    // Of one at the door.
    std::unique_ptr<Visitor> visitor;
    DoorRequest asked;
    std::vector<std::string> argv;  // what is to run
    OutputFile file;
    std::unique_ptr<Away> away;  // while it is out
    uint64_t number = 0;         // 0: has not asked yet
    uint64_t request = 0;        // to be answered with its place
    std::string job;             // while it is out, or has come home
    std::string target, command, why_home, why_moving;
    bool may_leave = true;
    bool placed = false;
    bool begun = false;  // the timeline has it

    Fd process;  // pidfd of one that runs at home
    EventLoop::Handle process_watch;
    pid_t pid = 0;
    std::string label() const { return target.empty() ? "a recipe" : target; }
  };
  using LinePtr = std::shared_ptr<Line>;
  void on_connection(Fd socket);
  void on_recipe(const LinePtr& line, const pb::Envelope& request);
  void place(const Schedule::Placed& placed);
  void watch_process(const LinePtr& line);
  /// To its job, where that is away; one that waits for its place ends of what would end it.
  void signal_line(const LinePtr& line, int signal);
  void begin(Line& line, const std::string& host, const std::string& why_home);
  void on_line_closed(const LinePtr& line);
  void end_line(const LinePtr& line);
  /// Its slot is free; its shell may still have to hear of that.
  void end_recipe(Line& line);
  LinePtr find(uint64_t number) const;

  // Those at the door.
  void on_visitor(Fd socket);
  void on_wish(const LinePtr& line, DoorRequest request);
  void on_visitor_gone(const LinePtr& line);
  void send_away(const LinePtr& line, uint64_t lease);
  void send_for(const LinePtr& line, wire::Message message, bool answered);
  void on_away_message(const LinePtr& line, const wire::Message& message);
  void on_away_end(const LinePtr& line, const Away::Ending& ending);
  void forget_away(Line& line);
  bool to_away(const wire::Message& message);

  /// After every change: decides, hands out tokens, asks for slots.
  void settle();
  void linger();
  /// How many tokens nobody uses; see Schedule::wanted.
  uint32_t idle_tokens() const;
  void show_watch();
  Duration now() const { return Clock::now() - began_; }

  EventLoop& loop_;
  Tool tool_;
  Options options_;
  Rules rules_;
  std::string shell_;
  std::string directory_;  // private; removed at the end
  std::string home_;
  Schedule schedule_;
  Timeline timeline_;
  Time began_{}, ended_{};

  Fd stand_lock_;
  std::unique_ptr<Jobserver> jobserver_;
  std::unique_ptr<wire::StreamListener> listener_, door_;
  std::unique_ptr<wire::StreamChannel> hostd_;
  std::map<uint64_t, std::function<void(const pb::Envelope&)>> answers_;  // of hostd, by request
  uint64_t last_request_ = 0, last_recipe_ = 0;
  uint32_t wanted_ = 0;
  bool hostd_said_ = false;  // that it cannot be used
  std::map<const Line*, LinePtr> lines_;
  std::map<uint64_t, LinePtr> by_number_;
  std::map<std::string, LinePtr> by_job_;                 // while pmake is the shadow
  std::map<uint64_t, std::weak_ptr<Line>> away_answers_;  // of hostd, by request
  pid_t tool_pid_ = 0;
  std::optional<int> status_;
  int interrupted_ = 0;  // by this signal: no recipe begins any more
  bool settling_ = false;
  bool answered_ = false;  // hostd has said which slots there are, or cannot
  std::string watch_said_;
  EventLoop::Handle signals_, child_, tick_, next_, again_, answer_limit_, linger_, interrupt_,
      stop_;
};

}  // namespace hob::pmake
