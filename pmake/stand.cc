#include "pmake/stand.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/time.h"
#include "cli/client.h"
#include "wire/stream.h"

namespace hob::pmake {
namespace {

constexpr auto kStartLimit = seconds(2);
constexpr auto kEndLimit = seconds(1);
constexpr auto kLook = milliseconds(2);

/// Nothing: another has it.
Result<std::optional<Fd>> try_lock(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::sys("open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return std::optional(std::move(fd));
  if (errno == EWOULDBLOCK || errno == EINTR) return std::optional<Fd>();
  return Error::sys("lock", path);
}

/// In a session of its own, as nobody's child, with nothing of ours but a log to write to.
Result<void> start(const std::string& program, const std::string& directory) {
  const std::string log = directory + "/log";
  const pid_t pid = ::fork();
  if (pid < 0) return Error::sys("start", program);
  if (pid == 0) {
    if (::setsid() < 0 || ::fork() != 0) ::_exit(0);
    const int null = ::open("/dev/null", O_RDWR);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (null < 0 || out < 0 || ::dup2(null, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0 ||
        ::chdir("/") < 0)
      ::_exit(126);
    // A jobserver's pipe or a pipeline's end would never see its last writer go.
    if (::close_range(3, ~0U, 0) < 0) ::_exit(126);
    // It is no part of a make that may be running here.
    for (const char* name : {"MAKEFLAGS", "MAKEFILES", "MFLAGS", "LD_PRELOAD"}) ::unsetenv(name);
    ::execl(program.c_str(), "remote", "cc", nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return Error::sys("wait for", program);
  return {};
}

}  // namespace

std::optional<std::string> runtime_directory() {
  std::string path = cli::from_environment("XDG_RUNTIME_DIR");
  if (!path.starts_with('/') || ::access(path.c_str(), W_OK) != 0) return std::nullopt;
  return path;
}

Result<std::string> stand_directory() {
  const auto runtime = runtime_directory();
  const std::string path =
      runtime ? *runtime + "/remote-cc" : fmt::format("/tmp/remote-cc-{}", ::geteuid());
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return Error::sys("make", path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) < 0) return Error::sys("look at", path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return Error{fmt::format("use {}: it is not a directory of yours alone; remove it", path)};
  return path;
}

Result<Fd> stand_lock(const std::string& directory) {
  for (const Time limit = Clock::now() + kEndLimit; Clock::now() < limit;) {
    if (auto lock = TRY(try_lock(directory + "/lock"))) return std::move(*lock);
    std::this_thread::sleep_for(kLook);
  }
  return Error{fmt::format("be the standing build of {}: another one is", directory)};
}

Result<Fd> connect_stand(const std::string& program) {
  const std::string directory = TRY(stand_directory()), socket = directory + "/socket";
  // Of many compilers that begin at once one starts it, and has its turn until it listens.
  std::optional<Fd> turn;
  for (const Time limit = Clock::now() + kStartLimit;;) {
    auto connection = wire::connect_stream(socket);
    if (connection.ok()) return connection;
    if (Clock::now() >= limit)
      return Error{fmt::format("{}; a server for it was started; what it said is in {}/log",
                               connection.error().text, directory)};
    if (!turn && (turn = TRY(try_lock(directory + "/start")))) TRY(start(program, directory));
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace hob::pmake
