#include "cli/grammar.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/host_name.h"
#include "cli/text.h"
#include "wire/message.h"

namespace hob::cli {
namespace {

// ---------------------------------------------------------------------------------- values

/// What a value looks like that the help calls `shown`.
std::string_view form_of(std::string_view shown) {
  if (shown == "TIME" || shown == "SEC") return "time such as 90, 1.5s, 10m or 2h";
  if (shown == "HOST") return "name of a host: letters, digits, '.', '-' and '_', at most 63";
  if (shown == "PORT") return "port: 1 to 65535";
  if (shown == "SIGNAL") return "signal such as TERM or 15";
  if (shown == "ADDRESS") return "address";
  return shown;
}

/// A value that `parse` turns into `target`; what it refuses is a usage error.
template <class T, class Parse>
CLI::Option* add_parsed(CLI::App& app, const std::string& name, T& target, Parse parse,
                        const std::string& help, const std::string& shown) {
  return app
      .add_option_function<std::string>(
          name,
          [name, &target, parse, shown](const std::string& text) {
            auto value = parse(text);
            if (!value)
              throw CLI::ValidationError(
                  fmt::format("{}: '{}' is no {}", name, text, form_of(shown)));
            target = std::move(*value);
          },
          help)
      ->type_name(shown);
}

std::optional<std::string> host_from_text(const std::string& text) {
  return is_host_name(text) ? std::optional(text) : std::nullopt;
}
std::optional<unsigned> port_from_text(const std::string& text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && port >= 1 && port <= 65535 ? std::optional(port) : std::nullopt;
}

std::optional<std::string> address_from_text(const std::string& text) {
  const bool fits =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  return fits && !text.empty() ? std::optional(text) : std::nullopt;
}

CLI::Option* add_host(CLI::App& app, const std::string& name, std::string& target,
                      const std::string& help) {
  return add_parsed(app, name, target, host_from_text, help, "HOST");
}

void add_output(CLI::App& app, Output& output, bool can_watch) {
  const std::vector<std::string> formats{"table", "wide", "json", "name"};
  app.add_option_function<std::string>(
         "-o,--output",
         [&output](const std::string& text) {
           output.format = text == "json"   ? Output::Format::json
                           : text == "wide" ? Output::Format::wide
                           : text == "name" ? Output::Format::name
                                            : Output::Format::table;
         },
         "How to write it")
      ->check(CLI::IsMember(formats))
      ->type_name("FORMAT");
  app.add_flag_callback(
      "--json", [&output] { output.format = Output::Format::json; }, "The same as -o json");
  app.add_flag_callback(
      "--no-headers", [&output] { output.headers = false; }, "Leave out the line of column names");
  if (!can_watch) return;
  add_parsed(
      app, "-w,--watch", output.watch,
      [](const std::string& text) -> std::optional<std::optional<Duration>> {
        const std::optional<Duration> duration =
            text.empty() ? Duration(seconds(2)) : duration_from_text(text);
        if (!duration) return std::nullopt;
        return duration;
      },
      "Again and again, every SEC seconds (2); one JSON object per line with --json", "SEC")
      ->expected(0, 1);
}

// ---------------------------------------------------------------------------------- verbs

/// Those that leave nothing behind.
const std::vector<std::string> kCopying{"freeze-copy", "pre-copy"};

void add_memory(CLI::App& app, std::string& memory, const std::vector<std::string>& strategies,
                const std::string& help) {
  app.add_option("-m,--memory", memory, fmt::format("{}: {}", help, fmt::join(strategies, ", ")))
      ->check(CLI::IsMember(strategies))
      ->type_name("STRATEGY");
}

/// The command is no business of CLI11's, so the usage line is ours.
struct RunHelp : CLI::Formatter {
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: remote run [OPTIONS] [--] COMMAND [ARGUMENT...]\n";
  }
};

void define_run(CLI::App& app, RunOptions& o) {
  add_host(app, "-H,--host", o.host, "Run on this host and no other");
  app.add_flag("--no-wait", o.no_wait, "Fail at once (125) if no host is idle");
  app.add_flag("--or-local", o.or_local,
               "Run on this machine if no host is idle or hob is not running");
  app.add_flag("--local", o.local, "Run on this machine from the start, as a job");
  add_memory(app, o.memory, strategy_names(),
             "When its memory travels if it moves (docs/MEMORY.md)");
  add_parsed(app, "--checkpoint-every", o.checkpoint_every, duration_from_text,
             "Save it so often (10m); if its host is lost, it goes on at home from there", "TIME");
  app.add_flag("--keep", o.keep, "Never send home: wait suspended while the owner is there");
  app.add_flag("-t,--tty", o.terminal,
               "Give the command a terminal of its own (default: no, also in a terminal)");
  app.add_flag("-n,--no-stdin", o.no_input, "Standard input is empty");
  app.add_option_function<std::string>(
         "-e,--env",
         [&o](const std::string& text) {
           if (text.empty() || text.front() == '=')
             throw CLI::ValidationError(fmt::format("--env: '{}' has no name", text));
           const char* value = ::getenv(text.c_str());
           if (text.find('=') != std::string::npos)
             o.environment.push_back(text);
           else if (value != nullptr)
             o.environment.push_back(text + "=" + value);
         },
         "Set NAME in the command's environment, else a copy of this one; can be repeated")
      ->type_name("NAME[=VALUE]")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->trigger_on_parse();
  add_parsed(app, "--timeout", o.time_limit, duration_from_text,
             "End the command after this time (90, 1.5s, 10m, 2h) and exit with 124", "TIME");
  app.add_flag("-q,--quiet", o.quiet, "Say nothing about waiting and moving");
  app.add_flag("-v,--verbose", o.verbose, "Say the job's id and where it runs");
  app.formatter(std::make_shared<RunHelp>());
  app.footer(
      "Everything from COMMAND on is the command's, byte for byte. It gets this environment,\n"
      "directory, umask, limits and standard streams, and its signals: Ctrl-C interrupts it, "
      "twice\n"
      "within a second kills it. Exit status: the command's own; death by a signal is passed on;\n"
      "124 --timeout, 125 hob failed, 126 COMMAND cannot be run, 127 no such COMMAND.\n"
      "Environment: REMOTE_HOST (as --host), REMOTE_LOCAL=1 (as --local), REMOTE_SOCKET.");
}

void define_hosts(CLI::App& app, HostsOptions& o) {
  app.add_flag("--why", o.why, "Say why each host is in its state");
  add_output(app, o.output, true);
}

void define_ps(CLI::App& app, PsOptions& o) {
  app.add_flag("-a,--all", o.all_hosts, "The jobs of the whole cell, not of this host alone");
  app.add_flag("-e,--ended", o.ended, "Those that have ended, too");
  add_output(app, o.output, true);
}

void define_history(CLI::App& app, HistoryOptions& o) {
  app.add_option("JOB", o.job, "A job's id, or of this host's jobs the number")->required();
  add_output(app, o.output, false);
}

void define_check(CLI::App& app, CheckOptions& o) {
  app.add_option("WHAT", o.what, "A job's id, as h0.17; or a number: a process of this machine")
      ->required();
  app.add_flag("-v,--verbose", o.table,
               "Every descriptor and mapping, and how it would follow the process");
  app.add_flag("--json", o.json, "One JSON document");
  app.footer(
      "Nothing stops for it. A process need not be hob's: it is asked what would be refused if it\n"
      "had been started as a job; only its own user, or root, may look. Exit status: 0 nothing "
      "known\nstands in the way, 1 something does and is named, others as usual.");
}

void define_inspect(CLI::App& app, InspectOptions& o) {
  app.add_option("FILE", o.file, "An image")->required();
  app.add_flag("-v,--verbose", o.all, "All of it: threads, mappings, descriptors, timers, pages");
}

/// For the help and for completion: pmake reads its words itself, for most of them are make's.
void define_build(CLI::App& app, BuildOptions&) {
  static std::string text;
  static bool flag;
  app.add_option("-j", text, "Recipes at once (default: as many as the cell gives)")
      ->type_name("N");
  app.add_option("-L,--local", text, "Of them at home (default: its processors less one)")
      ->type_name("N");
  app.add_flag("-X", flag, "Nothing leaves home");
  app.add_flag("-x", flag, "What may leave does: after -X");
  app.add_flag("--watch", flag, "A live line: which host runs what");
  app.add_option("--trace", text, "Write a trace for chrome://tracing")->type_name("FILE");
  app.add_option("--report", text, "Write a page with the same timeline")->type_name("FILE");
  app.footer("All other words are the tool's own; its own --help tells them.");
}

/// All words are the compiler's.
void define_compile(CLI::App& app, CompileOptions&) {
  static std::vector<std::string> words;
  app.add_option("COMPILER", words, "A compiler, and its arguments, as in `remote cc gcc -c x.c`")
      ->required();
}

void define_evict(CLI::App& app, EvictOptions& o) {
  app.add_option("JOB", o.job, "This guest alone");
}

void define_migrate(CLI::App& app, MigrateOptions& o) {
  app.add_option("JOB", o.job, "A job's id, or of this host's jobs the number")->required();
  add_host(app, "HOST", o.host, "Where to (default: home)");
  add_memory(app, o.memory, strategy_names(), "When its memory travels (docs/MEMORY.md)");
}

void define_checkpoint(CLI::App& app, CheckpointOptions& o) {
  app.add_option("JOB", o.job, "A job's id, or of this host's jobs the number")->required();
  app.add_option("FILE", o.file, "Written when all of it is there; the job goes on")->required();
  add_memory(app, o.memory, kCopying, "How long it stands still meanwhile");
}

void define_restart(CLI::App& app, RestartOptions& o) {
  app.add_option("FILE", o.file, "A checkpoint of a job of yours")->required();
  app.add_flag("-t,--tty", o.terminal, "Its command had a terminal of its own (remote run -t)");
  app.add_flag("-n,--no-stdin", o.no_input, "Standard input is empty");
  app.add_flag("-q,--quiet", o.quiet, "Say nothing about waiting and moving");
  app.add_flag("-v,--verbose", o.verbose, "Say the job's id and where it runs");
}

void define_kill(CLI::App& app, KillOptions& o) {
  add_parsed(app, "-s,--signal", o.signal, signal_from_text,
             "Send this signal instead of ending the job for good; also -9, -HUP", "SIGNAL");
  app.add_option("JOB", o.jobs, "Jobs' ids, or of this host's jobs the numbers")->required();
}

void define_pause(CLI::App& app, PauseOptions& o) {
  o.on = true;
  add_parsed(app, "TIME", o.length, duration_from_text,
             "For how long: 90, 10m, 2h (default: until `remote resume`)", "TIME");
}

void define_resume(CLI::App&, PauseOptions& o) {
  o.on = false;
}

void define_completion(CLI::App& app, CompletionOptions& o) {
  app.add_option("SHELL", o.shell, "Which shell's")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

void define_cell_init(CLI::App& app, CellInit& o) {
  add_parsed(app, "--address", o.address, address_from_text,
             "Where the coordinator listens (default: every address)", "ADDRESS");
  add_parsed(app, "--port", o.port, port_from_text, "Its port (7717)", "PORT");
  app.add_option("--dir", o.directory, "Where its configuration and key go (/etc/hob)")
      ->type_name("DIR");
  app.add_option("--state-dir", o.state_directory, "Where its ledger goes (/var/lib/hob)")
      ->type_name("DIR");
}

void define_cell_invite(CLI::App& app, CellInvite& o) {
  add_host(app, "--name", o.host, "Only a host of this name may use it");
}

void define_cell_join(CLI::App& app, CellJoin& o) {
  app.add_option("INVITATION", o.invitation, "What `remote cell invite` printed")->required();
  add_host(app, "--name", o.host, "This host's name in the cell (default: its host name)");
  add_parsed(app, "--address", o.address, address_from_text,
             "Where other hosts reach this one (default: the address that reaches the coordinator)",
             "ADDRESS");
  add_parsed(app, "--port", o.port, port_from_text, "The port hostd listens on (7718)", "PORT");
  app.add_option("--dir", o.directory, "Where its configuration and key go (/etc/hob)")
      ->type_name("DIR");
}

void define_cell_invitations(CLI::App& app, CellInvitations& o) {
  add_output(app, o.output, false);
}

void define_cell_remove(CLI::App& app, CellRemove& o) {
  add_host(app, "HOST", o.host, "A host's name, or an unused invitation's number or name")
      ->required();
}

struct Verb {
  std::string_view name;
  std::string_view summary;
  /// Puts the verb's options into `command` and tells `app` how to fill them.
  void (*define)(CLI::App& app, Command& command);
};

template <class Options, void (*define)(CLI::App&, Options&)>
void into(CLI::App& app, Command& command) {
  define(app, command.emplace<Options>());
}

constexpr Verb kVerbs[] = {
    {"run", "Run a command on an idle host", into<RunOptions, define_run>},
    {"make", "Build with make on the idle hosts; the same as `pmake`",
     into<BuildOptions, define_build>},
    {"ninja", "Build with ninja on the idle hosts", into<BuildOptions, define_build>},
    {"bmake", "Build with bmake on the idle hosts", into<BuildOptions, define_build>},
    {"cc", "Compile on an idle host, in any build", into<CompileOptions, define_compile>},
    {"hosts", "Show the hosts of the cell and whether they take jobs",
     into<HostsOptions, define_hosts>},
    {"ps", "Show the jobs that were started here and the guests that are here",
     into<PsOptions, define_ps>},
    {"history", "Show where a job has been", into<HistoryOptions, define_history>},
    {"check", "Say whether a job or process could be moved, and why not",
     into<CheckOptions, define_check>},
    {"inspect", "Print the image of a process tree", into<InspectOptions, define_inspect>},
    {"migrate", "Move a running job home, or to another idle host",
     into<MigrateOptions, define_migrate>},
    {"checkpoint", "Save a running job to a file", into<CheckpointOptions, define_checkpoint>},
    {"restart", "Go on from a checkpoint, on this machine", into<RestartOptions, define_restart>},
    {"kill", "End jobs, or send them a signal", into<KillOptions, define_kill>},
    {"evict", "Send the guests of this machine home, now", into<EvictOptions, define_evict>},
    {"pause", "Take no guests on this machine, for a time or until `resume`",
     into<PauseOptions, define_pause>},
    {"resume", "Take guests on this machine again", into<PauseOptions, define_resume>},
    {"completion", "Print a shell's completion script", into<CompletionOptions, define_completion>},
    {"cell init", "Make a coordinator's keys and configuration on this machine",
     into<CellInit, define_cell_init>},
    {"cell invite", "Print an invitation for one new host (at the coordinator, as root)",
     into<CellInvite, define_cell_invite>},
    {"cell invitations", "Show the invitations that are not used yet (at the coordinator, as root)",
     into<CellInvitations, define_cell_invitations>},
    {"cell join", "Make this machine a host of a cell, with an invitation (as root)",
     into<CellJoin, define_cell_join>},
    {"cell remove", "Take a host out of the cell, or withdraw an invitation (as root)",
     into<CellRemove, define_cell_remove>},
};

const Verb* find_verb(std::string_view name) {
  for (const Verb& verb : kVerbs)
    if (verb.name == name) return &verb;
  return nullptr;
}

// ---------------------------------------------------------------------------------- parsing

std::string general_help() {
  std::string out =
      "Usage: remote VERB [OPTIONS] [ARGUMENTS]\n\n"
      "Runs jobs on workstations whose owners are away, and moves them home when they come "
      "back.\n\n"
      "Verbs:\n";
  for (const Verb& verb : kVerbs) out += fmt::format("  {:<16} {}\n", verb.name, verb.summary);
  return out +
         "  help VERB        Say all about a verb\n\n"
         "Options:\n"
         "  -h, --help   This text; after a verb, that verb's\n"
         "  --version    The version of hob and of its protocol\n\n"
         "Environment: REMOTE_SOCKET names hostd's socket (/run/hob/hostd.sock).\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage, 3 hostd or coordinator unreachable,\n"
         "4 not found, 5 not permitted; of `run`: see `remote help run`.\n";
}

bool is_help(std::string_view word) {
  return word == "-h" || word == "--help";
}

/// "init, invite, ... or remove"
std::string cell_verbs() {
  std::string out;
  for (const Verb& verb : kVerbs) {
    if (!verb.name.starts_with("cell ")) continue;
    const bool last = &verb == std::end(kVerbs) - 1;
    out += fmt::format("{}{}", out.empty() ? "" : last ? " or " : ", ", verb.name.substr(5));
  }
  return out;
}

std::string cell_help() {
  std::string out = "Usage: remote cell VERB [OPTIONS] [ARGUMENTS]\n\nVerbs:\n";
  for (const Verb& verb : kVerbs)
    if (verb.name.starts_with("cell "))
      out += fmt::format("  {:<16} {}\n", verb.name, verb.summary);
  return out;
}

Say usage_error(std::string_view verb, std::string_view text) {
  if (verb == "help") return {fmt::format("remote: help: {}; see `remote help`\n", text), kUsage};
  const std::string_view separator = verb.empty() ? "" : " ";
  return {fmt::format("remote: {}{}{}; see `remote help{}{}`\n", verb, verb.empty() ? "" : ": ",
                      text, separator, verb),
          verb == "run" ? kRunFailed : kUsage};
}

Say surplus(std::string_view verb, std::string_view word) {
  const bool option = word.size() > 1 && word[0] == '-';
  return usage_error(verb, option ? fmt::format("it has no option '{}'", word)
                                  : fmt::format("the word '{}' is one too many", word));
}

/// CLI11's "--host: 1 required HOST missing" in other words.
std::string needs_value(const std::string& text) {
  return fmt::format("{} needs a value", text.substr(0, text.find(':')));
}

std::string title(const Verb& verb) {
  return fmt::format("{}.", verb.summary);
}

/// How many of `words` are ours: up to the first that is no option or the value of one. "--" is
/// ours.
size_t length_of_head(const CLI::App& app, std::span<const char* const> words) {
  const auto takes_value = [&](const std::string& name) {
    const CLI::Option* option = app.get_option_no_throw(name);
    return option != nullptr && option->get_items_expected_min() > 0;
  };
  size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--") return i + 1;
    if (word.size() < 2 || word[0] != '-') break;
    if (word[1] == '-') {
      if (word.find('=') == word.npos && takes_value(std::string(word))) ++i;
      continue;
    }
    for (size_t letter = 1; letter < word.size(); ++letter) {
      if (!takes_value({'-', word[letter]})) continue;
      if (letter + 1 == word.size()) ++i;  // its value is the next word
      break;
    }
  }
  return std::min(i, words.size());
}

void apply_environment(RunOptions& options) {
  const auto value = [](const char* name) {
    const char* text = ::getenv(name);
    return std::string_view(text == nullptr ? "" : text);
  };
  if (options.host.empty()) options.host = value("REMOTE_HOST");
  if (value("REMOTE_LOCAL") == "1") options.local = true;
}

Command parse_verb(const Verb& verb, std::span<const char* const> words) {
  Command command;
  CLI::App app(title(verb), fmt::format("remote {}", verb.name));
  verb.define(app, command);
  auto* run = std::get_if<RunOptions>(&command);
  const size_t head = run != nullptr ? length_of_head(app, words) : words.size();
  // CLI11 takes its words from the back.
  std::vector<std::string> ours(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(head));
  if (run != nullptr && !ours.empty() && ours.back() == "--") ours.pop_back();
  // As kill(1) takes it: -9, -HUP.
  if (std::holds_alternative<KillOptions>(command) && !ours.empty() && ours[0].starts_with('-') &&
      signal_from_text(ours[0].substr(1)))
    ours[0].insert(1, "s");
  std::reverse(ours.begin(), ours.end());
  try {
    app.parse(std::move(ours));
  } catch (const CLI::CallForHelp&) {
    return Say{app.help(), kDone};
  } catch (const CLI::ExtrasError&) {
    return surplus(verb.name, app.remaining().front());
  } catch (const CLI::ArgumentMismatch& error) {
    return usage_error(verb.name, needs_value(error.what()));
  } catch (const CLI::ParseError& error) {
    return usage_error(verb.name, error.what());
  }
  if (run == nullptr) return command;
  run->command.assign(words.begin() + static_cast<std::ptrdiff_t>(head), words.end());
  if (run->command.empty()) return usage_error(verb.name, "no command given");
  // As env(1) and every shell say it.
  if (run->command[0].empty())
    return Say{"remote: run '': No such file or directory; the command's name is empty\n",
               kRunNoProgram};
  apply_environment(*run);
  if (!run->host.empty() && !is_host_name(run->host))
    return usage_error(verb.name,
                       fmt::format("$REMOTE_HOST: '{}' is no {}", run->host, form_of("HOST")));
  if (run->local && !run->host.empty())
    return usage_error(verb.name, "--host and --local exclude each other");
  return command;
}

}  // namespace

