#include "rig.h"

#include <catch2/catch.hpp>

using namespace hob::test;

static void moves(const std::vector<std::string>& arguments, Plan plan = {}) {
  Verdict v = run_and_move(arguments, plan);
  INFO("output: " << v.output);
  INFO("problem: " << v.problem);
  CHECK(v.problem == "");
  CHECK(v.status == 0);
  CHECK(v.output.find("ok\n") != std::string::npos);
}

TEST_CASE("memory moves") { moves({victim("memory")}); }
TEST_CASE("memory moves, static") { moves({victim("memory_static")}); }
