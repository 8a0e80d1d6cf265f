#include "bench/room.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "migrate/proc.h"

namespace hob::bench {
namespace {

[[noreturn]] void be_init() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (::mount("proc", "/proc", "proc", 0, nullptr) < 0) ::_exit(1);
  ::signal(SIGCHLD, SIG_DFL);
  for (;;) {
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::usleep(1000);
  }
}

std::string in_init(pid_t init, const char* what) {
  return "/proc/" + std::to_string(init) + "/" + what;
}

// In a child of this process.
[[noreturn]] void execute(const std::vector<std::string>& command, int inherited) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int stream = 0; stream < 3; stream++) ::dup2(null, stream);
  // What this process was started with is none of the program's business.
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  if (inherited >= 0) ::fcntl(inherited, F_SETFD, 0);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

bool enter(pid_t init) {
  const int pids = ::open(in_init(init, "ns/pid").c_str(), O_RDONLY | O_CLOEXEC);
  const int mounts = ::open(in_init(init, "ns/mnt").c_str(), O_RDONLY | O_CLOEXEC);
  return ::setns(pids, CLONE_NEWPID) == 0 && ::setns(mounts, CLONE_NEWNS) == 0;
}

int exit_status(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Room::Room(Room&& other) noexcept : init_(std::exchange(other.init_, 0)) {}
Room& Room::operator=(Room&& other) noexcept {
  close();
  init_ = std::exchange(other.init_, 0);
  return *this;
}
Room::~Room() {
  close();
}
void Room::close() {
  if (!init_) return;
  ::kill(init_, SIGKILL);
  exit_status(init_);
  init_ = 0;
}

Result<Room> Room::open() {
  const Fd own = TRY(open_file("/proc/self/ns/pid_for_children", O_RDONLY));
  if (::unshare(CLONE_NEWPID) < 0) return Error::sys("make", "a pid namespace");
  const pid_t init = ::fork();
  if (init == 0) {
    if (::unshare(CLONE_NEWNS) < 0) ::_exit(1);
    be_init();
  }
  if (::setns(own.get(), CLONE_NEWPID) < 0 || init < 0)
    return Error::sys("make", "a pid namespace");
  Room room(init);
  // Until it has mounted its own /proc over the other.
  for (int i = 0; i < 2000; i++) {
    auto mounts = read_file(in_init(init, "mountinfo"));
    constexpr std::string_view kProc = " /proc rw,relatime - proc proc";
    if (mounts && mounts->find(kProc) != mounts->rfind(kProc)) return room;
    ::usleep(1000);
  }
  return Error{"make a pid namespace: its /proc was not mounted", ETIMEDOUT};
}

Result<pid_t> Room::begin(const std::vector<std::string>& command, int inherited) const {
  const pid_t pid = ::fork();
  if (pid < 0) return Error::sys("start", command[0]);
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!enter(init_)) ::_exit(126);
  const pid_t inside = ::fork();
  if (inside == 0) execute(command, inherited);
  ::_exit(inside < 0 ? 126 : exit_status(inside));
}

Result<void> Room::run(const std::vector<std::string>& command) const {
  return await_success(TRY(begin(command)), command[0]);
}

Result<void> Room::launch(const std::vector<std::string>& command) const {
  const pid_t pid = ::fork();
  if (pid < 0) return Error::sys("start", command[0]);
  if (pid == 0) {
    if (!enter(init_)) ::_exit(126);
    const pid_t between = ::fork();
    if (between == 0) {
      if (!write_control("/proc/sys/kernel/ns_last_pid", "1000")) ::_exit(126);
      const pid_t program = ::fork();
      if (program == 0) {
        ::setsid();
        execute(command, -1);
      }
      ::_exit(program < 0);
    }
    ::_exit(between < 0 ? 126 : exit_status(between));
  }
  return await_success(pid, command[0]);
}

std::vector<pid_t> Room::inhabitants() const {
  std::vector<pid_t> all;
  if (auto children = migrate::proc::children({init_}))
    for (migrate::Tid child : *children) all.push_back(child.value);
  return all;
}

Result<void> await_success(pid_t pid, const std::string& name) {
  const int status = exit_status(pid);
  if (status == 0) return {};
  return Error{"run " + name + ": it ended with " + std::to_string(status), ECHILD};
}

}  // namespace hob::bench
