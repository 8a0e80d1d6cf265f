#include "pmake/recipe.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "cli/client.h"
#include "cli/program.h"
#include "pmake/errand.h"
#include "pmake/packed_rules.h"
#include "pmake/placement.h"
#include "pmake/recipe_text.h"
#include "wire/stream.h"

namespace hob::pmake {
namespace {

using cli::from_environment;

constexpr off_t kLongestScript = 1 << 20;

/// What a shell would read from a file that is its input, which is left as it is. Empty: it is no
/// file, or a script longer than anybody's recipe.
std::string script_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > kLongestScript)
    return "";
  std::string text(static_cast<size_t>(status.st_size), '\0');
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

/// make leaves its jobserver open for recursive lines alone (the make manual, "POSIX Jobserver").
bool has_jobserver() {
  const std::string flags = from_environment("MAKEFLAGS");
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

/// The command is no part of the build's own machinery, and neither is what it starts.
void forget_build() {
  for (const char* name : {kSocketVariable, kTargetVariable, kRulesVariable, kScriptsVariable})
    ::unsetenv(name);
  ::setenv(cli::kPlacedVariable, "1", 1);
}

uint64_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

}  // namespace

int run_recipe(const std::string& name, std::vector<std::string> words) {
  const std::string own = from_environment(kShellVariable);
  for (std::string& word : words) word = with_own_shell(std::move(word), name, own);
  // A makefile that exports SHELL.
  if (from_environment("SHELL") == name)
    ::setenv("SHELL", with_own_shell(name, name, own).c_str(), 1);
  std::vector<std::string> command = shell_words(own);
  command.insert(command.end(), words.begin(), words.end());
  const std::string socket = from_environment(kSocketVariable),
                    target = from_environment(kTargetVariable);
  const bool scripts = !from_environment(kScriptsVariable).empty();
  const std::string script = scripts && words.empty() ? script_of(STDIN_FILENO) : "";
  const std::string_view text = scripts ? script : text_of(words);
  if (socket.empty() || text.empty()) return run_here(std::move(command));
  Verdict verdict = place_of({text, target, current_directory(), has_jobserver()},
                             unpack(from_environment(kRulesVariable)), size_of);
  if (verdict.place == Place::recursive) return run_here(std::move(command));  // its make finds us
  auto connection = wire::connect_stream(socket);
  Fd server = connection.ok() ? std::move(connection).value() : Fd();
  const Errand errand{std::move(command), text, target, target.empty() ? output_of(text) : target,
                      std::move(verdict.why)};
  forget_build();
  if (verdict.place != Place::cheap) return run_errand(errand, std::move(server));
  count_cheap(errand, server);
  return run_here(errand.command);
}

}  // namespace hob::pmake
