#include "hostd/child.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "migrate/urgency.h"

namespace hob::hostd {
namespace {

constexpr int kChannel = 3;

/// In the child, which shares no memory with us but may have been forked while ZeroMQ's thread held
/// any lock: system calls only. Says errno to `report` if the program cannot be executed; executing
/// it closes that.
[[noreturn]] void become(char* const* arguments, int channel, int report) {
  char* const no_environment[] = {nullptr};
  if (report == kChannel) report = ::fcntl(report, F_DUPFD_CLOEXEC, kChannel + 1);
  sigset_t none;
  ::sigemptyset(&none);
  const bool ready =
      ::setsid() >= 0 && ::sigprocmask(SIG_SETMASK, &none, nullptr) == 0 &&
      ::prctl(PR_SET_TIMERSLACK, migrate::kUsualTimerSlack) == 0 &&  // hostd may have none
      (channel == kChannel ? ::fcntl(channel, F_SETFD, 0) : ::dup2(channel, kChannel)) >= 0;
  if (ready) ::execve(arguments[0], arguments, no_environment);
  const int code = errno;
  if (::write(report, &code, sizeof code) < 0) ::_exit(126);
  ::_exit(127);
}

}  // namespace

Result<Child> start_child(const migrate::Cgroup& group, const std::vector<std::string>& arguments,
                          Fd channel) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  Pipe report = TRY(make_pipe());
  int pidfd = -1;
  clone_args how{};
  how.flags = CLONE_INTO_CGROUP | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
  how.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  how.exit_signal = SIGCHLD;
  how.cgroup = static_cast<uint64_t>(group.fd());
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &how, sizeof how));
  if (pid < 0) return Error::sys("start " + arguments[0] + " in cgroup", group.path());
  if (pid == 0) become(pointers.data(), channel.get(), report.write_end.get());

  Child child{pid, Fd(pidfd)};
  report.write_end.reset();
  int code = 0;
  ssize_t size;
  do {
    size = ::read(report.read_end.get(), &code, sizeof code);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return child;
  ::waitpid(pid, nullptr, 0);
  return Error::sys("start", arguments[0], size == sizeof code ? code : errno);
}

}  // namespace hob::hostd
