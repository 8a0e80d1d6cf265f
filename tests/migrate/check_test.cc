// Processes that are no guests, and what would keep each of them here.
#include "migrate/check.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "migrate/outside.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::migrate;

namespace {

constexpr uid_t kUser = 65534;

bool become_user() {
  if (::getuid() != 0) return true;
  // A change of the user makes a process undumpable, which an execve() would end.
  return ::setresgid(kUser, kUser, kUser) == 0 && ::setresuid(kUser, kUser, kUser) == 0 &&
         ::prctl(PR_SET_DUMPABLE, 1) == 0;
}

/// A child that has `given` as descriptors 3, 4, ... and nothing else beyond its standard streams,
/// has done `body` and waits; `body` is false if this machine lacks it. As kUser, if this is root.
class Child {
 public:
  explicit Child(const std::function<bool()>& body, const std::vector<int>& given = {}) {
    Pipe told = make_pipe(O_CLOEXEC).value();
    pid_ = ::fork();
    if (pid_ == 0) run(told.write_end.get(), body, given);
    told.write_end.reset();
    char ok = 'n';
    able_ = ::read(told.read_end.get(), &ok, 1) == 1 && ok == 'y';
    // The end of it: the descriptor has been closed.
    while (able_ && ::read(told.read_end.get(), &ok, 1) > 0) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  bool able() const { return able_; }

 private:
  [[noreturn]] static void run(int told, const std::function<bool()>& body,
                               const std::vector<int>& given) {
    constexpr int kTold = 100, kAside = 200;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "child");
    for (size_t i = 0; i < given.size(); i++) ::dup2(given[i], kAside + static_cast<int>(i));
    ::dup2(told, kTold);
    ::close_range(3, kTold - 1, 0);
    for (size_t i = 0; i < given.size(); i++)
      ::dup2(kAside + static_cast<int>(i), 3 + static_cast<int>(i));
    ::close_range(kTold + 1, ~0u, 0);
    const char ok = body() && become_user() ? 'y' : 'n';
    if (::write(kTold, &ok, 1) != 1) ::_exit(1);
    ::close(kTold);
    for (;;) ::pause();
  }

  pid_t pid_;
  bool able_;
};

/// The obstacles of a child that has done `body`, each without its process.
std::vector<std::string> obstacles_of(const std::function<bool()>& body) {
  Child child(body);
  if (!child.able()) {
    std::puts("SKIP: needs the kernel's consent");
    return {"SKIP"};
  }
  const auto found = examine_process(child.pid());
  REQUIRE(found.ok());
  std::vector<std::string> texts;
  const std::string who = " of process " + std::to_string(child.pid()) + " (child)";
  for (const Obstacle& obstacle : found->obstacles) {
    std::string text = obstacle.text;
    if (const size_t at = text.find(who); at != std::string::npos) text.erase(at, who.size());
    texts.push_back(text);
  }
  return texts;
}

void names(const std::function<bool()>& body, const std::string& expected) {
  const auto texts = obstacles_of(body);
  if (texts == std::vector<std::string>{"SKIP"}) return;
  REQUIRE(texts.size() == 1);
  CHECK(texts[0] == expected + "; cannot be moved yet");
}

}  // namespace

TEST_CASE("an ordinary process could be moved, and its table is whole") {
  Child child([] {
    const int file = ::open("/proc/self/exe", O_RDONLY);
    int ends[2];
    return file == 3 && ::pipe(ends) == 0;
  });
  REQUIRE(child.able());
  const auto found = examine_process(child.pid());
  REQUIRE(found.ok());
  for (const Obstacle& obstacle : found->obstacles) UNSCOPED_INFO(obstacle.text);
  CHECK(found->obstacles.empty());
  const auto row = [&](const std::string& place) {
    auto at = std::find_if(found->resources.begin(), found->resources.end(),
                           [&](const Resource& r) { return r.place == place; });
    REQUIRE(at != found->resources.end());
    CHECK(at->process == child.pid());
    CHECK(at->program == "child");
    return *at;
  };
  CHECK(row("fd 3").binding == Binding::rebound);
  CHECK(row("fd 3").name.ends_with("migrate_check_test"));
  CHECK(row("fd 4").kind == "pipe, reading");
  CHECK(row("fd 5").binding == Binding::moved);
  const auto mapped = [&](std::string_view name) {
    return std::any_of(found->resources.begin(), found->resources.end(),
                       [&](const Resource& r) { return r.name == name; });
  };
  CHECK(mapped("[stack]"));
  CHECK(mapped("[vdso]"));
  CHECK_FALSE(mapped("[vsyscall]"));
}

