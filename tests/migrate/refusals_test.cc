#include "rig.h"

#include <catch2/catch.hpp>

using namespace hob::test;

/// What cannot be moved is named, and the guest goes on as if nobody had asked.
static void refused(const std::vector<std::string>& arguments, const std::string& because) {
  Plan plan;
  plan.moves = 1;
  Verdict v = run_and_move(arguments, plan);
  INFO("output: " << v.output);
  CHECK_FALSE(v.moved);
  CHECK(v.problem.find(because) != std::string::npos);
  CHECK(v.problem.find("cannot be moved yet") != std::string::npos);
  INFO("problem: " << v.problem);
  CHECK(v.status == 0);
  CHECK(v.output.find("ok\n") != std::string::npos);
}

TEST_CASE("a socket is named") {
  refused({victim("refused"), "socket"}, "fd 3 of process 2 (refused): a network connection");
}
TEST_CASE("an empty message in a socket's queue is named") {
  refused({victim("refused"), "empty"}, "an empty message on its way between processes");
}
TEST_CASE("inotify is named") {
  refused({victim("refused"), "inotify"}, "fd 3 of process 2 (refused): inotify");
}
TEST_CASE("System V shared memory is named") {
  refused({victim("refused"), "sysv"}, "System V shared memory");
}
TEST_CASE("a lease is named") {
  refused({victim("refused"), "lease"}, "fd 3 of process 2 (refused): a lease");
}
