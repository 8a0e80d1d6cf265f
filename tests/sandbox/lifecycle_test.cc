#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>

#include "support.h"

using namespace hob;
using namespace hob::migrate;
using namespace hob::migrate::test;

namespace {

/// Everything of this machine that a sandbox could leave behind.
struct Traces {
  size_t descriptors, mounts, cgroups, children;
  bool operator==(const Traces&) const = default;
};

size_t children_of_this_process() {
  const std::string own = std::to_string(::getpid());
  const std::string text = must(read_file("/proc/" + own + "/task/" + own + "/children"));
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' '));
}

/// Where the v1 groups of our guests are made; "/" (without entries of ours) if there is no
/// hierarchy.
std::string own_v1_group(const std::string& controller) {
  const std::string groups = must(read_file("/proc/self/cgroup"));
  const std::string mark = ":" + controller + ":";
  const size_t at = groups.find(mark);
  if (at == groups.npos) return "/";
  const size_t start = at + mark.size();
  return "/sys/fs/cgroup/" + controller + groups.substr(start, groups.find('\n', start) - start);
}

Traces traces() {
  const std::string mounts = must(read_file("/proc/self/mountinfo"));
  // Others on this machine make groups too: only those with our name count.
  size_t cgroups = count_entries(parent_directory());
  for (const char* controller : {"cpu", "memory"})
    cgroups += count_entries(own_v1_group(controller), kParent.substr(1));
  return {count_entries("/proc/self/fd"),
          static_cast<size_t>(std::count(mounts.begin(), mounts.end(), '\n')), cgroups,
          children_of_this_process()};
}

/// Whether the process has exited (a zombie has).
bool gone(const Fd& pidfd) {
  pollfd poll{pidfd.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) == 1;
}

Fd pidfd_of(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  REQUIRE(fd.get() >= 0);
  return fd;
}

}  // namespace

TEST_CASE("a hundred sandboxes leave nothing behind") {
  NEED_SANDBOX();
  Place place;
  must(make_directories(parent_directory()));
  const Traces before = traces();
  for (int i = 0; i < 100; ++i) {
    Sandbox sandbox = furnished(place, {seconds(i), seconds(i)});
    if (i % 10 == 0) {
      auto lowered = sandbox.cgroup().lowest_priority();
      CHECK((lowered.ok() || lowered.error().code == EOPNOTSUPP));  // no cpu controller here
    }
    const pid_t pid = must(start(sandbox, shell("sleep 1000 & exit 3"),
                                 {null_device(), null_device(), null_device()}));
    if (i % 2 == 0) CHECK(WEXITSTATUS(wait_for(pid)) == 3);  // else destroyed with a running shell
    if (i % 3 == 0) must(sandbox.destroy());                 // else by the destructor
  }
  CHECK(traces() == before);
}

TEST_CASE("a frozen sandbox is destroyed like any other") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  const pid_t pid = must(
      start(sandbox, program({"sleep", "1000"}), {null_device(), null_device(), null_device()}));
  const Fd guest = pidfd_of(pid);
  must(sandbox.cgroup().freeze());
  must(sandbox.cgroup().wait_frozen(seconds(10)));
  must(sandbox.destroy());
  must(sandbox.destroy());  // a second time does nothing
  CHECK(gone(guest));
  CHECK_FALSE(Cgroup::open(place.path).ok());
}

TEST_CASE("assigning to a sandbox destroys the one it held") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = must(Sandbox::create(place.path + ".a"));
  const Fd first = pidfd_of(sandbox.init());
  sandbox = must(Sandbox::create(place.path + ".b"));
  CHECK(gone(first));
  CHECK_FALSE(Cgroup::open(place.path + ".a").ok());
  CHECK_FALSE(gone(pidfd_of(sandbox.init())));
}

TEST_CASE("a fork bomb is killed as a whole") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  Program bomb = program({"perl", "-e", "while (1) { fork }"});
  // The limit counts all processes of a uid on this machine: one that no other test run uses.
  bomb.user.uid = 100'000 + static_cast<uid_t>(::getpid());
  bomb.limits = {{RLIMIT_NPROC, {200, 200}}};
  must(start(sandbox, bomb, {null_device(), null_device(), null_device()}));
  CHECK(eventually([&] { return must(sandbox.cgroup().processes()).size() > 50; }));
  must(sandbox.destroy());
  CHECK_FALSE(Cgroup::open(place.path).ok());
}

TEST_CASE("killing the cgroup kills init too, and the sandbox can still be destroyed") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  must(sandbox.cgroup().kill());
  const Fd init = pidfd_of(sandbox.init());
  CHECK(eventually([&] { return gone(init); }));
  CHECK_FALSE(sandbox.clone(2, [] { ::_exit(0); }).ok());
  must(sandbox.destroy());
}

TEST_CASE("when the starter dies, everything inside dies") {
  NEED_SANDBOX();
  Place place;
  Pipe pipe = must(make_pipe());
  const pid_t starter = ::fork();
  REQUIRE(starter >= 0);
  if (starter == 0) {
    auto sandbox = Sandbox::create(place.path);
    if (!sandbox || !sandbox->furnish("h", {})) ::_exit(10);
    auto guest = start(*sandbox, shell("sleep 1000 & sleep 1000"),
                       {null_device(), null_device(), null_device()});
    if (!guest) ::_exit(11);
    const pid_t pids[2] = {sandbox->init(), *guest};
    if (::write(pipe.write_end.get(), pids, sizeof pids) != sizeof pids) ::_exit(12);
    for (;;) ::pause();
  }
  pipe.write_end.reset();
  pid_t pids[2];
  REQUIRE(::read(pipe.read_end.get(), pids, sizeof pids) == sizeof pids);
  const Fd init = pidfd_of(pids[0]);
  const Fd guest = pidfd_of(pids[1]);
  CHECK_FALSE(gone(init));
  CHECK_FALSE(gone(guest));
  ::kill(starter, SIGKILL);
  wait_for(starter);
  CHECK(eventually([&] { return gone(init); }));
  CHECK(eventually([&] { return gone(guest); }));
  Cgroup left = must(Cgroup::open(place.path));
  CHECK(eventually([&] { return !left.populated(); }));
  CHECK(eventually([&] { return left.remove().ok(); }));
}
