#include <sched.h>
#include <sys/resource.h>

#include <thread>

#include "support.h"

using namespace hob;
using namespace hob::migrate;
using namespace hob::migrate::test;

TEST_CASE("a cgroup is made with its parents, opened and removed") {
  NEED_SANDBOX();
  Place place;
  Cgroup group = must(Cgroup::create(place.path));
  CHECK(group.path() == place.path);
  CHECK_FALSE(group.populated());
  CHECK(must(group.processes()).empty());
  CHECK(must(Cgroup::open(place.path)).path() == place.path);
  must(group.remove());
  must(group.remove());  // gone already
  CHECK(Cgroup::open(place.path).error().code == ENOENT);
}

TEST_CASE("making a cgroup that exists is an error") {
  NEED_SANDBOX();
  Place place;
  Cgroup group = must(Cgroup::create(place.path));
  CHECK(Cgroup::create(place.path).error().code == EEXIST);
  must(group.remove());
}

TEST_CASE("64 threads freeze and thaw as one") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  Pipe ready = must(make_pipe());
  const pid_t pid = must(sandbox.clone(kRootPid, [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 63; ++i)
      threads.emplace_back([] {
        for (;;) ::pause();
      });
    if (::write(ready.write_end.get(), "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }));
  char byte;
  REQUIRE(::read(ready.read_end.get(), &byte, 1) == 1);
  CHECK(count_entries("/proc/" + std::to_string(pid) + "/task") == 64 + 2);

  Cgroup& group = sandbox.cgroup();
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(must(group.freezing()));
    CHECK_FALSE(must(group.frozen()));
    must(group.freeze());
    must(group.wait_frozen(seconds(10)));
    CHECK(must(group.freezing()));
    CHECK(must(group.frozen()));
    must(group.thaw());
    CHECK(eventually([&] { return !must(group.frozen()); }));
  }
}

TEST_CASE("waiting for a freeze that nobody asked for ends with a timeout") {
  NEED_SANDBOX();
  Place place;
  Cgroup group = must(Cgroup::create(place.path));
  CHECK(group.wait_frozen(milliseconds(5)).error().code == ETIMEDOUT);
  must(group.remove());
}

// Beside a busy owner its last 4 ms of work, to give its memory back, would wait for seconds.
TEST_CASE("what is killed ends with the weight of an ordinary program") {
  NEED_SANDBOX();
  NEED(::access("/proc/self/autogroup", F_OK) == 0, "autogroups");
  Place place;
  Sandbox sandbox = furnished(place);
  Pipe ready = must(make_pipe());
  const pid_t pid = must(sandbox.clone(kRootPid, [&] {
    const sched_param none{};
    const Fd weight(::open("/proc/self/autogroup", O_WRONLY));
    if (::setsid() < 0 || ::sched_setscheduler(0, SCHED_IDLE, &none) < 0 ||
        ::write(weight.get(), "19", 2) != 2 || ::write(ready.write_end.get(), "x", 1) != 1)
      ::_exit(1);
    for (;;) ::pause();
  }));
  char byte;
  REQUIRE(::read(ready.read_end.get(), &byte, 1) == 1);
  const std::string autogroup = "/proc/" + std::to_string(pid) + "/autogroup";
  REQUIRE(must(read_file(autogroup)).find("nice 19") != std::string::npos);
  const auto kill = [&](Cgroup::Ending ending) {
    must(sandbox.cgroup().kill(ending));
    siginfo_t end;
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT) == 0);
    CHECK(::sched_getscheduler(pid) == SCHED_OTHER);
  };
  SECTION("where others wait for what it has") {
    kill(Cgroup::Ending::soon);
    CHECK(must(read_file(autogroup)).find("nice 0") != std::string::npos);
  }
  SECTION("unless nobody does: then it is out of the way of programs that run") {
    kill(Cgroup::Ending::in_bulk);
    CHECK(must(read_file(autogroup)).find("nice 10") != std::string::npos);
    CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(pid)) > 0);
    cpu_set_t allowed;
    REQUIRE(::sched_getaffinity(pid, sizeof allowed, &allowed) == 0);
    CHECK(CPU_COUNT(&allowed) == 1);
  }
}

