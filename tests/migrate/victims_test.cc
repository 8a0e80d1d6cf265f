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

static void moves_by(const std::string& name, const char* strategy) {
  Plan plan;
  plan.options.strategy = hob::migrate::strategy_named(strategy).value();
  moves({victim(name)}, plan);
}

#define VICTIM(NAME)                                     \
  TEST_CASE(NAME " moves there and back, swap-out") {    \
    moves_by(NAME, "swap-out");                          \
  }                                                      \
  TEST_CASE(NAME " moves there and back, flush") {       \
    moves_by(NAME, "flush");                             \
  }                                                      \
  TEST_CASE(NAME " moves there and back, freeze-copy") { \
    moves_by(NAME, "freeze-copy");                       \
  }                                                      \
  TEST_CASE(NAME " moves there and back, pre-copy") {    \
    moves_by(NAME, "pre-copy");                          \
  }                                                      \
  TEST_CASE(NAME " moves there and back, demand") {      \
    moves_by(NAME, "demand");                            \
  }                                                      \
  TEST_CASE(NAME " moves there and back, static") {      \
    moves_by(NAME "_static", "swap-out");                \
  }

VICTIM("memory")
VICTIM("closed")
VICTIM("hugestack")
VICTIM("threads")
VICTIM("signals")
VICTIM("timers")
VICTIM("files")
VICTIM("filemap")
VICTIM("calls")
VICTIM("tree")
VICTIM("postcopy")
VICTIM("descriptors")
VICTIM("identity")
VICTIM("objects")
VICTIM("sockets")
VICTIM("scheduling")
VICTIM("advice")
VICTIM("clocks")
VICTIM("settings")
VICTIM("ipc")
VICTIM("growth")
VICTIM("locks")
VICTIM("fifos")
VICTIM("ptys")
VICTIM("notices")
VICTIM("names")
VICTIM("watches")
VICTIM("tcp")
VICTIM("filters")
VICTIM("stopped")
VICTIM("persona")
VICTIM("restartable")
VICTIM("changed")
VICTIM("locked")
VICTIM("restless")

TEST_CASE("a thousand threads move") {
  moves({victim("crowd"), "1000"});
}
TEST_CASE("a thousand threads move, static") {
  moves({victim("crowd_static"), "1000"});
}
TEST_CASE("AVX registers move") {
  moves({victim("vectors"), "avx"});
}
TEST_CASE("AVX-512 registers move") {
  moves({victim("vectors"), "avx512"});
}
TEST_CASE("AMX tiles move") {
  moves({victim("vectors"), "amx"});
}
