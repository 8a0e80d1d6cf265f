#include "hostd/load_average.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace hob;

namespace {
const LoadMarks kOpen = HostdConfig{}.idle_load_open;
const LoadMarks kClose = HostdConfig{}.idle_load_close;

/// Samples of `runnable` every five seconds for `span`; returns the time after them.
Time run(LoadAverages& averages, unsigned runnable, Time from, Duration span) {
  Time t = from;
  for (; t < from + span; t += seconds(5)) averages.sample(runnable, t);
  return t;
}
}  // namespace

TEST_CASE("there are no averages before the first sample") {
  CHECK_FALSE(LoadAverages().averages());
}

TEST_CASE("a constant load has that average from the first sample on") {
  LoadAverages averages;
  Time t{hours(1)};
  for (int i = 0; i < 100; ++i, t += seconds(5)) {
    averages.sample(3, t);
    CHECK(averages.averages()->at(0) == Approx(3));
    CHECK(averages.averages()->at(1) == Approx(3));
    CHECK(averages.averages()->at(2) == Approx(3));
  }
}

TEST_CASE("after long samples the averages are the exponential ones") {
  LoadAverages averages;
  const Time t = run(averages, 0, Time{hours(1)}, hours(24));
  run(averages, 4, t, seconds(60));
  const auto [one, five, fifteen] = *averages.averages();
  CHECK(one == Approx(4 * (1 - std::exp(-1.0))));
  CHECK(five == Approx(4 * (1 - std::exp(-1.0 / 5))));
  CHECK(fifteen == Approx(4 * (1 - std::exp(-1.0 / 15))));
}

TEST_CASE("a busy first sample is soon forgotten") {
  LoadAverages averages;
  run(averages, 8, Time{hours(1)}, seconds(5));
  run(averages, 0, Time{hours(1)} + seconds(5), seconds(60));
  CHECK((*averages.averages())[2] < 1.0);
}

TEST_CASE("a sample that is late counts for all of the time since the one before") {
  LoadAverages often, seldom;
  run(often, 0, Time{hours(1)}, hours(1));
  run(seldom, 0, Time{hours(1)}, hours(1));
  const Time t = Time{hours(2)} - seconds(5);
  run(often, 2, t + seconds(5), minutes(10));
  seldom.sample(2, t + minutes(10));
  for (size_t i = 0; i < 3; ++i) CHECK((*often.averages())[i] == Approx((*seldom.averages())[i]));
}

TEST_CASE("the gate opens below all open marks and closes above one close mark") {
  LoadGate gate(kOpen, kClose, 1);
  CHECK_FALSE(gate.open());
  gate.update({0.75, 0, 0});
  CHECK_FALSE(gate.open());
  gate.update({0.74, 0.99, 1.5});
  CHECK_FALSE(gate.open());
  gate.update({0.74, 0.99, 1.49});
  CHECK(gate.open());
  gate.update({2.5, 2.75, 3.0});
  CHECK(gate.open());
  gate.update({0, 0, 3.01});
  CHECK_FALSE(gate.open());
  gate.update({1, 1, 1});
  CHECK_FALSE(gate.open());
}

TEST_CASE("each further processor adds one to every mark") {
  LoadGate gate(kOpen, kClose, 4);
  CHECK(gate.open_marks() == LoadMarks{3.75, 4.0, 4.5});
  CHECK(gate.close_marks() == LoadMarks{5.5, 5.75, 6.0});
  gate.update({3.7, 3.7, 3.7});
  CHECK(gate.open());
}