TEST_CASE("the memory limit kills what exceeds it") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  auto limited = sandbox.cgroup().limit_memory(32u << 20);
  if (!limited) CHECK(limited.error().code == EOPNOTSUPP);
  NEED(limited, "a memory controller");
  // perl -e: one string of 100 MiB, touched.
  const Outcome outcome =
      run(sandbox, program({"perl", "-e", "my $s = 'x' x (100 << 20); print 1"}));
  CHECK(outcome.out.empty());
  CHECK(WIFSIGNALED(outcome.status));
  CHECK(WTERMSIG(outcome.status) == SIGKILL);
}

TEST_CASE("the lowest priority covers the program, and its group goes with the sandbox") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  auto lowered = sandbox.cgroup().lowest_priority();
  NEED(lowered, "a cpu controller");
  const std::string groups = run(sandbox, program({"cat", "/proc/self/cgroup"})).out;
  const std::string leaf = place.path.substr(1);
  const bool v2 = ::access((*Cgroup::root() + place.path + "/cpu.weight").c_str(), F_OK) == 0;
  if (!v2) {
    std::string flat = leaf;
    flat[flat.find('/')] = '.';
    CHECK(groups.find(flat + "\n") != std::string::npos);
  }
  CHECK(groups.find("0::/" + leaf + "\n") != std::string::npos);
  must(sandbox.destroy());
  CHECK_FALSE(Cgroup::open(place.path).ok());
}

TEST_CASE("a group left by a killed starter is removed with its v1 directories") {
  NEED_SANDBOX();
  Place place;
  {
    Cgroup group = must(Cgroup::create(place.path));
    const bool lowered = group.lowest_priority().ok();
    if (!lowered) must(group.remove());
    NEED(lowered, "a cpu controller");
  }
  must(must(Cgroup::open(place.path)).remove());
  Cgroup again = must(Cgroup::create(place.path));
  CHECK(again.lowest_priority().ok());
  must(again.remove());
}

TEST_CASE("a v1 group of a guest lies below the group of its starter, whose quota covers it") {
  NEED_SANDBOX();
  const std::string host = "/sys/fs/cgroup/cpu/hob-test-host-" + std::to_string(::getpid());
  NEED(::access("/sys/fs/cgroup/cpu/cpu.shares", F_OK) == 0, "the v1 cpu hierarchy");
  REQUIRE(::mkdir(host.c_str(), 0755) == 0);
  Place place;
  Pipe pipe = must(make_pipe());
  const pid_t starter = ::fork();
  REQUIRE(starter >= 0);
  if (starter == 0) {
    if (!write_control(host + "/cgroup.procs", "0")) ::_exit(10);
    auto sandbox = Sandbox::create(place.path);
    if (!sandbox || !sandbox->furnish("h", {})) ::_exit(11);
    if (!sandbox->cgroup().lowest_priority()) ::_exit(12);
    auto out = pipe.write_end.duplicate();
    auto pid = start(*sandbox, program({"grep", ":cpu:", "/proc/self/cgroup"}),
                     {null_device(), std::move(*out), null_device()});
    if (!pid) ::_exit(13);
    ::waitpid(*pid, nullptr, 0);
    ::_exit(sandbox->destroy() ? 0 : 14);
  }
  pipe.write_end.reset();
  const std::string group = read_all(pipe.read_end);
  CHECK(wait_for(starter) == 0);
  CHECK(group.find(host.substr(18) + "/" + kParent.substr(1) + ".guest\n") != std::string::npos);
  CHECK(eventually([&] { return ::rmdir(host.c_str()) == 0; }));
}
