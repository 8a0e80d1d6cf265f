#include "migrate/waits.h"
#include "migrate/timer_list.h"
#include "rig.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <thread>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;
using migrate::Fault;

/// Waits that were to last a time, moved when a good part of it is over. The victim says whether
/// one has begun anew: it compares with a wait for a moment (an absolute time), not with a
/// duration.
namespace {

void ends_well(const Verdict& v) {
  INFO("output: " << v.output);
  INFO("problem: " << v.problem);
  CHECK(v.problem == "");
  CHECK(v.status == 0);
  CHECK(v.output.find("ok\n") != std::string::npos);
}

struct Job {
  Collector collector;
  std::unique_ptr<Host> host = std::make_unique<Host>(collector.write_end());

  Job() {
    Home::get().reset();
    REQUIRE(host->start({victim("waits")}).ok());
    REQUIRE(collector.wait_for("ready"));
    ::usleep(1700000);
  }
  Host::Outcome move() {
    auto target = std::make_unique<Host>(collector.write_end());
    auto port = target->listen();
    REQUIRE(port.ok());
    auto outcome = host->send(*port, *target);
    const auto received = target->received();
    CHECK(received.ok() == outcome.moved);
    if (outcome.moved) host = std::move(target);
    return outcome;
  }
  void finish() {
    host->write_input("go\n");
    auto status = host->wait_exit(15000);
    INFO("output: " << collector.drain());
    REQUIRE(status);
    CHECK(*status == 0);
    CHECK(collector.wait_for("ok\n"));
  }
};

}  // namespace

TEST_CASE("waits go on with the time that is left, there and back") {
  Plan plan;
  plan.pause_ms = 1700;
  ends_well(run_and_move({victim("waits")}, plan));
}

TEST_CASE("waits go on with the time that is left, static") {
  Plan plan;
  plan.pause_ms = 1700;
  ends_well(run_and_move({victim("waits_static")}, plan));
}

// Each makes its waits anew at the same moment, at real-time priority, and their timers come and go
// in one list.
TEST_CASE("more guests whose threads sleep than there are processors move at the same time") {
  const unsigned count = std::min(16u, 2 * std::thread::hardware_concurrency());
  std::vector<pid_t> movers;
  for (unsigned i = 0; i < count; i++) {
    movers.push_back(::fork());
    REQUIRE(movers.back() >= 0);
    if (movers.back() > 0) continue;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Plan plan;
    plan.pause_ms = 700;
    const Verdict v = run_and_move({victim("waits"), "3000", "2500"}, plan);
    const bool well = v.problem.empty() && v.status == 0;
    if (!well) std::fprintf(stderr, "%s\n%s\n", v.problem.c_str(), v.output.c_str());
    ::_exit(well ? 0 : 1);
  }
  for (const pid_t mover : movers) {
    int status = -1;
    REQUIRE(::waitpid(mover, &status, 0) == mover);
    CHECK(status == 0);
  }
}

TEST_CASE("a wait needs what it reads, and where it writes what is left") {
  migrate::ThreadImage thread = {};
  thread.registers.rsi = 0x5008;
  thread.registers.r10 = 0x7010;
  thread.registers.rdi = 0x9000;
  const auto start_of = [&](uint32_t call) {
    thread.wait_call = call;
    return migrate::memory_of_wait(thread).start;
  };
  CHECK(start_of(SYS_nanosleep) == 0x5008);
  CHECK(migrate::memory_of_wait(thread).size() == sizeof(timespec));
  CHECK(start_of(SYS_clock_nanosleep) == 0x7010);
  CHECK(start_of(SYS_futex) == 0x9000);
  thread.registers.r10 = 0;  // nobody asks for it
  CHECK(start_of(SYS_clock_nanosleep) == 0);
  CHECK(migrate::memory_of_wait(thread).empty());
}

TEST_CASE("waits that end while they move") {
  Plan plan;
  plan.moves = 4;
  ends_well(run_and_move({victim("waits"), "120", "30000"}, plan));
}

TEST_CASE("waits go on at the source when they cannot move") {
  Job job;
  job.host->arm(Fault::captured, migrate::fault::Act::error);
  CHECK_FALSE(job.move().moved);
  ::usleep(1700000);
  INFO("the second attempt");
  CHECK(job.move().moved);
  job.finish();
}

TEST_CASE("waits that had been frozen and thawed before") {
  Job job;
  job.host->freeze();
  REQUIRE(job.host->frozen());
  job.host->thaw();
  ::usleep(1700000);
  CHECK(job.move().moved);
  job.finish();
}

TEST_CASE("sleepers are found in the list of timers") {
  const auto found = migrate::parse_timer_list(
      "Timer List Version: v0.10\nnow at 5000 nsecs\n\ncpu: 0\n clock 0:\n  .offset:     0 nsecs\n"
      "active timers:\n #0: <00000000ad653bfe>, tick_nohz_handler, S:01\n"
      " # expires at 6000-6000 nsecs [in 1000 to 1000 nsecs]\n"
      " #1: <00000000b40cad38>, hrtimer_wakeup, S:01\n"
      " # expires at 7000-57000 nsecs [in 2000 to 52000 nsecs]\n"
      " clock 1:\n  .offset:     100000 nsecs\nactive timers:\n"
      " #0: <00000000c40cad38>, hrtimer_wakeup, S:01\n"
      " # expires at 108000-108000 nsecs [in 103000 to 103000 nsecs]\n"
      "Tick Device: mode:     1\n #0: <0>, hrtimer_wakeup, S:01\n # expires at 1-1 nsecs\n");
  CHECK(found == std::vector<migrate::WakeUp>{{7000, 57000}, {8000, 8000}});
  CHECK(migrate::parse_timer_list("").empty());
}
