#include "migrate/sandbox.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// glibc 2.36 forgot to say that these are C functions.
extern "C" {
#include <sys/pidfd.h>
}

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace hob::migrate {

namespace {

/// What the child of a fork says when it cannot even become a guest ("hob itself failed").
constexpr int kExitHobFailed = 125;

/// The size of a tmpfs's root without entries: the kernel counts 20 bytes for each, itself and its
/// parent included (BOGO_DIRENT_SIZE in mm/shmem.c). Where that is otherwise, no sandbox counts as
/// clean.
constexpr off_t kEmptyTmpfs = 40;

pid_t clone3(clone_args& arguments) {
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

uint64_t address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

/// One of this process's namespaces, to come back to. (A pidfd of this process would not do: it
/// means the namespaces that the process is in when it is used.)
Result<Fd> open_own(const char* space) {
  return open_file(std::string("/proc/self/ns/") + space, O_RDONLY);
}

/// Waits until the process of `pidfd` has exited, and reaps it. Ok as well if somebody else reaped
/// it.
Result<void> reap(const Fd& pidfd, Time deadline, std::string_view what) {
  for (;;) {
    pollfd poll{pidfd.get(), POLLIN, 0};
    const auto left = std::max(Duration{0}, Duration(deadline - Clock::now()));
    const timespec wait{left / seconds(1), (left % seconds(1)).count()};
    const int ready = ::ppoll(&poll, 1, &wait, nullptr);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Error::sys("wait for", what);
    if (ready == 0) return Error::sys("wait for the end of", what, ETIMEDOUT);
    siginfo_t info;
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | __WALL) < 0) {
      if (errno == ECHILD) break;
      if (errno != EINTR) return Error::sys("wait for", what);
    }
    return {};
  }
}

// ---- init: pid 1 of the sandbox
// ---------------------------------------------------------------------

enum class InitStep : int {
  ready,
  parent_died,
  make_mounts_private,
  mount_proc,
  mount_devpts,
  mount_shm
};

/// What init tells its parent once, through a pipe.
struct InitReport {
  InitStep step;
  int code;
};

const char* describe(InitStep step) {
  switch (step) {
    case InitStep::ready:
      return "start";
    case InitStep::parent_died:
      return "outlive its parent in";
    case InitStep::make_mounts_private:
      return "make the mounts private in";
    case InitStep::mount_proc:
      return "mount /proc in";
    case InitStep::mount_shm:
      return "mount /dev/shm in";
    case InitStep::mount_devpts:
      return "mount /dev/pts in";
  }
  return "start";
}

/// Sets up what only a process inside can, then holds the namespaces until it is killed.
[[noreturn]] void run_init(int report, int parent) {
  const auto tell = [report](InitStep step, int code) {
    const InitReport message{step, code};
    // Nobody is left to be told if this fails: the parent reads the end of the pipe as a failure.
    if (::write(report, &message, sizeof message) != sizeof message) ::_exit(kExitHobFailed);
    if (step != InitStep::ready) ::_exit(kExitHobFailed);
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before that call; it is outside, so getppid() is 0 either way.
  pollfd parent_exit{parent, POLLIN, 0};
  if (::poll(&parent_exit, 1, 0) != 0) tell(InitStep::parent_died, ESRCH);
  ::prctl(PR_SET_NAME, "hob-init");
  ::prctl(PR_SET_DUMPABLE, 0);  // a copy of a root process: not for the guest to look into
  ::setsid();                   // signals from the parent's terminal are not for us

  // Slave rather than private: when the owner unmounts his USB stick, it must go here too, or the
  // guest would keep it busy. Nothing that is mounted in here is seen outside.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
    tell(InitStep::make_mounts_private, errno);
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0)
    tell(InitStep::mount_proc, errno);
  // Terminals of its own: reading one of the guest's is no sign of this host's owner, the host's
  // cannot be opened from inside, and the first one made is number 0 wherever the guest runs.
  if (::mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,gid=5,mode=620,ptmxmode=666") < 0)
    tell(InitStep::mount_devpts, errno);
  // What programs put there is shared by those of one job, and goes where the job goes (ipc.h). Its
  // size is the kernel's default, half the memory; what counts is the guest's limit. A host without
  // the directory has no such programs.
  if (::mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") < 0 && errno != ENOENT)
    tell(InitStep::mount_shm, errno);

  // Ignoring SIGCHLD makes the kernel reap orphans without us, also while the cgroup is frozen.
  // CLONE_CLEAR_SIGHAND has undone the handlers of the parent.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignore, nullptr);
  if (::chdir("/") < 0) tell(InitStep::mount_proc, errno);

  // An inherited pipe end would keep its reader waiting for ever.
  if (report > 0) ::close_range(0, static_cast<unsigned>(report - 1), 0);
  ::close_range(static_cast<unsigned>(report + 1), ~0U, 0);
  tell(InitStep::ready, 0);
  ::close(report);
  for (;;) ::pause();
}

// ---- the clocks
// -------------------------------------------------------------------------------------

std::string offset_line(const char* clock, Duration offset) {
  auto whole = std::chrono::floor<seconds>(offset);  // the kernel wants 0 <= nanoseconds < 1e9
  return std::string(clock) + " " + std::to_string(whole.count()) + " " +
         std::to_string((offset - whole).count()) + "\n";
}

/// The namespaces of the calling process, opened when they are first needed: a sandbox that serves
/// one job after another comes back to them all the time.
struct Own {
  Fd pid, time, ipc;
};

/// While it lives, children of the calling process are born into other pid and time namespaces. The
/// process must not start threads meanwhile (clone(2) refuses with EINVAL).
class Expecting {
 public:
  /// `time` is the time namespace to use; if there is none yet, one with `offsets` is made and put
  /// there.
  static Result<Expecting> children_of(const Fd& init, const ClockOffsets& offsets, Fd& time,
                                       Own& own) {
    if (!own.pid) own.pid = TRY(open_own("pid"));
    if (!own.time) own.time = TRY(open_own("time"));
    // Shows before anything has changed that the way back is open: it needs a single thread.
    if (::setns(own.time.get(), CLONE_NEWTIME) < 0)
      return Error::sys("enter", "a time namespace", errno,
                        "needs root and a process with one thread");
    Expecting expecting(own);
    if (::setns(init.get(), CLONE_NEWPID) < 0)
      return Error::sys("enter the pid namespace of", "the sandbox");
    if (time) {
      if (::setns(time.get(), CLONE_NEWTIME) < 0)
        return Error::sys("enter the time namespace of", "the sandbox");
      return expecting;
    }
    if (::unshare(CLONE_NEWTIME) < 0) return Error::sys("make", "a time namespace");
    TRY(write_control("/proc/self/timens_offsets", offset_line("monotonic", offsets.monotonic) +
                                                       offset_line("boottime", offsets.boottime)));
    time = TRY(open_own("time_for_children"));
    return expecting;
  }
  Expecting(Expecting&& other) noexcept : own_(std::exchange(other.own_, nullptr)) {}
  ~Expecting() {
    if (own_ == nullptr) return;
    CHECK(::setns(own_->pid.get(), CLONE_NEWPID) == 0);
    CHECK(::setns(own_->time.get(), CLONE_NEWTIME) == 0);
  }

 private:
  explicit Expecting(const Own& own) : own_(&own) {}
  const Own* own_;
};

}  // namespace

struct Sandbox::State {
  explicit State(Cgroup group) : cgroup(std::move(group)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    auto gone = destroy(seconds(10));
    if (!gone) log::error("{}", gone.error().text);
  }

  Result<void> start_init();
  Result<bool> shm_empty();
  Result<void> destroy(Duration limit);

  Cgroup cgroup;
  pid_t init = 0;
  Fd init_fd;                ///< pidfd; none before start_init and after destroy
  std::vector<Fd> children;  ///< pidfds of what clone() made
  Fd time;                   ///< the time namespace, once there is one
  Own own;
  Fd shm;  ///< its /dev/shm, once it was looked at; none where there is none
  ClockOffsets offsets;
  bool furnished = false;
  bool destroyed = false;
};

Result<void> Sandbox::State::start_init() {
  const Fd self(::pidfd_open(::getpid(), 0));
  if (!self) return Error::sys("open", "a pidfd of this process");
  Pipe report = TRY(make_pipe());
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_PIDFD |
                    CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND;
  arguments.pidfd = address(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(cgroup.fd());
  const pid_t pid = clone3(arguments);
  if (pid < 0)
    return Error::sys("start init of sandbox", cgroup.path(), errno,
                      errno == EPERM ? "hostd must run as root" : "");
  if (pid == 0) run_init(report.write_end.get(), self.get());
  init = pid;
  init_fd.reset(pidfd);

  report.write_end.reset();
  InitReport message{};
  ssize_t n;
  do {
    n = ::read(report.read_end.get(), &message, sizeof message);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof message)
    return Error::sys("start init of sandbox", cgroup.path(), ESRCH, "it was killed");
  if (message.step != InitStep::ready)
    return Error::sys(describe(message.step), "sandbox " + cgroup.path(), message.code);
  return {};
}

Result<bool> Sandbox::State::shm_empty() {
  const std::string path = "/proc/" + std::to_string(init) + "/root/dev/shm";
  if (!shm) {
    Result<Fd> opened = open_file(path, O_RDONLY | O_DIRECTORY);
    if (!opened.ok() && opened.error().code == ENOENT) return true;
    shm = TRY(std::move(opened));
  }
  struct stat status {};
  if (::fstat(shm.get(), &status) < 0) return Error::sys("look at", path);
  return status.st_size == kEmptyTmpfs;
}

Result<void> Sandbox::State::destroy(Duration limit) {
  if (destroyed) return {};
  const Time deadline = Clock::now() + limit;
  const std::string name = "sandbox " + cgroup.path();
  shm.reset();
  if (init_fd) {
    auto killed = cgroup.kill();
    // Killing init ends its pid namespace too; it is the way that needs no cgroup directory.
    if (!killed && ::pidfd_send_signal(init_fd.get(), SIGKILL, nullptr, 0) < 0 && errno != ESRCH)
      return std::move(killed).error().in("destroy " + name);
    // Our own children first: init's exit waits until they are reaped (pid_namespaces(7)).
    for (const Fd& child : children) TRY(reap(child, deadline, "a process of " + name));
    children.clear();
    TRY(reap(init_fd, deadline, "init of " + name));
    init_fd.reset();
  }
  // A process leaves its cgroup a moment after it can be waited for.
  for (Duration pause = microseconds(20);; pause = std::min<Duration>(2 * pause, milliseconds(5))) {
    auto removed = cgroup.remove();
    if (removed) break;
    if (removed.error().code != EBUSY || Clock::now() > deadline)
      return std::move(removed).error().in("destroy " + name);
    const timespec wait{0, pause.count()};
    ::nanosleep(&wait, nullptr);
  }
  destroyed = true;
  return {};
}

Sandbox::Sandbox(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sandbox::Sandbox(Sandbox&&) noexcept = default;
Sandbox& Sandbox::operator=(Sandbox&&) noexcept = default;
Sandbox::~Sandbox() = default;

Result<Sandbox> Sandbox::create(const std::string& cgroup) {
  auto state = std::make_unique<State>(TRY(Cgroup::create(cgroup)));
  TRY(state->start_init());
  return Sandbox(std::move(state));
}

Result<void> Sandbox::furnish(const std::string& host_name, ClockOffsets offsets) {
  State& state = *state_;
  CHECK(!state.furnished && !state.destroyed);
  // The cheapest way to set it: step into the uts namespace and out again (a few microseconds).
  const Fd own = TRY(open_own("uts"));
  if (::setns(state.init_fd.get(), CLONE_NEWUTS) < 0)
    return Error::sys("enter the uts namespace of sandbox", state.cgroup.path());
  const int code = ::sethostname(host_name.data(), host_name.size()) < 0 ? errno : 0;
  CHECK(::setns(own.get(), CLONE_NEWUTS) == 0);
  if (code != 0) return Error::sys("set the host name to", host_name, code);
  state.offsets = offsets;
  state.furnished = true;
  return {};
}

Result<pid_t> Sandbox::clone(pid_t inside, const std::function<void()>& body) {
  State& state = *state_;
  CHECK(state.furnished && !state.destroyed);
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
  arguments.pidfd = address(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(state.cgroup.fd());
  arguments.set_tid = address(&inside);
  arguments.set_tid_size = 1;
  const Expecting expecting =
      TRY(Expecting::children_of(state.init_fd, state.offsets, state.time, state.own));
  const pid_t pid = clone3(arguments);
  if (pid < 0)
    return Error::sys("start process " + std::to_string(inside) + " in sandbox",
                      state.cgroup.path(), errno,
                      errno == EEXIST   ? "this process id is in use"
                      : errno == ENOMEM ? "no memory, or the sandbox's init has died"
                                        : "");
  if (pid == 0) {
    auto enter = [&state]() -> Result<void> {
      if (::setns(state.init_fd.get(), CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
        return Error::sys("enter sandbox", state.cgroup.path());
      return state.cgroup.join_v1();
    };
    if (auto entered = enter(); !entered) {
      log::error("{}", entered.error().text);
      ::_exit(kExitHobFailed);
    }
    body();
    constexpr bool kBodyMustNotReturn = false;
    CHECK(kBodyMustNotReturn);
  }
  state.children.emplace_back(pidfd);
  return pid;
}

Result<bool> Sandbox::clean() {
  State& state = *state_;
  if (state.destroyed || !state.init_fd) return false;
  const std::vector<pid_t> processes = TRY(state.cgroup.processes());
  if (processes.size() != 1 || processes[0] != state.init) return false;
  state.children.clear();  // all have been waited for, or there would be more than init
  if (!TRY(state.shm_empty())) return false;
  if (!state.own.ipc) state.own.ipc = TRY(open_own("ipc"));
  if (::setns(state.init_fd.get(), CLONE_NEWIPC) < 0)
    return Error::sys("enter the ipc namespace of sandbox", state.cgroup.path());
  shm_info memory{};
  msginfo queues{};
  seminfo semaphores{};
  // With *_INFO the kernel fills in what exists now (shmctl(2), msgctl(2), semctl(2)).
  const bool counted = ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&memory)) >= 0 &&
                       ::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&queues)) >= 0 &&
                       ::semctl(0, 0, SEM_INFO, &semaphores) >= 0;
  CHECK(::setns(state.own.ipc.get(), CLONE_NEWIPC) == 0);
  return counted && memory.used_ids == 0 && queues.msgpool == 0 && semaphores.semusz == 0;
}

Result<Fd> Sandbox::open_terminal() const {
  // The kernel takes the devpts that is mounted beside the ptmx that was opened, so this master
  // belongs to the sandbox, although we are outside.
  return open_file("/proc/" + std::to_string(init()) + "/root/dev/ptmx",
                   O_RDWR | O_NOCTTY | O_NONBLOCK);
}

Cgroup& Sandbox::cgroup() {
  return state_->cgroup;
}
pid_t Sandbox::init() const {
  return state_->init;
}
Result<void> Sandbox::destroy(Duration limit) {
  return state_->destroy(limit);
}

}  // namespace hob::migrate
