#include "pmake/recipe.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "cli/client.h"
#include "cli/program.h"
#include "cli/say.h"
#include "cli/shadow.h"
#include "pmake/capture.h"
#include "pmake/packed_rules.h"
#include "pmake/placement.h"
#include "wire/stream.h"

namespace hob::pmake {
namespace {

/// A host that is silent for so long has lost the recipe: people wait for a build.
constexpr auto kPatience = seconds(20);
/// pmake answers when there is a place, which may take as long as a recipe; if it ends, so does the
/// connection.
constexpr auto kPlaceLimit = hours(24 * 7);
/// Enough to recognise a command in a list.
constexpr size_t kShown = 200;

std::string variable(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

/// The makefile's own shell, which may have words of its own.
std::vector<std::string> own_shell() {
  std::vector<std::string> words = split(variable(kShellVariable));
  if (words.empty()) words.emplace_back("/bin/sh");
  return words;
}

/// The text of a recipe line: the last argument, after a "-c" that may be clustered ("-ec"). Empty:
/// this is no recipe line.
std::string_view text_of(const std::vector<std::string>& words) {
  if (words.size() < 2) return {};
  for (size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i].size() > 1 && words[i][0] == '-' && words[i][1] != '-' &&
        words[i].find('c') != std::string::npos)
      return words.back();
  return {};
}

/// make leaves its jobserver open for recursive lines alone (the make manual, "POSIX Jobserver").
bool has_jobserver() {
  const std::string flags = variable("MAKEFLAGS");
  for (const std::string_view name : {"--jobserver-auth=", "--jobserver-fds="}) {
    const size_t at = flags.find(name);
    if (at == std::string::npos) continue;
    int read = -1, write = -1;
    if (std::sscanf(flags.c_str() + at + name.size(), "%d,%d", &read, &write) == 2)
      return read >= 0 && ::fcntl(read, F_GETFD) >= 0 && ::fcntl(write, F_GETFD) >= 0;
  }
  return false;
}

/// Empty where it cannot be told.
std::string current_directory() {
  char path[PATH_MAX];
  return ::getcwd(path, sizeof path) == nullptr ? "" : path;
}

void forget_pmake() {
  for (const char* name : {kSocketVariable, kTargetVariable, kRulesVariable}) ::unsetenv(name);
}

/// What was there before a recipe began is not its own.
class TargetFile {
 public:
  explicit TargetFile(std::string path)
      : path_(std::move(path)), was_(!path_.empty() && ::stat(path_.c_str(), &before_) == 0) {}
  /// Half-written output of a recipe that hob has lost must not pass for whole (.DELETE_ON_ERROR).
  void remove_if_changed() const {
    struct stat now {};
    if (path_.empty() || ::stat(path_.c_str(), &now) != 0 || !S_ISREG(now.st_mode)) return;
    const bool same = was_ && now.st_ino == before_.st_ino && now.st_size == before_.st_size &&
                      now.st_mtim.tv_sec == before_.st_mtim.tv_sec &&
                      now.st_mtim.tv_nsec == before_.st_mtim.tv_nsec;
    if (!same && ::unlink(path_.c_str()) < 0)
      cli::say(Error::sys("remove", path_, errno, "it may be half written").text);
  }

 private:
  std::string path_;
  struct stat before_ {};
  bool was_;
};

class RecipeShell {
 public:
  RecipeShell(std::vector<std::string> command, std::string_view text)
      : command_(std::move(command)), text_(text), target_(variable(kTargetVariable)) {}

  int run(const std::string& socket) {
    const Verdict verdict = place_of({text_, target_, current_directory(), has_jobserver()},
                                     unpack(variable(kRulesVariable)), size_of);
    if (verdict.place == Place::recursive) return here();  // and its make finds pmake
    connect(socket);
    pb::Recipe& recipe = question();
    if (verdict.place == Place::cheap) {
      recipe.set_here(true);
      send();
      return forget_pmake(), here();
    }
    recipe.set_why(verdict.why);
    forget_pmake();
    const TargetFile file(target_);
    for (;;) {
      const auto place = ask();
      if (!place || place->lease() == 0) return here();
      Capture capture;
      const cli::Ending ending = out(*place);
      if (ending.failure.empty()) {
        capture.release();
        if (ending.signal != 0) cli::die_of(ending.signal);
        return ending.status;
      }
      capture.drop();
      pb::Recipe& again = question();
      if (ending.not_begun) {
        again.set_refused(place->lease());
        continue;
      }
      file.remove_if_changed();
      cli::say(fmt::format("{}: {}; running it again at home",
                           target_.empty() ? "a recipe" : target_, ending.failure));
      again.set_lost(ending.failure);
    }
  }

 private:
  static uint64_t size_of(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
  }

  void connect(const std::string& socket) {
    if (auto connection = wire::connect_stream(socket); connection.ok())
      pmake_ = std::move(connection).value();
  }

  pb::Recipe& question() {
    question_ = {};
    pb::Recipe& recipe = *question_.envelope.mutable_recipe();
    recipe.set_target(target_.substr(0, kShown));
    recipe.set_command(std::string(text_.substr(0, kShown)));
    question_.envelope.set_request(1);
    return recipe;
  }

  bool send() { return pmake_ && wire::send_blocking(pmake_.get(), std::move(question_)).ok(); }

  /// Nothing: pmake has gone. The recipe runs at home then, as it would without it.
  std::optional<pb::Place> ask() {
    if (!send()) return {};
    auto answer = wire::receive_blocking(pmake_.get(), decoder_, kPlaceLimit);
    if (!answer.ok() || !answer->envelope.has_place()) return {};
    return answer->envelope.place();
  }

  cli::Ending out(const pb::Place& place) {
    cli::RunOptions options;
    options.command = command_;
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

  /// In this process: pmake sees its end, and make its status.
  int here() const {
    cli::RunOptions options;
    options.command = command_;
    return cli::execute_here(options);
  }

  std::vector<std::string> command_;
  std::string_view text_;
  std::string target_;
  Fd pmake_;
  wire::StreamDecoder decoder_;
  wire::Message question_;
};

}  // namespace

int run_recipe(const std::vector<std::string>& words) {
  std::vector<std::string> command = own_shell();
  command.insert(command.end(), words.begin(), words.end());
  const std::string socket = variable(kSocketVariable);
  const std::string_view text = text_of(words);
  if (socket.empty() || text.empty()) {
    cli::RunOptions options;
    options.command = std::move(command);
    return cli::execute_here(options);
  }
  return RecipeShell(std::move(command), text).run(socket);
}

}  // namespace hob::pmake
