#include "migrate/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "migrate/kernel.h"
#include "migrate/urgency.h"

namespace hob::migrate {

namespace {

/// The way from a copy of the starter to the program, in this order. The child tells how far it
/// came.
enum class Step : int {
  session,
  terminal,
  stdio,
  close_others,
  limits,
  memory_pressure,
  io_priority,
  scheduling,
  signals,
  confine,
  directory,
  exec,
};

struct Failure {
  Step step;
  int code;
  int detail;  ///< for `limits` the resource; for `exec` whether a file of that name was there
};

/// How long the way to execve(2) may take. Generous, because it may wait for a file server;
/// bounded, because a starter must not hang with it for ever.
constexpr Duration kExecLimit = seconds(30);

constexpr int kExitHobFailed = 125;

/// PATH of a job that has none: what glibc's execvp uses then.
constexpr std::string_view kDefaultPath = "/bin:/usr/bin";

/// Everything the child needs, made ready before it is born: it only makes system calls.
struct Launch {
  std::vector<std::string> candidates;  ///< paths to try, in this order
  std::vector<const char*> arguments;
  std::vector<const char*> shell;  ///< {"sh", candidate, arguments[1]...}: [1] is put in at the end
  std::vector<const char*> environment;
};

std::string_view path_of(const Program& program) {
  for (const std::string& variable : program.environment)
    if (variable.starts_with("PATH=")) return std::string_view(variable).substr(5);
  return kDefaultPath;
}

/// execvp(3)'s rule: a name with a slash is a path; an empty element of PATH is the current
/// directory.
std::vector<std::string> candidates_of(const Program& program) {
  const std::string& name = program.arguments[0];
  if (name.empty()) return {};
  if (name.find('/') != name.npos) return {name};
  std::vector<std::string> candidates;
  const std::string_view path = path_of(program);
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string_view directory = path.substr(start, end - start);
    candidates.push_back(directory.empty() ? "./" + name : std::string(directory) + "/" + name);
    start = end + 1;
  }
  return candidates;
}

Result<void> check_strings(const std::vector<std::string>& strings, const char* what) {
  for (size_t i = 0; i < strings.size(); ++i)
    if (strings[i].find('\0') != std::string::npos)
      return Error::sys(std::string("pass ") + what, std::to_string(i), EINVAL,
                        "it contains a zero byte, which no program can be given");
  return {};
}

Result<void> check(const Program& program) {
  if (program.arguments.empty()) return Error{"start a program: no arguments were given", EINVAL};
  TRY(check_strings(program.arguments, "argument"));
  TRY(check_strings(program.environment, "environment entry"));
  TRY(check_strings({program.directory}, "directory"));
  const Credentials& user = program.user;
  if (user.uid == 0 || user.gid == 0 || std::count(user.groups.begin(), user.groups.end(), 0U) > 0)
    return Error{"start " + program.arguments[0] + " as uid " + std::to_string(user.uid) +
                     ", gid " + std::to_string(user.gid) +
                     ": hosts run nothing as root or with group 0; submit it as an ordinary user",
                 EPERM};
  return {};
}

Launch prepare(const Program& program) {
  Launch launch;
  launch.candidates = candidates_of(program);
  for (const std::string& argument : program.arguments)
    launch.arguments.push_back(argument.c_str());
  launch.arguments.push_back(nullptr);
  launch.shell = {"sh", nullptr};
  launch.shell.insert(launch.shell.end(), launch.arguments.begin() + 1, launch.arguments.end());
  for (const std::string& variable : program.environment)
    launch.environment.push_back(variable.c_str());
  launch.environment.push_back(nullptr);
  return launch;
}

// ---- the child
// --------------------------------------------------------------------------------------

/// Ends the child. The parent takes the end of the pipe without a message as success, but then
/// finds the exit status of this process instead of the program's: 125, hob itself failed.
[[noreturn]] void fail(int report, Step step, int code = errno, int detail = 0) {
  const Failure failure{step, code, detail};
  if (::write(report, &failure, sizeof failure) != sizeof failure) ::_exit(kExitHobFailed);
  ::_exit(kExitHobFailed);
}

/// A descriptor above the standard ones, so that putting those in place does not overwrite it.
int above_stdio(int fd) {
  return fd > 2 ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

bool place_stdio(const Stdio& stdio, const std::array<bool, 3>& closed) {
  const int ends[3] = {above_stdio(stdio.in.get()), above_stdio(stdio.out.get()),
                       above_stdio(stdio.err.get())};
  for (int i = 0; i < 3; ++i)
    if (ends[i] < 0 || ::dup2(ends[i], i) < 0) return false;
  for (int i = 0; i < 3; ++i)
    if (closed[static_cast<size_t>(i)] && ::close(i) < 0) return false;
  return true;
}

/// The kernel's memory killer takes guests before anything of the owner's.
bool first_to_die() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  return fd >= 0 && ::write(fd, "1000", 4) == 4 && ::close(fd) == 0;
}

/// Kernels with autogroups (sched(7)) weigh sessions against each other before they look at the
/// policy of a thread. Ours, which setsid(2) has made, is to weigh least. Without autogroups there
/// is no such file.
bool lightest_session() {
  const int fd = ::open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT;
  return ::write(fd, "19", 2) == 2 && ::close(fd) == 0;
}

bool idle_io() {
  return ::syscall(SYS_ioprio_set, kernel::kIoprioWhoProcess, 0, kernel::kIoprioIdle) == 0;
}

/// SCHED_IDLE rather than nice 19. What counts is the moment the owner comes back to a host whose
/// processors are all busy with guests: hostd must run at once to freeze them. A waking ordinary
/// thread preempts a SCHED_IDLE one immediately; a nice 19 one it may let finish its slice of 3 ms
/// (measured with both processors taken: wake-up p99 1.0 ms against 2.7 ms), which is more than the
/// 2 ms in which the owner is to have the machine back. Its price: beside the owner's own full load
/// a guest gets 0.3 % of a processor and takes long to reach a stop, so that who captures it has to
/// raise it (urgency.h). Such a host is not idle and soon has no guests. The nice value,
/// which a job can see, stays as at home.
bool idle_scheduling(pid_t thread = 0) {
  const sched_param none{};
  return ::sched_setscheduler(thread, SCHED_IDLE, &none) == 0;
}

/// Dispositions that were ignored, and the mask, would outlive execve(2).
bool default_signals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal)
    if (::sigaction(signal, &standard, nullptr) < 0 && errno != EINVAL) return false;
  sigset_t none;
  ::sigemptyset(&none);
  return ::sigprocmask(SIG_SETMASK, &none, nullptr) == 0;
}