Command parse(std::span<const char* const> words) {
  if (words.empty()) return Say{general_help(), kUsage};
  const std::string_view first = words[0];
  if (is_help(first) || (first == "help" && words.size() == 1)) return Say{general_help(), kDone};
  if (first == "--version" || first == "version")
    return Say{fmt::format("remote (hob) {}, protocol {}\n", HOB_VERSION, wire::kVersion), kDone};
  if (first.starts_with("-"))
    return usage_error("", fmt::format("'{}' stands before the verb; options come after it, as in "
                                       "`remote ps --json`",
                                       first));
  const bool help = first == "help";
  if (help) words = words.subspan(1);

  std::string name = words[0];
  words = words.subspan(1);
  if (help && name == "help" && words.empty()) return Say{general_help(), kDone};
  const bool asks = help || (words.size() == 1 && is_help(words[0]));
  if (!asks && (name == "make" || name == "ninja" || name == "bmake")) return BuildOptions{};
  if (!asks && name == "cc" && !words.empty()) return CompileOptions{};
  if (name == "cell") {
    if (words.empty() || words[0][0] == '-') {
      const bool asked = help || (!words.empty() && is_help(words[0]));
      return asked ? Say{cell_help(), kDone} : usage_error("", "'cell' needs " + cell_verbs());
    }
    name += fmt::format(" {}", words[0]);
    words = words.subspan(1);
  }
  const Verb* verb = find_verb(name);
  if (verb == nullptr && name.starts_with("cell "))
    return usage_error("", fmt::format("'{}' is no verb; 'cell' needs {}", name, cell_verbs()));
  if (verb == nullptr) return usage_error("", fmt::format("'{}' is no verb", name));
  if (help && !words.empty()) return surplus("help", words[0]);
  static constexpr const char* kHelp[] = {"--help"};
  return parse_verb(*verb, help ? std::span<const char* const>(kHelp) : words);
}

std::vector<VerbDescription> describe_grammar() {
  std::vector<VerbDescription> verbs;
  for (const Verb& verb : kVerbs) {
    Command command;
    CLI::App app(title(verb));
    verb.define(app, command);
    VerbDescription description{std::string(verb.name), std::string(verb.summary), {}};
    for (const CLI::Option* option : app.get_options()) {
      OptionDescription entry;
      for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
      for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
      entry.takes_value = option->get_items_expected_max() > 0;
      entry.help = option->get_description();
      if (entry.names.empty()) entry.names.push_back(option->get_name(true));
      if (entry.names.back() == "--output") entry.choices = {"table", "wide", "json", "name"};
      if (entry.names.back() == "SHELL") entry.choices = {"bash", "zsh", "fish"};
      description.options.push_back(std::move(entry));
    }
    verbs.push_back(std::move(description));
  }
  return verbs;
}

}  // namespace hob::cli
