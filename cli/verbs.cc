#include "cli/verbs.h"

#include <fmt/core.h>
#include <unistd.h>

#include <thread>

#include "cli/client.h"
#include "cli/completion.h"
#include "cli/look.h"
#include "cli/say.h"
#include "cli/shadow.h"
#include "cli/views.h"

#include <filesystem>

namespace hob::cli {
namespace {

/// What hostd knows by itself or from the coordinator.
constexpr Duration kAnswerWithin = seconds(10);
/// A move may have gigabytes to push.
constexpr Duration kMoveWithin = minutes(10);

int refuse(const Refusal& refusal) {
  say(refusal.text);
  return refusal.status;
}

int print(std::string_view text) {
  const auto written = write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "stdout");
  if (written.ok()) return kDone;
  say(written.error().text);
  return kFailed;
}

std::variant<pb::Envelope, Refusal> ask_hostd(pb::Envelope request,
                                              Duration limit = kAnswerWithin) {
  return ask(hostd_socket(), "hob-hostd", std::move(request), limit);
}

/// For requests that are answered Done: nothing to print.
int order(pb::Envelope request, Duration limit = kAnswerWithin) {
  const auto answer = ask_hostd(std::move(request), limit);
  if (const auto* refusal = std::get_if<Refusal>(&answer)) return refuse(*refusal);
  return kDone;
}

/// Asks, and prints what `show` makes of the answer; again and again if the user wants to watch.
template <class Show>
int tell(const pb::Envelope& request, const Output& output, pb::Envelope::BodyCase wanted,
         Show show) {
  const bool clear =
      output.watch && output.format != Output::Format::json && ::isatty(STDOUT_FILENO) == 1;
  for (;;) {
    const auto answer = ask_hostd(request);
    if (const auto* refusal = std::get_if<Refusal>(&answer)) return refuse(*refusal);
    const pb::Envelope& envelope = std::get<pb::Envelope>(answer);
    if (envelope.body_case() != wanted)
      return refuse(
          {"ask hob-hostd: it answered something else; update hob on this machine", kFailed});
    const int status = print((clear ? "\x1b[H\x1b[2J" : "") + show(envelope));
    if (status != kDone || !output.watch) return status;
    std::this_thread::sleep_for(*output.watch);
  }
}

uint64_t now_wall_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<nanoseconds>(WallClock::now().time_since_epoch()).count());
}

/// hob-cell does what needs ZeroMQ, so that `remote` itself need not load it. It is beside this
/// program, and takes the same words.
int run_beside(const std::string& program, char** argv, std::string name = "remote") {
  const auto path = program_beside(program);
  if (!path.ok()) return refuse({path.error().text, kFailed});
  argv[0] = name.data();
  ::execv(path->c_str(), argv);
  return refuse({Error::sys("run", *path, errno, "is hob installed whole?").text, kFailed});
}
int run_cell(char** argv) {
  return run_beside("hob-cell", argv);
}

struct CarryOut {
  char** argv;

  int operator()(const Say& text) const {
    if (text.status == kDone) return print(text.text);
    // There is nobody to tell if stderr does not take it; the status says enough.
    static_cast<void>(write_all(STDERR_FILENO, std::as_bytes(std::span(text.text)), "stderr"));
    return text.status;
  }

  int operator()(const RunOptions& options) const { return run(options); }

  int operator()(const HostsOptions& options) const {
    pb::Envelope request;
    request.mutable_list_hosts();
    return tell(request, options.output, pb::Envelope::kHostList,
                [&](const pb::Envelope& answer) { return view(answer.host_list(), options); });
  }

  int operator()(const PsOptions& options) const {
    pb::Envelope request;
    request.mutable_list_jobs()->set_all_hosts(options.all_hosts);
    request.mutable_list_jobs()->set_ended(options.ended);
    return tell(request, options.output, pb::Envelope::kJobList, [&](const pb::Envelope& answer) {
      return view(answer.job_list(), options, now_wall_ns());
    });
  }

