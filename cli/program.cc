#include "cli/program.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "cli/say.h"
#include "cli/terminal.h"

namespace hob::cli {
namespace {

std::string_view name_of(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

void add_limits(pb::Program& program) {
  for (int resource = 0; resource < static_cast<int>(RLIM_NLIMITS); ++resource) {
    rlimit value{};
    if (::getrlimit(static_cast<__rlimit_resource>(resource), &value) < 0) continue;
    pb::Limit* limit = program.add_limits();
    limit->set_resource(resource);
    limit->set_soft(value.rlim_cur);
    limit->set_hard(value.rlim_max);
  }
}

Result<std::string> current_directory() {
  char path[PATH_MAX];
  if (::getcwd(path, sizeof path) == nullptr)
    return Error::sys("find", "the current directory", errno, "cd to one that exists");
  if (path[0] != '/')  // "(unreachable)...", getcwd(3)
    return Error::sys("find", "the current directory", ENOENT, "cd to one that exists");
  return std::string(path);
}

mode_t current_umask() {
  const mode_t mask = ::umask(077);
  ::umask(mask);
  return mask;
}

}  // namespace

std::vector<std::string> environment_of(const RunOptions& options) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  for (const std::string& addition : options.environment) {
    std::erase_if(environment,
                  [&](const std::string& entry) { return name_of(entry) == name_of(addition); });
    environment.push_back(addition);
  }
  return environment;
}

Result<pb::Program> program_of(const RunOptions& options) {
  pb::Program program;
  for (const std::string& word : options.command) program.add_arguments(word);
  for (std::string& entry : environment_of(options)) program.add_environment(std::move(entry));
  program.add_environment(std::string(kPlacedVariable) + "=1");
  program.set_directory(TRY(current_directory()));
  program.set_umask(current_umask());
  add_limits(program);
  for (uint32_t fd = 0; fd < options.closed.size(); ++fd)
    if (options.closed[fd] && !(fd == 0 && options.no_input)) program.add_closed(fd);
  if (!options.terminal) return program;
  if (program.closed_size() > 0)
    return Error{"use -t: stdin, stdout or stderr is closed; leave -t out"};
  const auto settings = terminal_settings(STDIN_FILENO);
  if (!settings) return Error{"use -t: stdin is no terminal; leave -t out"};
  program.set_terminal(true);
  program.set_termios(&*settings, sizeof *settings);
  const TerminalSize size = terminal_size(STDIN_FILENO);
  program.mutable_window()->set_rows(size.rows);
  program.mutable_window()->set_columns(size.columns);
  return program;
}

int execute_here(const RunOptions& options) {
  std::vector<std::string> environment = environment_of(options), arguments = options.command;
  const auto pointers = [](std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (std::string& s : strings) out.push_back(s.data());
    out.push_back(nullptr);
    return out;
  };
  // The command is looked up in the PATH it will have, as env(1) does.
  for (std::string& entry : environment)
    if (name_of(entry) == "PATH" && entry.find('=') != std::string::npos)
      ::setenv("PATH", entry.c_str() + 5, 1);
  for (int fd = 0; fd < 3; ++fd)
    if (options.closed[static_cast<size_t>(fd)]) ::close(fd);
  ::execvpe(arguments[0].c_str(), pointers(arguments).data(), pointers(environment).data());
  const int code = errno;
  say(Error::sys("run", arguments[0], code).text);
  return code == ENOENT ? kRunNoProgram : kRunNotExecutable;
}

}  // namespace hob::cli
