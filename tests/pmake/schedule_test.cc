// pmake/schedule.h: its rules one by one, and what must hold whatever happens, against a plain
// model.
#include "pmake/schedule.h"

#include <algorithm>
#include <set>

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

const Time kStart{seconds(1000)};

std::vector<Schedule::Slot> slots(std::initializer_list<std::pair<uint64_t, const char*>> list) {
  std::vector<Schedule::Slot> out;
  for (const auto& [lease, host] : list) out.push_back({lease, host, false});
  return out;
}

/// Where decide() has put the recipes, as "recipe@lease"; sent out: "recipe>lease".
std::vector<std::string> decided(Schedule& schedule, Time now = kStart) {
  std::vector<std::string> out;
  for (const Schedule::Decision& d : schedule.decide(now)) {
    if (const auto* placed = std::get_if<Schedule::Placed>(&d))
      out.push_back(std::to_string(placed->recipe) + "@" + std::to_string(placed->lease));
    else
      out.push_back(std::to_string(std::get<Schedule::SendOut>(d).recipe) + ">" +
                    std::to_string(std::get<Schedule::SendOut>(d).lease));
  }
  return out;
}
using Places = std::vector<std::string>;

/// It comes home with all of its memory.
void come_home(Schedule& schedule, uint64_t recipe, Time now = kStart) {
  schedule.came_home(recipe, now);
  schedule.settled(recipe);
}

TEST_CASE("recipes spread over hosts, then run at home, then wait") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}, {11, "a"}, {12, "b"}}));
  for (uint64_t n : {1, 2, 3, 4, 5}) schedule.ask(n, true);
  CHECK(decided(schedule) == Places{"1@10", "2@12", "3@11", "4@0"});
  CHECK(schedule.waiting() == 1);
  schedule.end(2);
  CHECK(decided(schedule) == Places{"5@12"});
}

TEST_CASE("what stays at home waits for a local slot, and others do not wait behind it") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}, {11, "b"}}));
  schedule.ask(1, false);
  schedule.ask(2, false);
  schedule.ask(3, true);
  CHECK(decided(schedule) == Places{"1@0", "3@10"});
  schedule.end(1);
  CHECK(decided(schedule) == Places{"2@0"});
}

TEST_CASE("something can always run") {
  Schedule nothing({.local = 0});
  CHECK(nothing.parallelism() == 1);
  nothing.ask(1, true);
  CHECK(decided(nothing) == Places{"1@0"});

  Schedule away({.local = 0});
  away.hold(slots({{10, "a"}}));
  away.ask(1, false);
  CHECK(decided(away) == Places{"1@0"});  // it may not leave
}

