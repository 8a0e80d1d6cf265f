#include <fstream>

#include "pmake/timeline.h"
#include "sample.h"
#include "tests/kit/scratch.h"
//
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::pmake;

namespace {

/// What tests/pmake/check_output.py says of a trace or a page: it parses them with Python's json
/// and html.parser (a trace is a line of its own), and answers with what it found; or "wrong: ..."
/// and why.
std::string check(const std::string& what, const std::string& text) {
  Scratch scratch;
  std::ofstream(scratch / "file", std::ios::binary) << text;
  const std::string command =
      "python3 " HOB_TESTS_DIR "/check_output.py " + what + " " + (scratch / "file") + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string answer;
  for (int c; (c = std::fgetc(pipe)) != EOF;) answer += static_cast<char>(c);
  REQUIRE(::pclose(pipe) == 0);
  return answer;
}

Timeline small_build(const std::string& name) {
  Timeline timeline("ws1");
  timeline.begin(1, name, "cc -c " + name, "ws2", "", seconds(0));
  timeline.move(1, "ws10", "its owner is back", microseconds(1500));
  timeline.begin(2, "b.o", "cc", "ws2" + name, "", seconds(1));
  timeline.lose(2, name, seconds(2));
  timeline.end(2, seconds(3));
  return timeline;
}

/// All bytes, what ends a script or a comment, and what is no UTF-8.
std::string awkward() {
  std::string bytes = "</script><!--<script>{{data}}\\\"'&amp;\u2028";
  for (int c = 0; c < 256; ++c) bytes += static_cast<char>(c);
  return bytes + "\xed\xa0\x80\xc0\x80\xf0\x9f\x98\x80";
}

}  // namespace

TEST_CASE("a trace names hosts and slots, and has a bar for each stay and an arrow for each move") {
  CHECK(check("trace", chrome_trace(small_build("a.o"), seconds(4))) ==
        "process 1: ws1 (home)\n"
        "process 2: ws2\n"
        "process 3: ws2a.o\n"
        "process 4: ws10\n"
        "thread 1/1: slot 1\n"
        "thread 2/1: slot 1\n"
        "thread 3/1: slot 1\n"
        "thread 4/1: slot 1\n"
        "bar a.o 2/1 moved 0.0+1500.0\n"
        "bar a.o 4/1 moved 1500.0+3998500.0 (its owner is back)\n"
        "bar b.o 3/1 lost 1000000.0+1000000.0\n"
        "bar b.o 1/1 rerun 2000000.0+1000000.0 (a.o)\n"
        "arrow move 2/1 1499.0 to 4/1 1500.0\n"
        "arrow rerun 3/1 1999999.0 to 1/1 2000000.0\n");
}

TEST_CASE("a trace and a page take any bytes") {
  const Timeline timeline = small_build(awkward());
  CHECK(check("trace", chrome_trace(timeline, seconds(4))).find("wrong") == std::string::npos);
  const std::string page = html_report(timeline, seconds(4), awkward());
  CHECK(check("page", page) == "hosts: 4\nrecipes: 2\nstays: 4\nscripts: 2\nexternal: 0\n");
}

TEST_CASE("the events of any build belong together") {
  std::string traces;  // one a line; Python starts once for all of them
  rc::prop("any build can be written", [&](const std::string& name, uint64_t seed) {
    Sample sample = sample_build(*rc::gen::inRange<uint32_t>(1, 60), 3, seed);
    sample.timeline.begin(1'000'000, name, name, name, name, sample.wall);
    const std::string trace = chrome_trace(sample.timeline, sample.wall);
    RC_ASSERT(trace.find('\n') == trace.size() - 1);
    traces += trace;
  });
  const std::string answer = check("trace", traces);
  CHECK(answer.find("arrow move") != std::string::npos);
  CHECK(answer.find("wrong") == std::string::npos);
}

TEST_CASE("an empty build has a trace and a page") {
  const Timeline timeline("ws1");
  CHECK(check("trace", chrome_trace(timeline, {})) == "process 1: ws1 (home)\n");
  CHECK(check("page", html_report(timeline, {}, "")) ==
        "hosts: 1\nrecipes: 0\nstays: 0\nscripts: 2\nexternal: 0\n");
}

TEST_CASE("a page holds all of a large build") {
  const Sample sample = sample_build(20'000, 40);
  CHECK(
      check("page", html_report(sample.timeline, sample.wall, "large")).find("recipes: 20001\n") !=
      std::string::npos);
}
