#include "cli/look.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace hob::cli {
namespace {

constexpr int kChannel = 3;  // where hob-look answers

/// Its channel stays open in hob-look alone, so that its end is seen here.
Result<pid_t> spawn(const std::string& path, const std::string& pid, const Fd& channel) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // Clears close-on-exec even where the number is the same already.
  ::posix_spawn_file_actions_adddup2(&actions, channel.get(), kChannel);
  std::string words[] = {"hob-look", "process", pid};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawn(&child, path.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Error::sys("run", path, error, "is hob installed whole?");
  return child;
}

Refusal failed(const Error& error) {
  return {error.text, kFailed};
}

}  // namespace

Result<std::string> program_beside(const std::string& name) {
  const std::string self = TRY(read_link("/proc/self/exe"));
  return self.substr(0, self.rfind('/') + 1) + name;
}

std::variant<pb::Envelope, Refusal> look_at_process(const std::string& pid, Duration limit) {
  const auto path = program_beside("hob-look");
  if (!path.ok()) return failed(path.error());
  auto ends = make_socket_pair(false);
  if (!ends.ok()) return failed(ends.error());
  auto [ours, theirs] = std::move(*ends);
  const auto child = spawn(*path, pid, theirs);
  if (!child.ok()) return failed(child.error());
  theirs.reset();
  auto answer = receive_answer(ours.get(), "hob-look", limit);
  ours.reset();
  while (::waitpid(*child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return answer;
}

Refusal become_inspector(const InspectOptions& options) {
  const auto path = program_beside("hob-look");
  if (!path.ok()) return failed(path.error());
  ::execl(path->c_str(), "hob-look", "image", options.file.c_str(), options.all ? "-v" : "-q",
          nullptr);
  return failed(Error::sys("run", *path, errno, "is hob installed whole?"));
}

}  // namespace hob::cli
