#include "pmake/stand.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "base/time.h"
#include "wire/stream.h"

namespace hob::pmake {
namespace {

constexpr auto kStartLimit = seconds(2);
constexpr auto kLook = milliseconds(2);

Result<Fd> open_locked(const std::string& path, int how) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::sys("open", path);
  while (::flock(fd.get(), how) < 0)
    if (errno != EINTR) return Error::sys("lock", path);
  return fd;
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

Result<std::string> stand_directory() {
  const char* runtime = ::getenv("XDG_RUNTIME_DIR");
  const std::string path = runtime != nullptr && *runtime == '/' && ::access(runtime, W_OK) == 0
                               ? fmt::format("{}/remote-cc", runtime)
                               : fmt::format("/tmp/remote-cc-{}", ::geteuid());
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return Error::sys("make", path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) < 0) return Error::sys("look at", path);
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return Error{fmt::format("use {}: it is not a directory of yours alone; remove it", path)};
  return path;
}

Result<Fd> stand_lock(const std::string& directory) {
  return open_locked(directory + "/lock", LOCK_EX | LOCK_NB);
}

Result<Fd> connect_stand(const std::string& program) {
  const std::string directory = TRY(stand_directory()), socket = directory + "/socket";
  if (auto connection = wire::connect_stream(socket); connection.ok()) return connection;
  // One of many compilers that begin at once starts it; the others find it here.
  const Fd turn = TRY(open_locked(directory + "/start", LOCK_EX));
  auto connection = wire::connect_stream(socket);
  if (connection.ok()) return connection;
  TRY(start(program, directory));
  const Time limit = Clock::now() + kStartLimit;
  while (!(connection = wire::connect_stream(socket)).ok() && Clock::now() < limit)
    std::this_thread::sleep_for(kLook);
  return connection;
}

}  // namespace hob::pmake