TEST_CASE("with -X nothing leaves and nothing is asked for") {
  Schedule schedule({.local = 2, .export_ok = false});
  schedule.hold(slots({{10, "a"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@0"});
  CHECK(schedule.wanted(0, kStart) == 0);
}

TEST_CASE("a slot that refuses takes nothing more, and the recipe is the next to be placed") {
  Schedule schedule({.local = 0});
  schedule.hold(slots({{10, "a"}, {11, "b"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  schedule.refused(1);
  schedule.ask(2, true);
  CHECK(decided(schedule) == Places{"1@11"});
  CHECK(schedule.parallelism() == 1);
}

TEST_CASE("what no host takes stays at home in the end") {
  Schedule schedule({.local = 0});
  schedule.ask(1, true);
  for (unsigned n = 1; n <= Schedule::kMostRefusals; ++n) {
    schedule.hold(slots({{10, "a"}}));  // hostd does not know that it is of no use
    CHECK(decided(schedule) == Places{"1@10"});
    schedule.refused(1);
  }
  schedule.hold(slots({{10, "a"}}));
  CHECK(decided(schedule) == Places{"1@0"});
}

TEST_CASE("what came home takes a local slot, and no more than there are of them") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}, {11, "b"}, {12, "c"}}));
  CHECK(schedule.parallelism() == 4);
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  come_home(schedule, 1);
  schedule.hold(slots({{11, "b"}, {12, "c"}}));
  CHECK(schedule.parallelism() == 3);
  for (uint64_t n = 2; n <= 4; ++n) schedule.ask(n, true);
  CHECK(decided(schedule) == Places{"2@11", "3@12"});
  come_home(schedule, 2);
  come_home(schedule, 3);
  schedule.hold({});
  CHECK(schedule.parallelism() == 3);
  // One of the three may stay; the others leave before what is new, when they have run for long
  // enough to be worth it.
  const Time later = kStart + seconds(2);
  CHECK(decided(schedule, later).empty());
  schedule.hold(slots({{20, "a"}, {21, "b"}, {22, "c"}}));
  CHECK(decided(schedule, later) == Places{"1>20", "2>21", "4@22"});
  schedule.sent_out(1, true, kStart);
  schedule.end(3);
  schedule.sent_out(2, false, kStart);
  schedule.ask(5, true);
  CHECK(decided(schedule) == Places{"5@21"});
  CHECK(schedule.parallelism() == 4);
}

TEST_CASE(
    "what home has no slot for leaves when it has run for two seconds, and what is young stays") {
  for (const int64_t age : {0, 1, 2, 5}) {
    Schedule schedule({.local = 0});
    schedule.hold(slots({{10, "a"}, {11, "b"}}));
    schedule.ask(1, true);
    CHECK(decided(schedule) == Places{"1@10"});
    const Time home = kStart + seconds(age);
    come_home(schedule, 1, home);
    schedule.hold(slots({{11, "b"}}));
    if (age < 2) {
      CHECK(decided(schedule, home).empty());
      CHECK(schedule.next(home) == kStart + seconds(2));
    }
    CHECK(decided(schedule, std::max(home, kStart + seconds(2))) == Places{"1>11"});
  }
}

TEST_CASE("of what came home the oldest leaves first") {
  Schedule schedule({.local = 0});
  schedule.hold(slots({{10, "a"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  schedule.hold(slots({{10, "a"}, {11, "b"}}));
  schedule.ask(2, true);
  const Time home = kStart + seconds(3);
  CHECK(decided(schedule, kStart + seconds(1)) == Places{"2@11"});
  come_home(schedule, 2, home);
  come_home(schedule, 1, home + milliseconds(1));
  schedule.hold(slots({{12, "c"}}));
  CHECK(decided(schedule, home + milliseconds(2)) == Places{"1>12"});
}

TEST_CASE("what came home is sent out when its last pages have come") {
  Schedule schedule({.local = 0});
  schedule.settled(1);  // nobody knows it
  schedule.hold(slots({{10, "a"}, {11, "b"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  const Time home = kStart + seconds(9);
  schedule.settled(1);  // it is not at home
  schedule.came_home(1, home);
  schedule.hold(slots({{11, "b"}}));
  CHECK(decided(schedule, home + seconds(9)).empty());
  CHECK(schedule.next(home) == std::nullopt);
  schedule.settled(1);
  CHECK(decided(schedule, home + seconds(9)) == Places{"1>11"});
}

TEST_CASE("who comes home again and again stays for longer each time, until he was away for long") {
  for (const uint32_t local : {0u, 1u}) {
    Schedule schedule({.local = local});
    schedule.ask(1, true);
    schedule.hold(slots({{10, "a"}}));
    CHECK(decided(schedule, kStart - seconds(10)) == Places{"1@10"});
    Time now = kStart;
    for (int64_t waits : local == 0 ? std::vector<int64_t>{0, 2, 4, 8, -1, 0, 2}
                                    : std::vector<int64_t>{2, 4, 8, 8, -1, 2, 4}) {
      if (waits < 0) {
        now += seconds(2);
        continue;
      }
      come_home(schedule, 1, now);
      schedule.hold(slots({{11, "b"}}));
      if (waits > 0) CHECK(decided(schedule, now + seconds(waits) - milliseconds(1)).empty());
      now += seconds(waits);
      CHECK(decided(schedule, now) == Places{"1>11"});
      now += milliseconds(1);
      schedule.sent_out(1, true, now);
    }
  }
}

TEST_CASE("a recipe that may go out, and cannot, asks for no time") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}}));
  schedule.ask(1, true);
  decided(schedule);
  come_home(schedule, 1);
  schedule.hold({});
  REQUIRE(schedule.next(kStart));
  CHECK(schedule.next(*schedule.next(kStart)) == std::nullopt);
}

TEST_CASE("what hob lost runs at home, and nowhere else") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}, {11, "b"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  schedule.lost(1);
  CHECK(decided(schedule) == Places{"1@0"});
}

TEST_CASE("what came home goes out again when a slot is free for long enough") {
  Schedule schedule({.local = 1});
  schedule.hold(slots({{10, "a"}}));
  schedule.ask(1, true);
  CHECK(decided(schedule) == Places{"1@10"});
  come_home(schedule, 1);
  schedule.hold({});
  schedule.hold(slots({{20, "b"}}));
  CHECK(decided(schedule, kStart + seconds(1)).empty());
  REQUIRE(schedule.next(kStart + seconds(1)));
  CHECK(decided(schedule, *schedule.next(kStart + seconds(1))) == Places{"1>20"});
  schedule.ask(3, true);
  CHECK(decided(schedule, kStart + seconds(3)) == Places{"3@0"});
  schedule.ask(4, true);
  CHECK(decided(schedule, kStart + seconds(3)).empty());  // the slot is promised
  schedule.sent_out(1, false, kStart + seconds(3));
  CHECK(decided(schedule, kStart + seconds(3)) == Places{"4@20"});  // and not again at once
}

TEST_CASE("slots asked for double while make uses all it gets, and fall at the end") {
  Schedule schedule({.local = 1});
  CHECK(schedule.wanted(0, kStart) == 4);
  schedule.hold(slots({{1, "a"}, {2, "b"}, {3, "c"}, {4, "d"}}));
  for (uint64_t n = 1; n <= 4; ++n) schedule.ask(n, true);
  decided(schedule);
  CHECK(schedule.wanted(0, kStart) == 8);
  CHECK(schedule.wanted(3, kStart + seconds(1)) == 8);
  CHECK(schedule.wanted(3, kStart + seconds(5)) == 5);
  Schedule capped({.local = 1, .most = 3});
  CHECK(capped.wanted(0, kStart) == 2);
  CHECK(capped.parallelism() == 1);
}

/// What the schedule promises whatever happens.
TEST_CASE("no slot has two recipes, no recipe two places, and nothing waits while it could run") {
  rc::prop("any facts in any order", [] {
    const auto local = *rc::gen::inRange<uint32_t>(0, 4);
    Schedule schedule({.local = local});
    std::vector<Schedule::Slot> held;
    std::map<uint64_t, uint64_t> at;  // recipe -> lease, 0: home; as decided
    std::set<uint64_t> waiting, returned, home_only, sent, whole;
    std::map<uint64_t, unsigned> refusals;
    uint64_t last_recipe = 0, last_lease = 0;
    Time now = kStart;
    const auto pick = [](const auto& from) {
      return *std::next(from.begin(), *rc::gen::inRange<int>(0, static_cast<int>(from.size())));
    };
    const int steps = *rc::gen::inRange(1, 60);
    for (int step = 0; step < steps; ++step) {
      now += milliseconds(*rc::gen::inRange(0, 3000));
      switch (*rc::gen::inRange(0, 9)) {
        case 0:
        case 1: {
          const bool leaves = *rc::gen::inRange(0, 4) > 0;
          schedule.ask(++last_recipe, leaves);
          waiting.insert(last_recipe);
          if (!leaves) home_only.insert(last_recipe);
          break;
        }
        case 2:
          held.push_back(
              {++last_lease, std::string(1, static_cast<char>('a' + last_lease % 3)), false});
          schedule.hold(held);
          break;
        case 3:
          if (!held.empty()) {
            const size_t i =
                static_cast<size_t>(*rc::gen::inRange<int>(0, static_cast<int>(held.size())));
            const uint64_t lease = held[i].lease;
            held.erase(held.begin() + static_cast<ptrdiff_t>(i));
            schedule.hold(held);
            for (auto& [recipe, on] : at)
              if (on == lease && !sent.contains(recipe)) {
                schedule.came_home(recipe, now);
                if (returned.insert(recipe).second) whole.erase(recipe);
                on = 0;
              } else if (on == lease) {
                schedule.sent_out(recipe, false, now);
                sent.erase(recipe);
                on = 0;
              }
          }
          break;
        case 4:
        case 5:
          if (!at.empty()) {
            const uint64_t recipe = pick(at).first;
            schedule.end(recipe);
            at.erase(recipe);
            returned.erase(recipe);
            sent.erase(recipe);
          }
          break;
        case 6:
          if (!sent.empty()) {
            const uint64_t recipe = pick(sent);
            schedule.sent_out(recipe, true, now);
            sent.erase(recipe);
            returned.erase(recipe);
          }
          break;
        case 7:
          for (const auto& [recipe, on] : at)
            if (on != 0 && !returned.contains(recipe)) {
              schedule.refused(recipe);
              std::erase_if(held, [&, l = on](const auto& s) { return s.lease == l; });
              schedule.hold(held);
              waiting.insert(recipe);
              if (++refusals[recipe] == Schedule::kMostRefusals) home_only.insert(recipe);
              at.erase(recipe);
              break;
            }
          break;
        case 8:
          if (!returned.empty()) {
            const uint64_t recipe = pick(returned);
            schedule.settled(recipe);
            whole.insert(recipe);
          }
          break;
      }
      for (const Schedule::Decision& d : schedule.decide(now)) {
        if (const auto* placed = std::get_if<Schedule::Placed>(&d)) {
          RC_ASSERT(waiting.erase(placed->recipe) == 1u);
          RC_ASSERT(placed->lease == 0 || !home_only.contains(placed->recipe));
          at[placed->recipe] = placed->lease;
        } else {
          const auto& order = std::get<Schedule::SendOut>(d);
          RC_ASSERT(returned.contains(order.recipe));
          RC_ASSERT(whole.contains(order.recipe));
          RC_ASSERT(sent.insert(order.recipe).second);
          at[order.recipe] = order.lease;
        }
      }
      std::set<uint64_t> used;
      for (const auto& [recipe, lease] : at) {
        if (lease == 0) continue;
        RC_ASSERT(used.insert(lease).second);
        RC_ASSERT(std::any_of(held.begin(), held.end(),
                              [&, l = lease](const auto& s) { return s.lease == l; }));
      }
      const bool free = used.size() < held.size();
      for (uint64_t recipe : waiting) RC_ASSERT(!free || home_only.contains(recipe));
      RC_ASSERT(schedule.waiting() == waiting.size());
      RC_ASSERT(schedule.parallelism() >= 1u);
      if (!waiting.empty()) RC_ASSERT(!at.empty());
    }
  });
}

}  // namespace
}  // namespace hob::pmake
