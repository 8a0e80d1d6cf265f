// What a job has asked for of its host's attention, through a host where it is a guest.
#include "rig.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include <catch2/catch.hpp>

#include "base/fd.h"

using namespace hob;
using namespace hob::test;

namespace {

struct Attention {
  std::set<int> policies, disk;
  std::set<std::string> scores;
};

Attention given_to(Host& host) {
  Attention all;
  for (pid_t pid : host.guests()) {
    const std::string process = "/proc/" + std::to_string(pid);
    all.scores.insert(read_file(process + "/oom_score_adj").value());
    for (const auto& entry : std::filesystem::directory_iterator(process + "/task")) {
      const pid_t tid = std::stoi(entry.path().filename());
      all.policies.insert(::sched_getscheduler(tid));
      all.disk.insert(static_cast<int>(::syscall(SYS_ioprio_get, 1 /* one thread */, tid)));
    }
  }
  return all;
}

void move(std::unique_ptr<Host>& from, Collector& collector, bool foreign) {
  auto to = std::make_unique<Host>(collector.write_end());
  const auto port = to->listen({.foreign = foreign});
  REQUIRE(port.ok());
  const auto outcome = from->send(*port, *to);
  INFO(outcome.text);
  REQUIRE(outcome.moved);
  REQUIRE(to->received().ok());
  from = std::move(to);
}

}  // namespace

TEST_CASE("what a job asked for at home is in force there again after a host where it is a guest") {
  Home::get().reset();
  Collector collector;
  auto host = std::make_unique<Host>(collector.write_end());
  REQUIRE(host->start({victim("scheduling")}).ok());
  REQUIRE(collector.wait_for("ready"));
  for (int i = 0; i < 2; i++) {
    move(host, collector, true);
    const Attention guest = given_to(*host);
    CHECK(guest.policies == std::set<int>{SCHED_IDLE});
    CHECK(guest.disk == std::set<int>{3 << 13});
    CHECK(guest.scores == std::set<std::string>{"1000\n"});
  }
  move(host, collector, false);
  const Attention home = given_to(*host);
  CHECK(home.policies == std::set<int>{SCHED_OTHER, SCHED_BATCH | SCHED_RESET_ON_FORK, SCHED_IDLE});
  CHECK(home.scores == std::set<std::string>{"700\n"});
  host->write_input("go\n");
  CHECK(host->wait_exit(15000) == 0);
  CHECK(collector.wait_for("ok\n"));
}
