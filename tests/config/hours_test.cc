#include "config/hours.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>

using namespace hob;

namespace {

/// Another time zone for the length of a test.
class Zone {
 public:
  explicit Zone(const char* rule) { ::setenv("TZ", rule, 1), ::tzset(); }
  ~Zone() { ::unsetenv("TZ"), ::tzset(); }
};

/// Central European rules, spelt out so that no zone files are needed: forward on the last Sunday
/// of March at 02:00, back on the last Sunday of October at 03:00.
constexpr const char* kBerlin = "CET-1CEST,M3.5.0/2,M10.5.0/3";

WallTime local(int year, int month, int day, int hour, int minute, int second = 0) {
  std::tm at{};
  at.tm_year = year - 1900, at.tm_mon = month - 1, at.tm_mday = day;
  at.tm_hour = hour, at.tm_min = minute, at.tm_sec = second, at.tm_isdst = -1;
  return WallClock::from_time_t(::mktime(&at));
}

}  // namespace

TEST_CASE("hours contain their beginning and not their end") {
  const Zone zone(kBerlin);
  const Hours night = Hours::parse("20:00-07:00").value();
  CHECK_FALSE(night.contains(local(2026, 6, 1, 19, 59, 59)));
  CHECK(night.contains(local(2026, 6, 1, 20, 0)));
  CHECK(night.contains(local(2026, 6, 2, 3, 0)));
  CHECK(night.contains(local(2026, 6, 2, 6, 59, 59)));
  CHECK_FALSE(night.contains(local(2026, 6, 2, 7, 0)));
  const Hours two = Hours::parse("12:00-13:00, 18:00-24:00").value();
  CHECK(two.contains(local(2026, 6, 1, 12, 30)));
  CHECK(two.contains(local(2026, 6, 1, 23, 59)));
  CHECK_FALSE(two.contains(local(2026, 6, 2, 0, 0)));
}

TEST_CASE("empty hours are always") {
  const Hours always = Hours::parse("").value();
  CHECK(always.contains(local(2026, 6, 1, 12, 0)));
  CHECK_FALSE(always.next_change(local(2026, 6, 1, 12, 0)));
}

TEST_CASE("hours that are none are refused") {
  for (const char* wrong :
       {"20:00", "20-07", "20:00-20:00", "25:00-07:00", "20:60-07:00", "24:00-07:00", "8:00-9:00",
        "20:00-07:00,", ",", "nights", "20:00-07:00;12:00-13:00"})
    CHECK_FALSE(Hours::parse(wrong).ok());
}

TEST_CASE("the next change is the end, then the beginning") {
  const Zone zone(kBerlin);
  const Hours night = Hours::parse("20:00-07:00").value();
  CHECK(night.next_change(local(2026, 6, 1, 21, 13, 5)) == local(2026, 6, 2, 7, 0));
  CHECK(night.next_change(local(2026, 6, 2, 7, 0)) == local(2026, 6, 2, 20, 0));
  CHECK(night.next_change(local(2026, 6, 2, 19, 59, 59)) == local(2026, 6, 2, 20, 0));
}

TEST_CASE("ranges that touch make one, and the whole day never changes") {
  const Zone zone(kBerlin);
  CHECK(Hours::parse("12:00-13:00,13:00-15:00").value().next_change(local(2026, 6, 1, 12, 30)) ==
        local(2026, 6, 1, 15, 0));
  CHECK_FALSE(Hours::parse("00:00-24:00").value().next_change(local(2026, 6, 1, 12, 0)));
}

TEST_CASE("daylight saving moves the change with the clock on the wall") {
  const Zone zone(kBerlin);
  const Hours night = Hours::parse("20:00-07:00").value();
  // The night of 28 to 29 March 2026 has an hour less, that of 24 to 25 October one more.
  CHECK(*night.next_change(local(2026, 3, 28, 20, 0)) - local(2026, 3, 28, 20, 0) == hours(10));
  CHECK(*night.next_change(local(2026, 10, 24, 20, 0)) - local(2026, 10, 24, 20, 0) == hours(12));
  // 02:10 does not exist on 29 March: the range begins when the clock jumps past it.
  const Hours early = Hours::parse("02:10-03:30").value();
  CHECK(early.next_change(local(2026, 3, 29, 1, 0)) == local(2026, 3, 29, 3, 0));
}

TEST_CASE("nothing changes before the next change") {
  const Zone zone(kBerlin);
  rc::prop("over a year, to the second", [] {
    const int begin = *rc::gen::inRange(0, 1440);
    const int end = (begin + *rc::gen::inRange(1, 1440)) % 1440;
    char text[32];
    std::snprintf(text, sizeof text, "%02d:%02d-%02d:%02d", begin / 60, begin % 60, end / 60,
                  end % 60);
    const Hours hours_of_day = Hours::parse(text).value();
    const WallTime from = local(2026, 1, 1, 0, 0) + seconds(*rc::gen::inRange(0, 365 * 86400));
    const std::optional<WallTime> change = hours_of_day.next_change(from);
    RC_ASSERT(change.has_value());
    RC_ASSERT(*change > from);
    RC_ASSERT(hours_of_day.contains(*change) != hours_of_day.contains(from));
    RC_ASSERT(hours_of_day.contains(*change - seconds(1)) == hours_of_day.contains(from));
    for (WallTime t = from; t < *change; t += seconds(61))
      RC_ASSERT(hours_of_day.contains(t) == hours_of_day.contains(from));
  });
}
