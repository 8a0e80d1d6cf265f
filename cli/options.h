#pragma once

#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/memory_strategy.h"
#include "base/time.h"

/// What the user asked for, parsed and checked: cli/grammar.h makes these, each verb takes its own.
namespace hob::cli {

/// remote run
struct RunOptions {
  std::vector<std::string> command;      // at least one word, byte for byte
  std::vector<std::string> environment;  // -e: NAME=VALUE
  std::string host;                      // empty: any
  std::optional<Duration> time_limit;
  std::string memory;            // memory strategy of its moves; empty: the host's default
  Duration checkpoint_every{0};  // 0: never
  std::string checkpoint;        // remote restart: not a command, but this file, absolute
  bool no_wait = false;
  bool or_local = false;
  bool keep = false;
  bool local = false;
  bool terminal = false;
  bool no_input = false;
  bool quiet = false;
  bool verbose = false;
  std::array<bool, 3> closed{};  // standard streams that were closed when `remote` was started
  // A recipe of a build (pmake/recipe.h).
  uint64_t lease = 0;         // not 0: on that slot, which `pmake` holds
  uint64_t recipe = 0;        // pmake's number for it
  Duration patience{0};       // how long its host may be silent; 0: as hostd's config says
  bool tell_failure = false;  // hob's own failures are not said, but told in the Ending
};

/// remote make, ninja, bmake: the words are pmake's and theirs (pmake/arguments.h).
struct BuildOptions {};
/// remote cc: all words are the compiler's (pmake/launcher.h).
struct CompileOptions {};

/// How a verb that tells something writes it.
struct Output {
  enum class Format { table, wide, json, name } format = Format::table;
  bool headers = true;
  std::optional<Duration> watch;  // again after each such time
};

struct HostsOptions {
  Output output;
  bool why = false;
};
struct PsOptions {
  Output output;
  bool all_hosts = false;
  bool ended = false;
};
struct HistoryOptions {
  Output output;
  std::string job;
};
struct CheckOptions {
  std::string what;  // a job's id, or digits alone: a process of this machine
  bool table = false;
  bool json = false;
};
struct InspectOptions {
  std::string file;
  bool all = false;
};
struct EvictOptions {
  std::string job;  // empty: all guests
};
struct MigrateOptions {
  std::string job;
  std::string host;    // empty: home
  std::string memory;  // empty: as the job's moves go
};
struct CheckpointOptions {
  std::string job;
  std::string file;
  std::string memory;  // empty: hostd's choice
};
/// remote restart
struct RestartOptions {
  std::string file;
  bool terminal = false;
  bool no_input = false;
  bool quiet = false;
  bool verbose = false;
  std::array<bool, 3> closed{};  // as in RunOptions
};
struct KillOptions {
  std::vector<std::string> jobs;
  int signal = 0;  // 0: end it for good
};
struct PauseOptions {
  bool on = true;
  Duration length{0};  // 0: until `remote resume`
};
struct CompletionOptions {
  std::string shell;
};

/// remote cell ...: carried out by hob-cell.
struct CellInit {
  std::string address;
  std::string directory = "/etc/hob";
  std::string state_directory = "/var/lib/hob";
  unsigned port = 7717;
};
struct CellInvite {
  std::string host;
};
struct CellJoin {
  std::string invitation;
  std::string host;     // empty: this machine's name
  std::string address;  // empty: the one that reaches the coordinator
  std::string directory = "/etc/hob";
  unsigned port = 7718;
};
struct CellInvitations {
  Output output;
};
struct CellRemove {
  std::string host;  // or the number of an invitation
};

/// Text to print and a status to exit with: help, version, a wrong command line.
struct Say {
  std::string text;
  int status = 0;  // 0: to stdout, else to stderr
};

using Command =
    std::variant<Say, RunOptions, BuildOptions, CompileOptions, HostsOptions, PsOptions,
                 HistoryOptions, CheckOptions, InspectOptions, EvictOptions, MigrateOptions,
                 CheckpointOptions, RestartOptions, KillOptions, PauseOptions, CompletionOptions,
                 CellInit, CellInvite, CellInvitations, CellJoin, CellRemove>;

/// Exit statuses (docs/remote.1). `run` keeps to those of env(1) and timeout(1), so that they
/// cannot be taken for the command's own small ones.
enum Status {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kUnreachable = 3,
  kNotFound = 4,
  kNotPermitted = 5,
  kRunTimedOut = 124,
  kRunFailed = 125,
  kRunNotExecutable = 126,
  kRunNoProgram = 127,
};

}  // namespace hob::cli