/// A file that execve(2) does not know is a shell script (execvp(3)), unless it is no text: then
/// running it would only make the shell stumble over it. The rule of POSIX shells: a zero byte in
/// the first line.
bool is_text(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char head[256];
  const ssize_t n = ::read(fd, head, sizeof head);
  ::close(fd);
  if (n < 0) return false;
  const std::string_view text(head, static_cast<size_t>(n));
  return text.substr(0, text.find('\n')).find('\0') == text.npos;
}

/// Returns only if nothing could be run: with the errno that says why, and whether a file was
/// there.
int exec(Launch& launch, bool& found) {
  int best = ENOENT;
  found = false;
  for (const std::string& path : launch.candidates) {
    ::execve(path.c_str(), const_cast<char* const*>(launch.arguments.data()),
             const_cast<char* const*>(launch.environment.data()));
    switch (errno) {
      case ENOEXEC:
        if (!is_text(path.c_str())) return ENOEXEC;
        launch.shell[1] = path.c_str();
        ::execve("/bin/sh", const_cast<char* const*>(launch.shell.data()),
                 const_cast<char* const*>(launch.environment.data()));
        return errno;
      case EACCES:
        best = EACCES;  // of several reasons, the one that tells most
        break;
      case ENOENT:
        found = found || ::access(path.c_str(), F_OK) == 0;
        break;
      case ENOTDIR:
      case ESTALE:
      case ENODEV:
      case ETIMEDOUT:
        break;
      default:
        return errno;
    }
  }
  return best;
}

[[noreturn]] void run_child(const Program& program, Launch& launch, const Stdio& stdio,
                            int report) {
  report = above_stdio(report);
  if (::setsid() < 0) fail(report, Step::session);
  if (program.terminal && ::ioctl(stdio.in.get(), TIOCSCTTY, 0) < 0) fail(report, Step::terminal);
  if (!place_stdio(stdio, program.closed)) fail(report, Step::stdio);
  // Close-on-exec instead of closing now: `report` must stay open until the program runs.
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) fail(report, Step::close_others);
  if (program.foreign) {
    if (!first_to_die()) fail(report, Step::memory_pressure);
    if (!idle_io()) fail(report, Step::io_priority);
    if (!lightest_session() || !idle_scheduling()) fail(report, Step::scheduling);
  }
  for (const Limit& limit : program.limits)
    if (limit.resource != RLIMIT_NICE && limit.resource != RLIMIT_RTPRIO &&
        ::setrlimit(static_cast<__rlimit_resource>(limit.resource), &limit.value) < 0)
      fail(report, Step::limits, errno, limit.resource);
  // These two are the host's: whatever home allows, no guest may raise its priority here.
  const rlimit none{0, 0};
  for (const auto resource : {RLIMIT_NICE, RLIMIT_RTPRIO})
    if (::setrlimit(resource, &none) < 0) fail(report, Step::limits, errno, resource);
  if (!default_signals()) fail(report, Step::signals);
  ::umask(program.umask);
  if (const int code = confine(program.user); code != 0) fail(report, Step::confine, code);
  // From here on with the user's own rights: a file server need not know root (NFS root_squash).
  if (::chdir(program.directory.c_str()) < 0) fail(report, Step::directory);
  bool found = false;
  const int code = exec(launch, found);
  fail(report, Step::exec, code, found);
}

