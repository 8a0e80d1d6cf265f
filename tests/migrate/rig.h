#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/fault.h"
#include "migrate/migrate.h"

/// Two or more starters on this machine and a job that moves between them.
namespace hob::test {

/// A process that plays a starter: one sandbox, one guest or none. Commands go through a socket
/// pair; what the guest writes goes to the job's collector, in order, wherever the guest is.
class Host {
 public:
  /// `collector` is where the guest's output goes.
  explicit Host(int collector);
  Host(Host&&) noexcept = default;
  Host& operator=(Host&&) noexcept = default;
  ~Host();

  /// Starts a program as uid 65534; with `terminal` on a pty of its own.
  Result<void> start(const std::vector<std::string>& arguments, bool terminal = false);
  /// How a guest comes to a host.
  struct Arrival {
    bool terminal = false;
    bool own_network = false;  ///< into a network of its own, ...
    uint16_t taken = 0;        ///< ... in which another program listens here, if it is not 0
    bool foreign = false;      ///< yields to everything there: let it have little to do
  };
  /// Opens a listener and begins to receive; the outcome is told by received().
  Result<uint16_t> listen(const Arrival& arrival);
  Result<uint16_t> listen(bool terminal = false) { return listen(Arrival{.terminal = terminal}); }
  Result<void> received();
  /// Records a checkpoint into a file; the outcome is told by recorded().
  Result<uint16_t> record(const std::string& path);
  Result<void> recorded();
  /// Restarts one.
  Result<void> restart(const std::string& path);
  /// Moves the guest to a listener and waits for the end of it.
  struct Outcome {
    bool moved = false;
    std::string text;  ///< the Error, or the obstacles
    double freeze_ms = 0;
    uint64_t pages = 0, wire_bytes = 0, rounds = 0;
  };
  Outcome send(uint16_t port, const Host& target, const migrate::SendOptions& options = {});
  void begin_send(uint16_t port, const Host& target, const migrate::SendOptions& options = {});
  Outcome end_send();
  /// What settle() at the source will answer, and whether home accepts the commit.
  void arm(migrate::Fault where, migrate::fault::Act act);
  /// Freezes the guest's cgroup, as hostd does when a key is pressed.
  void freeze();
  void thaw();
  bool frozen();
  void write_input(const std::string& bytes);
  /// Waits for the guest's end; the status of waitpid(2).
  std::optional<int> wait_exit(int milliseconds);
  /// How many processes of the guest are in its cgroup, by their pids.
  std::vector<pid_t> guests();
  bool alive() const;
  void kill();
  const std::string& cgroup() const { return cgroup_; }
  pid_t pid() const { return pid_; }

 private:
  void tell(const std::string& line);
  void remove_group();
  std::string hear(int milliseconds = 15000);
  pid_t pid_ = 0;
  Fd socket_;
  std::string cgroup_, buffer_;
  std::vector<std::string> unasked_;  ///< what it said while another answer was waited for
};

/// The output of a job, as it is collected.
class Collector {
 public:
  Collector();
  int write_end() const { return pipe_.write_end.get(); }
  /// Reads on until the text has come; false if it has not within the time.
  bool wait_for(const std::string& text, int milliseconds = 10000);
  const std::string& text() const { return text_; }
  /// Everything that is there now.
  const std::string& drain();

 private:
  Pipe pipe_;
  std::string text_;
};

/// The record at home that the two hooks consult: shared memory, one per job.
struct Home {
  static Home& get();
  void reset();
  int live = 0;  ///< pid of the starter that holds the live copy, 0 for the first
  int refused_attempt = 0;
  uint32_t arrivals = 0;     ///< whose last page is in, since reset(); of the last one:
  int64_t push_ns = 0;       ///< from the resume until then
  uint64_t complete_ns = 0;  ///< when that was, CLOCK_REALTIME
};

/// Starts a victim, waits for "ready", moves it `moves` times, writes a line to its standard input
/// and waits for its end.
struct Verdict {
  bool moved = true;
  std::string problem;  ///< of a move
  std::string output;
  int status = -1;
  std::vector<double> freeze_ms;
};
struct Plan {
  int moves = 2;
  bool terminal = false;
  std::string ready = "ready";
  std::string input = "go\n";
  migrate::SendOptions options;
  int pause_ms = 0;  ///< before each move, for programs without a "ready"
};
Verdict run_and_move(const std::vector<std::string>& arguments, const Plan& plan = {});

/// Where the victims are.
std::string victim(const std::string& name);
/// The credentials of the guests.
migrate::Credentials nobody();

}  // namespace hob::test
