// What must hold after any series of facts, whatever their order.

#include "hostd/owner.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>

using namespace hob;

namespace {

/// Applies random facts to an owner and keeps its own simple books of them, as the oracle.
class World {
 public:
  World() : owner_(rules()), sources_(2) {
    for (Seen& source : sources_) source.id = owner_.add_source("s");
  }

  void step() {
    pass(milliseconds(*rc::gen::element(0, 1, 999, 5'000, 29'999, 30'000, 61'000, 7'200'000)));
    Seen& source = sources_[*rc::gen::inRange<size_t>(0, sources_.size())];
    switch (*rc::gen::inRange(0, 9)) {
      case 0:
      case 1: {
        const Time when = now - milliseconds(*rc::gen::element(0, 5, 10'000));
        owner_.input(source.id, when, "keyboard");
        source.last = std::max(source.last, when);
        break;
      }
      case 2:
        source.readable = true;
        source.last = std::max(source.last, now);
        owner_.source_readable(source.id, now);
        break;
      case 3:
        if (*rc::gen::inRange(0, 4) != 0) break;
        source.readable = false;
        owner_.source_unreadable(source.id, "gone");
        break;
      case 4:
        owner_.load(*rc::gen::element(0u, 0u, 0u, 1u, 20u), now);
        break;
      case 5:
        owner_.slots_used(used = *rc::gen::inRange(0u, 5u));
        break;
      case 6: {
        const int kind = *rc::gen::inRange(0, 4);
        if (kind == 0) owner_.pause(std::nullopt);
        if (kind == 1) owner_.pause(wall + seconds(*rc::gen::inRange(0, 100'000)));
        if (kind >= 2) owner_.resume();
        break;
      }
      case 7:
        owner_.on_battery(battery = *rc::gen::inRange(0, 4) == 0);
        break;
      case 8:
        owner_.load(0, now);
        break;
    }
  }

  void pass(Duration duration) {
    now += duration;
    wall += std::chrono::duration_cast<WallTime::duration>(duration);
  }
  Verdict at(Time when) const {
    return owner_.judge(when, wall + std::chrono::duration_cast<WallTime::duration>(when - now));
  }
  bool owner_near() const {
    for (const Seen& source : sources_)
      if (!source.readable || now - source.last < seconds(30)) return true;
    return false;
  }
  Owner& owner() { return owner_; }

  Time now{hours(1000)};
  WallTime wall = WallClock::from_time_t(1780315200);
  unsigned used = 0;
  bool battery = false;

 private:
  static OwnerRules rules() {
    OwnerRules rules;
    rules.processors = *rc::gen::inRange(1u, 5u);
    rules.max_guests = *rc::gen::inRange(1u, 4u);
    if (*rc::gen::arbitrary<bool>()) rules.hours = Hours::parse("20:00-07:00,12:00-13:00").value();
    return rules;
  }
  struct Seen {
    Owner::Source id = 0;
    bool readable = false;
    Time last{};
  };
  Owner owner_;
  std::vector<Seen> sources_;
};

void in_utc() {
  ::setenv("TZ", "UTC", 1), ::tzset();
}

bool takes_guests(HostState state) {
  return state == HostState::idle || state == HostState::part_used;
}

}  // namespace

TEST_CASE("after any facts") {
  in_utc();
  rc::prop("no guest is allowed within 30 s of an input, nor unseen, nor on battery", [] {
    World world;
    const int steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) {
      world.step();
      const Verdict verdict = world.at(world.now);
      if (world.owner_near() || world.battery) {
        RC_ASSERT(!verdict.guests_allowed);
        RC_ASSERT(!takes_guests(verdict.state));
      }
      RC_ASSERT(verdict.state != HostState::down);
      RC_ASSERT(takes_guests(verdict.state) == (verdict.free_slots > 0));
      RC_ASSERT(verdict.free_slots == 0 || verdict.guests_allowed);
      if (verdict.state == HostState::idle) RC_ASSERT(world.used == 0);
      if (verdict.state == HostState::part_used) RC_ASSERT(world.used > 0);
      RC_ASSERT(!world.owner().why(world.now, world.wall).empty());
    }
  });

  rc::prop("an eviction comes exactly when guests stop being allowed", [] {
    World world;
    bool allowed = false;
    const int steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) {
      world.step();
      const Owner::Decision decision = world.owner().decide(world.now, world.wall);
      RC_ASSERT(decision.evict == (allowed && !decision.verdict.guests_allowed));
      RC_ASSERT(decision.verdict == world.at(world.now));
      allowed = decision.verdict.guests_allowed;
    }
  });

  rc::prop("the deadline is exact: nothing changes before it, and something at it", [] {
    World world;
    const int steps = *rc::gen::inRange(1, 40);
    for (int i = 0; i < steps; ++i) world.step();
    const Verdict verdict = world.at(world.now);
    const std::optional<Time> deadline = world.owner().next_deadline(world.now, world.wall);
    const Time end = deadline.value_or(world.now + hours(24 * 7));
    RC_ASSERT(end > world.now);
    // A verdict that stays the same for a week is looked at anew after that week.
    const bool far = end >= world.now + hours(24 * 7);
    if (deadline && !far) RC_ASSERT(world.at(end) != verdict);
    RC_ASSERT(world.at(end - nanoseconds(1)) == verdict);
    for (int i = 0; i < 200; ++i)
      RC_ASSERT(world.at(world.now + (end - world.now) / 200 * i) == verdict);
  });
}
