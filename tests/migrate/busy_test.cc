// Moves on a machine whose processors all have something to do.
#include "rig.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

/// Twice as many programs that never wait as there are processors.
class Busy {
 public:
  Busy() {
    const long programs = 2 * ::sysconf(_SC_NPROCESSORS_ONLN);
    for (long i = 0; i < programs; i++) {
      const pid_t pid = ::fork();
      REQUIRE(pid >= 0);
      if (pid > 0) {
        programs_.push_back(pid);
        continue;
      }
      ::setsid();  // with autogroups on, as heavy as all else of the test
      for (;;) asm volatile("");
    }
  }
  ~Busy() {
    for (const pid_t pid : programs_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> programs_;
};

}  // namespace

/// The engine raises the threads that it asks something (migrate/urgency.h); none of that stays.
TEST_CASE("programs that are raised for a move are scheduled as before") {
  const Busy busy;
  for (const char* name : {"settings", "scheduling", "threads", "waits", "tree"}) {
    const Verdict v = run_and_move({victim(name)});
    INFO(name << ": " << v.output);
    CHECK(v.problem == "");
    CHECK(v.status == 0);
  }
}

TEST_CASE("a program that was raised for a move which failed is scheduled as before") {
  const Busy busy;
  Home::get().reset();
  Collector collector;
  Host host(collector.write_end()), target(collector.write_end());
  REQUIRE(host.start({victim("settings")}).ok());
  REQUIRE(collector.wait_for("ready", 60000));
  const auto policies = [&] {
    std::vector<int> all;
    for (const pid_t pid : host.guests()) all.push_back(::sched_getscheduler(pid));
    return all;
  };
  const auto before = policies();
  host.arm(migrate::Fault::captured, migrate::fault::Act::error);
  const auto port = target.listen();
  REQUIRE(port.ok());
  CHECK_FALSE(host.send(*port, target).moved);
  CHECK(policies() == before);
  host.write_input("go\n");
  CHECK(host.wait_exit(60000) == 0);
}
