#include <sys/utsname.h>
#include <time.h>

#include <cstring>

#include "support.h"

using namespace hob;
using namespace hob::migrate;
using namespace hob::migrate::test;

namespace {
std::string link_of(const std::string& path) {
  return must(read_link(path));
}

int64_t now(clockid_t clock) {
  timespec t;
  ::clock_gettime(clock, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}
}  // namespace

TEST_CASE("a process gets the id it is to have, and no parent that it can see") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  for (pid_t id : {kRootPid, 4711}) {
    Pipe pipe = must(make_pipe());
    const pid_t pid = must(sandbox.clone(id, [&] {
      const pid_t ids[2] = {::getpid(), ::getppid()};
      ::_exit(::write(pipe.write_end.get(), ids, sizeof ids) == sizeof ids ? 0 : 1);
    }));
    pid_t ids[2];
    REQUIRE(::read(pipe.read_end.get(), ids, sizeof ids) == sizeof ids);
    CHECK(ids[0] == id);
    CHECK(ids[1] == 0);
    CHECK(wait_for(pid) == 0);
  }
}

TEST_CASE("an id in use is an error, and the caller's namespaces stay its own") {
  NEED_SANDBOX();
  Place place;
  const std::vector<std::string> kinds = {"pid",  "pid_for_children", "mnt", "uts", "ipc",
                                          "time", "time_for_children"};
  std::vector<std::string> before, after;
  for (const auto& kind : kinds) before.push_back(link_of("/proc/self/ns/" + kind));
  Sandbox sandbox = furnished(place);
  must(sandbox.clone(5, [] {
    for (;;) ::pause();
  }));
  CHECK(sandbox.clone(5, [] { ::_exit(0); }).error().code == EEXIST);
  for (const auto& kind : kinds) after.push_back(link_of("/proc/self/ns/" + kind));
  CHECK(before == after);
}

TEST_CASE("all processes of a sandbox share its namespaces, and none with the host") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  const pid_t first = must(sandbox.clone(2, [] {
    for (;;) ::pause();
  }));
  const pid_t second = must(sandbox.clone(3, [] {
    for (;;) ::pause();
  }));
  const auto space = [](pid_t pid, const std::string& kind) {
    return link_of("/proc/" + std::to_string(pid) + "/ns/" + kind);
  };
  CHECK(space(first, "time") == space(second, "time"));
  CHECK(space(first, "time") != space(::getpid(), "time"));
  for (const char* kind : {"pid", "mnt", "uts", "ipc"}) {
    INFO(kind);
    // The child enters these right after its birth.
    CHECK(eventually([&] { return space(first, kind) == space(sandbox.init(), kind); }));
    CHECK(eventually([&] { return space(second, kind) == space(sandbox.init(), kind); }));
    CHECK(space(first, kind) != space(::getpid(), kind));
  }
}

TEST_CASE("the host name is home's, and the host keeps its own") {
  NEED_SANDBOX();
  utsname before, after;
  ::uname(&before);
  Place place;
  Sandbox sandbox = furnished(place);
  CHECK(inside(sandbox, [](int out) {
          utsname inside;
          ::uname(&inside);
          (void)!::write(out, inside.nodename, std::strlen(inside.nodename));
        }) == "hob-home");
  ::uname(&after);
  CHECK(std::string(before.nodename) == after.nodename);
}

TEST_CASE("a host name that is too long is an error") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = must(Sandbox::create(place.path));
  CHECK(sandbox.furnish(std::string(65, 'h'), {}).error().code == EINVAL);
}

TEST_CASE("the clocks inside are home's") {
  NEED_SANDBOX();
  const ClockOffsets offsets = GENERATE(ClockOffsets{}, ClockOffsets{seconds(5000), seconds(7000)},
                                        ClockOffsets{milliseconds(-1500), nanoseconds(-1)});
  Place place;
  Sandbox sandbox = furnished(place, offsets);
  const auto read_clock = [&](clockid_t clock) {
    const std::string text = inside(sandbox, [clock](int out) {
      const int64_t t = now(clock);
      (void)!::write(out, &t, sizeof t);
    });
    REQUIRE(text.size() == sizeof(int64_t));
    int64_t t;
    std::memcpy(&t, text.data(), sizeof t);
    return t;
  };
  for (auto [clock, offset] : {std::pair{CLOCK_MONOTONIC, offsets.monotonic},
                               std::pair{CLOCK_BOOTTIME, offsets.boottime}}) {
    const int64_t before = now(clock) + offset.count();
    const int64_t inside_time = read_clock(clock);
    const int64_t after = now(clock) + offset.count();
    CHECK(before <= inside_time);
    CHECK(inside_time <= after);
  }
}

TEST_CASE("/proc shows the sandbox and nothing of the host") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  CHECK(run(sandbox, shell("cd /proc; echo [0-9]*")).out == "1 2\n");
  CHECK(run(sandbox, shell("cat /proc/1/comm")).out == "hob-init\n");
  CHECK(run(sandbox, program({"readlink", "/proc/self/exe"})).out == "/usr/bin/readlink\n");
}

TEST_CASE("init holds no descriptor of its parent") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  // "." and ".." alone, once init has closed the pipe it reported through.
  CHECK(eventually(
      [&] { return count_entries("/proc/" + std::to_string(sandbox.init()) + "/fd") == 2; }));
}

TEST_CASE("orphans go to init and are reaped") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  // The inner shell leaves an orphan behind; when it ends, nobody but init can reap it.
  const Outcome outcome = run(sandbox, shell("orphan=$(sh -c 'sleep 1000 >/dev/null & echo $!')\n"
                                             "cut -d' ' -f4 /proc/$orphan/stat\n"
                                             "kill $orphan; i=0\n"
                                             "while [ -e /proc/$orphan ] && [ $i -lt 500 ]; do\n"
                                             "  sleep 0.02; i=$((i+1))\n"
                                             "done\n"
                                             "[ -e /proc/$orphan ] || echo reaped"));
  CHECK(outcome.out == "1\nreaped\n");
}

TEST_CASE("mounts made inside are not seen outside") {
  NEED_SANDBOX();
  Place place;
  const std::string before = must(read_file("/proc/self/mountinfo"));
  Sandbox sandbox = furnished(place);
  CHECK(inside(sandbox, [](int out) {
          (void)!::write(out, ::access("/proc/1/comm", R_OK) == 0 ? "y" : "n", 1);
        }) == "y");
  CHECK(must(read_file("/proc/self/mountinfo")) == before);
}