  int operator()(const HistoryOptions& options) const {
    pb::Envelope request;
    request.mutable_list_history()->set_job(options.job);
    return tell(request, options.output, pb::Envelope::kHistory,
                [&](const pb::Envelope& answer) { return view(answer.history(), options); });
  }

  int operator()(const CheckOptions& options) const {
    const bool process =
        !options.what.empty() && options.what.find_first_not_of("0123456789") == std::string::npos;
    pb::Envelope request;
    request.mutable_check()->set_job(options.what);
    request.mutable_check()->set_table(options.table);
    const auto answer =
        process ? look_at_process(options.what, kAnswerWithin) : ask_hostd(std::move(request));
    if (const auto* refusal = std::get_if<Refusal>(&answer)) return refuse(*refusal);
    const pb::Checked& checked = std::get<pb::Envelope>(answer).checked();
    const int status = print(view(checked, options));
    if (status != kDone) return status;
    return checked.obstacles_size() == 0 ? kDone : kFailed;
  }

  int operator()(const InspectOptions& options) const { return refuse(become_inspector(options)); }

  int operator()(const EvictOptions& options) const {
    pb::Envelope request;
    request.mutable_evict_all()->set_job(options.job);
    return order(std::move(request), kMoveWithin);
  }

  int operator()(const MigrateOptions& options) const {
    pb::Envelope request;
    request.mutable_migrate()->set_job(options.job);
    request.mutable_migrate()->set_host(options.host);
    request.mutable_migrate()->set_memory(options.memory);
    return order(std::move(request), kMoveWithin);
  }

  int operator()(const CheckpointOptions& options) const {
    pb::Envelope request;
    request.mutable_checkpoint()->set_job(options.job);
    request.mutable_checkpoint()->set_path(std::filesystem::absolute(options.file).string());
    request.mutable_checkpoint()->set_memory(options.memory);
    return order(std::move(request), kMoveWithin);
  }

  int operator()(const RestartOptions& options) const {
    RunOptions run_options;
    run_options.command = {"remote", "restart", options.file};
    run_options.checkpoint = std::filesystem::absolute(options.file).string();
    run_options.terminal = options.terminal;
    run_options.no_input = options.no_input;
    run_options.quiet = options.quiet;
    run_options.verbose = options.verbose;
    run_options.closed = options.closed;
    return run(run_options);
  }

  int operator()(const KillOptions& options) const {
    int worst = kDone;
    for (const std::string& job : options.jobs) {
      pb::Envelope request;
      request.mutable_kill_job()->set_job(job);
      request.mutable_kill_job()->set_signal(options.signal);
      const int status = order(std::move(request));
      if (worst == kDone) worst = status;
    }
    return worst;
  }

  int operator()(const PauseOptions& options) const {
    pb::Envelope request;
    request.mutable_pause()->set_on(options.on);
    request.mutable_pause()->set_for_ns(static_cast<uint64_t>(options.length.count()));
    return order(std::move(request));
  }

  int operator()(const CompletionOptions& options) const {
    return print(completion(options.shell, describe_grammar()));
  }

  int operator()(const BuildOptions&) const { return run_beside("pmake", argv); }
  int operator()(const CompileOptions&) const {
    return run_beside("remote-cc", argv + 1, "remote-cc");
  }
  int operator()(const CellInit&) const { return run_cell(argv); }
  int operator()(const CellInvite&) const { return run_cell(argv); }
  int operator()(const CellInvitations&) const { return run_cell(argv); }
  int operator()(const CellJoin&) const { return run_cell(argv); }
  int operator()(const CellRemove&) const { return run_cell(argv); }
};

}  // namespace

int carry_out(const Command& command, char** argv) {
  return std::visit(CarryOut{argv}, command);
}

}  // namespace hob::cli
