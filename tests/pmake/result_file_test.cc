#include "pmake/result_file.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/fd.h"
#include "pmake/timeline.h"
#include "tests/kit/scratch.h"

namespace hob::pmake {
namespace {

TEST_CASE("what a build writes at its end may replace its like and nothing else") {
  Scratch scratch;
  const Timeline none("h0");
  for (const auto& [file, text] :
       {std::pair(trace_file(scratch / "file"), chrome_trace(none, seconds(1))),
        std::pair(report_file(scratch / "file"), html_report(none, seconds(1), "pmake"))}) {
    CHECK(file.check().ok());
    CHECK(file.write(text).ok());
    CHECK(file.check().ok());
    CHECK(read_file(file.path).value() == text);
    REQUIRE(replace_file(file.path, "all:\n").ok());
    CHECK(file.check().error().code == EEXIST);
    REQUIRE(replace_file(file.path, "").ok());
    CHECK(file.check().ok());
    ::unlink(file.path.c_str());
  }
}

TEST_CASE("what cannot be written is known before the build") {
  Scratch scratch;
  CHECK(trace_file("").check().ok());
  CHECK_FALSE(trace_file(scratch / "nowhere/file").check().ok());
  CHECK(trace_file(scratch / "").check().error().code == EISDIR);
}

TEST_CASE("a link stays one") {
  Scratch scratch;
  const ResultFile file = trace_file(scratch / "link");
  REQUIRE(::symlink((scratch / "file").c_str(), file.path.c_str()) == 0);
  REQUIRE(replace_file(scratch / "file", "").ok());
  CHECK(file.write("{\"displayTimeUnit\":1}").ok());
  CHECK(read_link(file.path).value() == scratch / "file");
  CHECK(read_file(scratch / "file").value() == "{\"displayTimeUnit\":1}");
}

TEST_CASE("a device stays one") {
  Scratch scratch;
  const std::string device = scratch / "null";
  REQUIRE(::symlink("/dev/null", device.c_str()) == 0);
  CHECK(trace_file(device).check().ok());
  CHECK(trace_file(device).write("text").ok());
  struct stat status {};
  REQUIRE(::stat(device.c_str(), &status) == 0);
  CHECK(S_ISCHR(status.st_mode));
}

}  // namespace
}  // namespace hob::pmake
