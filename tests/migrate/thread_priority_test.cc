#include "migrate/thread_priority.h"

#include <catch2/catch.hpp>

namespace hob::migrate {

TEST_CASE("a thread that gets its processor does not find them taken") {
  Crowding crowding;
  CHECK(!crowding.after(milliseconds(20), milliseconds(0)));
  CHECK(!crowding.after(milliseconds(5), milliseconds(15)));
}

TEST_CASE("one that waits for most of the time does, until it gets one again") {
  Crowding crowding;
  CHECK(crowding.after(milliseconds(1), milliseconds(19)));
  CHECK(crowding.after(milliseconds(8), milliseconds(12)));
  CHECK(!crowding.after(milliseconds(12), milliseconds(8)));
}

TEST_CASE("time in which it wanted none says nothing") {
  Crowding crowding;
  CHECK(!crowding.after(Duration(0), Duration(0)));
  CHECK(crowding.after(Duration(0), milliseconds(20)));
  CHECK(crowding.after(Duration(0), Duration(0)));
}

}  // namespace hob::migrate
