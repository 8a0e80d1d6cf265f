#include "pmake/errand.h"

#include <fmt/core.h>
#include <unistd.h>

#include <optional>

#include "cli/client.h"
#include "cli/program.h"
#include "cli/say.h"
#include "cli/shadow.h"
#include "pmake/capture.h"
#include "pmake/output_file.h"
#include "wire/stream.h"

namespace hob::pmake {
namespace {

/// A host that is silent for so long has lost the command: people wait for a build.
constexpr auto kPatience = seconds(20);
/// The server answers when there is a place, which may take as long as a recipe; if it ends, so
/// does the connection.
constexpr auto kPlaceLimit = hours(24 * 7);
/// Enough to recognise a command in a list.
constexpr size_t kShown = 200;

wire::Message question_of(const Errand& errand) {
  wire::Message message;
  pb::Recipe& recipe = *message.envelope.mutable_recipe();
  recipe.set_target(errand.target.substr(0, kShown));
  recipe.set_command(std::string(errand.text.substr(0, kShown)));
  message.envelope.set_request(1);
  return message;
}

bool send(const Fd& server, wire::Message question) {
  return server && wire::send_blocking(server.get(), std::move(question)).ok();
}

/// As this process's job on the slot that `place` names.
cli::Ending run_there(const Errand& errand, const pb::Place& place) {
  cli::RunOptions options;
  options.command = errand.command;
  options.lease = place.lease();
  options.recipe = place.recipe();
  options.patience = kPatience;
  options.quiet = true;
  options.tell_failure = true;
  // A terminal is the user's: many recipes run at once, and none asks him.
  options.no_input = ::isatty(STDIN_FILENO) == 1;
  auto loop = EventLoop::create();
  if (!loop.ok()) return {.failure = loop.error().text, .not_begun = true};
  return cli::Shadow(**loop, options, cli::hostd_socket()).run();
}

}  // namespace

int run_errand(const Errand& errand, Fd server) {
  wire::StreamDecoder decoder;
  /// Nothing: the server has gone. The command runs here then, as it would without it.
  const auto ask = [&](wire::Message question) -> std::optional<pb::Place> {
    if (!send(server, std::move(question))) return {};
    auto answer = wire::receive_blocking(server.get(), decoder, kPlaceLimit);
    if (!answer.ok() || !answer->envelope.has_place()) return {};
    return answer->envelope.place();
  };
  const OutputFile file(errand.output);
  wire::Message question = question_of(errand);
  question.envelope.mutable_recipe()->set_why(errand.why_home);
  for (;;) {
    const auto place = ask(std::move(question));
    // In this process: the server sees its end, and make its status.
    if (!place || place->lease() == 0) return run_here(errand.command);
    Capture capture;
    const cli::Ending ending = run_there(errand, *place);
    if (ending.failure.empty()) {
      capture.release();
      if (ending.signal != 0) cli::die_of(ending.signal);
      return ending.status;
    }
    capture.drop();
    question = question_of(errand);
    if (ending.not_begun) {
      question.envelope.mutable_recipe()->set_refused(place->lease());
      continue;
    }
    if (auto removed = file.remove_if_changed(); !removed.ok()) cli::say(removed.error().text);
    cli::say(fmt::format("{}: {}; running it again at home",
                         errand.target.empty() ? "a recipe" : errand.target, ending.failure));
    question.envelope.mutable_recipe()->set_lost(ending.failure);
  }
}

void count_cheap(const Errand& errand, const Fd& server) {
  wire::Message question = question_of(errand);
  question.envelope.mutable_recipe()->set_here(true);
  send(server, std::move(question));
}

int run_here(std::vector<std::string> command) {
  cli::RunOptions options;
  options.command = std::move(command);
  return cli::execute_here(options);
}

}  // namespace hob::pmake
