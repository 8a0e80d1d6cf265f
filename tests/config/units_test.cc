#include "config/units.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;

TEST_CASE("durations have units") {
  CHECK(parse_duration("30s").value() == seconds(30));
  CHECK(parse_duration("5min").value() == minutes(5));
  CHECK(parse_duration("2h").value() == hours(2));
  CHECK(parse_duration("1h 30min").value() == minutes(90));
  CHECK(parse_duration("250 ms").value() == milliseconds(250));
  CHECK(parse_duration("0").value() == Duration::zero());
  for (const char* wrong :
       {"", "30", "s", "-1s", "1.5h", "5m", "30 seconds", "1s,", "99999999999999999999s",
        "18446744073709551615d", "1000000d", "s30", "30s x", "3 0s"})
    CHECK_FALSE(parse_duration(wrong).ok());
}

TEST_CASE("sizes have binary units") {
  CHECK(parse_size("2GiB").value() == 2ull << 30);
  CHECK(parse_size("512 MiB").value() == 512ull << 20);
  CHECK(parse_size("4096B").value() == 4096);
  CHECK(parse_size("0").value() == 0);
  for (const char* wrong :
       {"", "2", "2GB", "2gib", "-1B", "17000000TiB", "99999999999999999999999B"})
    CHECK_FALSE(parse_size(wrong).ok());
}

TEST_CASE("what is formatted parses as the same") {
  rc::prop("durations", [] {
    const Duration duration = milliseconds(*rc::gen::inRange<int64_t>(0, 1'000'000'000'000));
    RC_ASSERT(parse_duration(format_duration(duration)).value() == duration);
  });
  rc::prop("sizes",
           [](uint64_t bytes) { RC_ASSERT(parse_size(format_size(bytes)).value() == bytes); });
}

TEST_CASE("the error repeats the text and shows the form") {
  CHECK(parse_duration("30").error().text ==
        "'30' is no duration; write whole numbers with ms, s, min, h or d, as in \"30s\"");
  CHECK(parse_size("2GB").error().text ==
        "'2GB' is no size; write a whole number with B, KiB, MiB, GiB or TiB, as in \"2GiB\"");
}