// ---- the parent
// -------------------------------------------------------------------------------------

Error explain(const Failure& failure, const Program& program) {
  const std::string& name = program.arguments[0];
  const auto step = [&](const char* what, std::string_view hint = {}) {
    return Error::sys(what, "for " + name, failure.code, hint);
  };
  switch (failure.step) {
    case Step::session:
      return step("start a session");
    case Step::terminal:
      return step("take the controlling terminal", "its standard input must be a free terminal");
    case Step::stdio:
      return step("set up the standard streams");
    case Step::close_others:
      return step("close other descriptors");
    case Step::limits:
      return Error::sys("set resource limit " + std::to_string(failure.detail), "for " + name,
                        failure.code, "it is above what this host's hostd may give");
    case Step::memory_pressure:
      return step("raise the out-of-memory score");
    case Step::io_priority:
      return step("set the idle i/o priority");
    case Step::scheduling:
      return step("set the idle scheduling policy");
    case Step::signals:
      return step("reset the signals");
    case Step::confine:
      return Error::sys("become uid " + std::to_string(program.user.uid), "for " + name,
                        failure.code);
    case Step::directory: {
      // A missing directory must not look like a missing program.
      const int code = failure.code == ENOENT ? ENOTDIR : failure.code;
      Error error = Error::sys("enter directory", program.directory, failure.code,
                               "the same directories must be there on every host of the cell");
      error.code = code;
      return error;
    }
    case Step::exec:
      if (failure.code == ENOENT && failure.detail)
        return Error::sys("execute", name, ELIBACC,
                          "the program is there, but the interpreter or loader it names is not");
      return Error::sys("execute", name, failure.code,
                        failure.code == ENOENT && name.find('/') == name.npos
                            ? "it is not in the job's PATH"
                            : "");
  }
  return step("start a process");
}

void reap(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

/// Waits until the program runs (the pipe closes) or the child has told why it does not.
Result<void> await_exec(const Fd& report, const Program& program) {
  pollfd poll{report.get(), POLLIN, 0};
  const Time deadline = Clock::now() + kExecLimit;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - Clock::now()) + milliseconds(1);
    const int ready = ::poll(&poll, 1, std::max(0, static_cast<int>(left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Error::sys("wait for the start of", program.arguments[0]);
    if (ready == 0)
      return Error::sys("wait for the start of", program.arguments[0], ETIMEDOUT,
                        "the sandbox is frozen, or a file server does not answer");
    Failure failure;
    const ssize_t n = ::read(report.get(), &failure, sizeof failure);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("read the report of", program.arguments[0]);
    if (n == sizeof failure) return explain(failure, program);
    return {};
  }
}

}  // namespace

Result<pid_t> start(Sandbox& sandbox, const Program& program, Stdio stdio) {
  TRY(check(program));
  Launch launch = prepare(program);
  Pipe report = TRY(make_pipe());
  const pid_t pid = TRY(
      sandbox.clone(kRootPid, [&] { run_child(program, launch, stdio, report.write_end.get()); }));
  report.write_end.reset();
  if (auto executed = await_exec(report.read_end, program); !executed) {
    ::kill(pid, SIGKILL);
    reap(pid);
    return std::move(executed).error();
  }
  return pid;
}

Result<void> hasten_stop(const Cgroup& cgroup) {
  const sched_param none{};
  for (pid_t thread : TRY(cgroup.threads())) {
    const auto slack = timer_slack(thread);
    if (!slack) continue;  // it has ended
    // Real time would make the kernel forget a slack that the program has set, and who lowers the
    // thread again is somebody else. One that has none is real-time already.
    if (*slack != kUsualTimerSlack && *slack != 0) {
      ::sched_setscheduler(thread, SCHED_OTHER, &none);
      continue;
    }
    if (auto raised = hasten(thread); !raised && raised.error().code != ESRCH) return raised;
  }
  return {};
}

Result<void> lower_priority(const Cgroup& cgroup) {
  for (pid_t thread : TRY(cgroup.threads())) {
    const bool raised = ::sched_getscheduler(thread) == SCHED_FIFO;
    const bool lowered =
        ::syscall(SYS_ioprio_set, kernel::kIoprioWhoProcess, thread, kernel::kIoprioIdle) == 0 &&
        idle_scheduling(thread);
    if (!lowered && errno != ESRCH)
      return Error::sys("lower the priority of", "thread " + std::to_string(thread));
    // Only such have been raised; the kernel would give it what its parent had.
    if (raised)
      if (auto set = set_timer_slack(thread, kUsualTimerSlack);
          !set && set.error().code != ESRCH && set.error().code != ENOENT)
        return set;
  }
  return {};
}

}  // namespace hob::migrate