TEST_CASE("io_uring is named") {
  names(
      [] {
        char parameters[256] = {};
        return ::syscall(SYS_io_uring_setup, 8, parameters) == 3;
      },
      "fd 3: io_uring instance");
}
TEST_CASE("userfaultfd is named") {
  names([] { return ::syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */) == 3; },
        "fd 3: userfaultfd instance");
}
TEST_CASE("fanotify is named") {
  names([] { return ::syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, 0) == 3; },
        "fd 3: fanotify instance");
}
TEST_CASE("bpf is named") {
  names(
      [] {
        // BPF_MAP_CREATE of an array: type, key size, value size, entries (linux/bpf.h).
        uint32_t attributes[32] = {2, 4, 4, 1};
        return ::syscall(SYS_bpf, 0, attributes, sizeof attributes) == 3;
      },
      "fd 3: bpf-map instance");
}
TEST_CASE("perf events are named") {
  names(
      [] {
        perf_event_attr attributes = {};
        attributes.type = PERF_TYPE_SOFTWARE;
        attributes.size = sizeof attributes;
        attributes.config = PERF_COUNT_SW_TASK_CLOCK;
        attributes.exclude_kernel = 1;
        return ::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0) == 3;
      },
      "fd 3: perf_event instance");
}
TEST_CASE("kernel AIO is named") {
  const auto texts = obstacles_of([] {
    aio_context_t ring = 0;
    return ::syscall(SYS_io_setup, 4, &ring) == 0;
  });
  if (texts == std::vector<std::string>{"SKIP"}) return;
  REQUIRE(texts.size() == 1);
  CHECK(texts[0].starts_with("mapping at "));
  CHECK(texts[0].ends_with(": kernel asynchronous I/O (io_setup); cannot be moved yet"));
}
TEST_CASE("a device is named") {
  names([] { return ::open("/dev/kmsg", O_WRONLY) == 3 || ::open("/dev/fuse", O_RDWR) == 3; },
        ::access("/dev/kmsg", F_OK) == 0 ? "fd 3: the device /dev/kmsg"
                                         : "fd 3: the device /dev/fuse");
}
TEST_CASE("a network connection is named") {
  sockaddr_in nobody{};  // of UDP a packet need not be answered
  nobody.sin_family = AF_INET;
  nobody.sin_port = htons(9);
  nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  names(
      [&] {
        return ::socket(AF_INET, SOCK_DGRAM, 0) == 3 &&
               ::connect(3, reinterpret_cast<sockaddr*>(&nobody), sizeof nobody) == 0;
      },
      "fd 3: a network connection to 127.0.0.1:9");
}
TEST_CASE("a socket of another family is named") {
  names([] { return ::socket(AF_NETLINK, SOCK_RAW, 0) == 3; }, "fd 3: a netlink socket");
}

TEST_CASE("what leads out of the tree is named when all of it has been seen") {
  int ends[2], pipe_ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  REQUIRE(::pipe(pipe_ends) == 0);
  // Whole pairs are no obstacle.
  Child whole([] { return true; }, {ends[0], ends[1], pipe_ends[0], pipe_ends[1]});
  Child half([] { return true; }, {ends[0], pipe_ends[0]});
  for (int fd : {ends[0], ends[1], pipe_ends[0], pipe_ends[1]}) ::close(fd);
  REQUIRE((whole.able() && half.able()));
  const auto movable = examine_process(whole.pid()), found = examine_process(half.pid());
  REQUIRE((movable.ok() && found.ok()));
  CHECK(movable->obstacles.empty());
  for (const auto& o : found->obstacles) UNSCOPED_INFO(o.text);
  REQUIRE(found->obstacles.size() == 2);
  const std::string who = " of process " + std::to_string(half.pid()) + " (child): ";
  CHECK(found->obstacles[0].text ==
        "fd 3" + who + "a unix socket whose other end is outside the job; cannot be moved yet");
  CHECK(found->obstacles[1].text ==
        "fd 4" + who + "a pipe whose other end is outside the job; cannot be moved yet");
  size_t rows = 0;
  for (const Resource& r : found->resources) {
    if (r.place != "fd 3" && r.place != "fd 4") continue;
    rows++;
    CHECK(r.binding == Binding::refused);
  }
  CHECK(rows == 2);  // set right, not doubled
}

TEST_CASE("a process that traces another, or is traced, is named") {
  Child child([] {
    int ready[2];
    if (::pipe(ready) != 0) return false;
    const pid_t traced = ::fork();
    if (traced == 0) {
      // Of the same user: the signal of its parent's death needs his right to kill it.
      if (!become_user()) ::_exit(1);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close_range(100, ~0u, 0);
      if (::write(ready[1], "r", 1) != 1) ::_exit(1);
      ::close_range(3, ~0u, 0);
      for (;;) ::pause();
    }
    char byte;
    const bool there = ::read(ready[0], &byte, 1) == 1;
    ::close_range(3, 99, 0);
    return there && ::ptrace(PTRACE_SEIZE, traced, 0, 0) == 0;
  });
  if (!child.able()) return (void)std::puts("SKIP: needs ptrace");
  const auto found = examine_process(child.pid());
  REQUIRE(found.ok());
  const auto traced =
      std::count_if(found->obstacles.begin(), found->obstacles.end(), [](const Obstacle& obstacle) {
        return obstacle.text.ends_with("(child): it is being traced; cannot be moved yet");
      });
  CHECK(traced == 1);
}

TEST_CASE("the tree of strangers as a job's: its root leads") {
  const Tree shell{
      {100, 0, 90, 80, 1, 0, 0}, {101, 100, 90, 80, 1, 0, 0}, {102, 100, 102, 80, 1, 0, 0}};
  const Tree expected{
      {100, 0, 100, 100, 1, 0, 0}, {101, 100, 100, 100, 1, 0, 0}, {102, 100, 102, 100, 1, 0, 0}};
  CHECK(as_job(shell) == expected);
  CHECK(as_job({}).empty());
}

TEST_CASE("who may look, and at what") {
  CHECK(examine_process(999'999'999).error().code == ESRCH);
  if (::getuid() == 0) {
    // Its user sees only his own; the caller's rights decide.
    const pid_t user = ::fork();
    if (user == 0) {
      if (::setresuid(kUser, kUser, kUser) != 0) ::_exit(2);
      const auto found = examine_process(::getppid());
      ::_exit(!found.ok() && found.error().code == EPERM ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(user, &status, 0) == user);
    CHECK(status == 0);
    const auto own = examine_process(::getpid());
    REQUIRE(own.ok());
    REQUIRE_FALSE(own->obstacles.empty());
    CHECK(own->obstacles[0].text.find("jobs of root are not taken") != std::string::npos);
  }
}
