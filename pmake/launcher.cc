#include "pmake/launcher.h"

#include <fmt/core.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fd.h"
#include "cli/client.h"
#include "cli/program.h"
#include "cli/say.h"
#include "cli/text.h"
#include "pmake/errand.h"
#include "pmake/placement.h"
#include "pmake/recipe.h"
#include "pmake/stand.h"

namespace hob::pmake {
namespace {

constexpr std::string_view kName = "remote-cc";

std::string shell_text(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ' ';
    text += word.find_first_not_of(
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                "-_./=+,:@") == std::string::npos &&
                    !word.empty()
                ? word
                : cli::quoted(word);
  }
  return text;
}

}  // namespace

int run_launcher(const std::vector<std::string>& words) {
  const std::string_view self_name = std::string_view(words[0]).substr(words[0].rfind('/') + 1);
  std::vector<std::string> command(words.begin() + (self_name == kName), words.end());
  if (command.empty() || (self_name == kName && command[0].starts_with('-'))) {
    cli::say("name a compiler, as in `remote-cc gcc -c x.c`");
    return cli::kUsage;
  }
  if (self_name != kName) command[0] = self_name;
  struct stat self {};
  if (::stat("/proc/self/exe", &self) < 0) {
    cli::say(Error::sys("look at", "/proc/self/exe").text);
    return cli::kFailed;
  }
  const auto compiler = find_compiler(
      command[0], cli::from_environment("PATH", "/usr/bin:/bin"), [&](const std::string& place) {
        struct stat other {};
        return ::access(place.c_str(), X_OK) == 0 && ::stat(place.c_str(), &other) == 0 &&
               S_ISREG(other.st_mode) &&
               (other.st_dev != self.st_dev || other.st_ino != self.st_ino);
      });
  if (!compiler) {
    cli::say(fmt::format("{}: not found in PATH; is it installed?", command[0]));
    return 127;  // as a shell's
  }
  command[0] = *compiler;
  const CompileLine line = read_compile_line({command.begin() + 1, command.end()});
  if (::getenv(cli::kPlacedVariable) != nullptr || ::getenv(kSocketVariable) != nullptr ||
      !line.compiles)
    return run_here(std::move(command));
  const std::string text = shell_text(command);
  char directory[PATH_MAX];
  Verdict verdict =
      place_of({text, line.output, ::getcwd(directory, sizeof directory) ? directory : ""}, {}, {});
  auto self_path = read_link("/proc/self/exe");
  if (!self_path.ok()) return run_here(std::move(command));
  // .../bin/recipe/sh in a build, .../lib/hob/recipe/sh where hob is installed.
  const std::string place = self_path->substr(0, self_path->rfind("/recipe/"));
  const std::string installed = place + "/../../bin/pmake";
  auto server =
      connect_stand(::access(installed.c_str(), X_OK) == 0 ? installed : place + "/pmake");
  if (!server.ok()) {
    cli::say(server.error().text + "; compiling here");
    return run_here(std::move(command));
  }
  ::setenv(cli::kPlacedVariable, "1", 1);
  return run_errand({std::move(command), text, line.output, line.output, std::move(verdict.why)},
                    std::move(server).value());
}

}  // namespace hob::pmake
