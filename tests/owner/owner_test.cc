#include "hostd/owner.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>

using namespace hob;

namespace {

/// An owner, and the time that the test says it is. Two processors, two slots, one keyboard that
/// can be read since `start`, no load.
class Desk {
 public:
  explicit Desk(OwnerRules rules = two()) : owner(std::move(rules)) {
    ::setenv("TZ", "UTC", 1), ::tzset();
    keyboard = owner.add_source("evdev");
    owner.source_readable(keyboard, now);
    owner.load(0, now);
  }
  static OwnerRules two() {
    OwnerRules rules;
    rules.processors = 2;
    rules.max_guests = 2;
    return rules;
  }
  void pass(Duration duration) {
    now += duration;
    wall += std::chrono::duration_cast<WallTime::duration>(duration);
  }
  void press() { owner.input(keyboard, now, "keyboard 'K'"); }
  Owner::Decision decide() { return owner.decide(now, wall); }
  HostState state() const { return owner.judge(now, wall).state; }
  std::string why() const { return owner.why(now, wall); }
  std::optional<Duration> deadline() const {
    const std::optional<Time> at = owner.next_deadline(now, wall);
    return at ? std::optional<Duration>(*at - now) : std::nullopt;
  }

  Time now{hours(1000)};
  WallTime wall = WallClock::from_time_t(1780315200);  // 2026-06-01 12:00 UTC
  Owner owner;
  Owner::Source keyboard;
};

}  // namespace

TEST_CASE("a host is idle 30 s after it began to look, and after each input") {
  Desk desk;
  CHECK(desk.state() == HostState::active);
  CHECK(desk.why() == "input source evdev watched for 0 s only; idle in 30 s");
  CHECK(desk.deadline() == seconds(30));
  desk.pass(seconds(30) - nanoseconds(1));
  CHECK(desk.state() == HostState::active);
  desk.pass(nanoseconds(1));
  CHECK(desk.state() == HostState::idle);
  CHECK(desk.why() == "no input for 30 s");
  CHECK_FALSE(desk.deadline());
  desk.press();
  CHECK(desk.state() == HostState::active);
  desk.pass(seconds(3));
  CHECK(desk.why() == "keyboard 'K' used 3 s ago; idle in 27 s");
  desk.pass(milliseconds(26'500));
  CHECK(desk.why() == "keyboard 'K' used 29 s ago; idle in 1 s");
}

TEST_CASE("the idle time is the owner's to choose") {
  OwnerRules rules = Desk::two();
  rules.idle_after = minutes(15);
  Desk desk(rules);
  desk.pass(seconds(899));
  CHECK(desk.state() == HostState::active);
  desk.pass(seconds(1));
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("input evicts once, whatever the number of keys") {
  Desk desk;
  desk.pass(minutes(1));
  CHECK_FALSE(desk.decide().evict);
  desk.owner.slots_used(2);
  CHECK(desk.decide().verdict == Verdict{HostState::full, true, 0});
  desk.press();
  const Owner::Decision first = desk.decide();
  CHECK(first.evict);
  CHECK(first.changed);
  CHECK(first.verdict == Verdict{HostState::active, false, 0});
  desk.press();
  const Owner::Decision second = desk.decide();
  CHECK_FALSE(second.evict);
  CHECK_FALSE(second.changed);
}

TEST_CASE("slots count guests up to the most that the owner has set") {
  Desk desk;
  desk.pass(minutes(1));
  CHECK(desk.decide().verdict == Verdict{HostState::idle, true, 2});
  desk.owner.slots_used(1);
  CHECK(desk.decide().verdict == Verdict{HostState::part_used, true, 1});
  CHECK(desk.why() == "no input for 60 s; 1 of 2 slots used");
  desk.owner.slots_used(3);
  CHECK(desk.decide().verdict == Verdict{HostState::full, true, 0});
}

TEST_CASE("high load stops acceptance and evicts nobody") {
  Desk desk;
  desk.pass(minutes(1));
  desk.owner.slots_used(1);
  CHECK(desk.decide().verdict.state == HostState::part_used);
  for (int i = 0; i < 60; ++i, desk.pass(seconds(5))) desk.owner.load(8, desk.now);
  const Owner::Decision loaded = desk.decide();
  CHECK(loaded.verdict == Verdict{HostState::full, true, 0});
  CHECK_FALSE(loaded.evict);
  CHECK_THAT(desk.why(),
             Catch::StartsWith("the owner's own load is 8.00, 7.94, 7.91 over 1, 5, 15"));
  CHECK_THAT(desk.why(), Catch::EndsWith("guests are let in below 1.75, 2, 2.5"));
  desk.owner.slots_used(0);
  CHECK(desk.decide().verdict == Verdict{HostState::active, true, 0});
  CHECK_FALSE(desk.deadline());
}

TEST_CASE("a load between the marks leaves the door as it was") {
  const auto state_after = [](unsigned before) {
    Desk desk;
    for (int i = 0; i < 720; ++i, desk.pass(seconds(5))) desk.owner.load(before, desk.now);
    for (int i = 0; i < 720; ++i, desk.pass(seconds(5))) desk.owner.load(2 + (i % 2), desk.now);
    return desk.state();
  };
  CHECK(state_after(0) == HostState::idle);
  CHECK(state_after(9) == HostState::active);
}

TEST_CASE("a load that is not known lets nobody in") {
  Owner owner(Desk::two());
  const Owner::Source source = owner.add_source("evdev");
  const Time now{hours(1)};
  owner.source_readable(source, now - minutes(1));
  const WallTime wall{};
  CHECK(owner.judge(now, wall) == Verdict{HostState::active, true, 0});
  CHECK(owner.why(now, wall) == "the owner's own load has not been measured yet");
  owner.load(0, now);
  CHECK(owner.judge(now, wall).state == HostState::idle);
  owner.load_unreadable("cannot be read: open /proc/loadavg: permission denied");
  CHECK(owner.judge(now, wall).state == HostState::active);
}

TEST_CASE("an unreadable source means that the owner is present") {
  Desk desk;
  desk.pass(minutes(1));
  desk.decide();
  CHECK(desk.state() == HostState::idle);
  const Owner::Source tty = desk.owner.add_source("tty");
  CHECK(desk.state() == HostState::active);
  CHECK(desk.why() == "input source tty has not reported yet, so the owner counts as present");
  CHECK_FALSE(desk.deadline());
  CHECK_FALSE(desk.owner.last_input());
  desk.owner.source_readable(tty, desk.now - minutes(5));
  CHECK(desk.state() == HostState::idle);
  desk.decide();
  desk.owner.source_unreadable(tty, "cannot be read: open /dev/pts: permission denied");
  CHECK(desk.decide().evict);
  CHECK(desk.why() ==
        "input source tty cannot be read: open /dev/pts: permission denied, so the owner counts as "
        "present");
}

TEST_CASE("the idle time is the least of all sources") {
  Desk desk;
  const Owner::Source tty = desk.owner.add_source("tty");
  desk.owner.source_readable(tty, desk.now - hours(1));
  desk.pass(seconds(20));
  desk.owner.input(tty, desk.now, "terminal pts/3");
  desk.pass(seconds(15));
  CHECK(desk.why() == "terminal pts/3 used 15 s ago; idle in 15 s");
  CHECK(desk.deadline() == seconds(15));
  CHECK(desk.owner.last_input() == desk.now - seconds(15));
}

TEST_CASE("late news of an older input does not make the host busy again") {
  Desk desk;
  desk.pass(minutes(1));
  desk.owner.input(desk.keyboard, desk.now - minutes(5), "keyboard 'old'");
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("no source at all means that the owner is present") {
  Owner owner(Desk::two());
  const Time now{hours(1)};
  owner.load(0, now);
  CHECK(owner.judge(now, WallTime{}).state == HostState::active);
  CHECK(owner.why(now, WallTime{}) ==
        "no input source is configured (idle.sources is empty), so the owner counts as present");
  CHECK_FALSE(owner.next_deadline(now, WallTime{}));
}

TEST_CASE("a pause evicts, and ends when it was to end") {
  Desk desk;
  desk.pass(minutes(1));
  desk.owner.slots_used(1);
  desk.decide();
  desk.owner.pause(desk.wall + hours(2));
  const Owner::Decision paused = desk.decide();
  CHECK(paused.evict);
  CHECK(paused.verdict == Verdict{HostState::refuses, false, 0});
  CHECK(desk.why() == "paused by the owner until 14:01");
  CHECK(desk.deadline() == hours(2));
  desk.owner.slots_used(0);
  desk.pass(hours(2));
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("a pause without end lasts until resume") {
  Desk desk;
  desk.pass(minutes(1));
  desk.owner.pause(std::nullopt);
  CHECK(desk.why() == "paused by the owner until `remote resume`");
  CHECK_FALSE(desk.deadline());
  desk.owner.resume();
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("a pause that ends while the owner types ends in ACTIVE") {
  Desk desk;
  desk.owner.pause(desk.wall + seconds(10));
  CHECK(desk.deadline() == seconds(10));
  desk.pass(seconds(10));
  CHECK(desk.state() == HostState::active);
  CHECK(desk.deadline() == seconds(20));
}

TEST_CASE("outside the owner's hours the host refuses, and guests go when they end") {
  OwnerRules rules = Desk::two();
  rules.hours = Hours::parse("20:00-07:00").value();
  Desk desk(rules);
  CHECK(desk.state() == HostState::refuses);
  CHECK(desk.why() == "the owner takes guests at 20:00-07:00 only (owner.hours)");
  CHECK(desk.deadline() == hours(8));
  desk.pass(hours(8));
  CHECK(desk.decide().verdict.state == HostState::idle);
  CHECK(desk.deadline() == hours(11));
  desk.pass(hours(11));
  CHECK(desk.decide().evict);
}

TEST_CASE("an owner who imports from nobody, or sets no slots, is refusing for good") {
  OwnerRules rules = Desk::two();
  rules.import = false;
  rules.hours = Hours::parse("20:00-07:00").value();
  Desk desk(rules);
  CHECK(desk.state() == HostState::refuses);
  CHECK_FALSE(desk.deadline());
  CHECK(desk.why() == "the owner takes no guests (owner.import = \"none\")");
  rules = Desk::two();
  rules.max_guests = 0;
  desk.owner.rules(rules);
  CHECK(desk.why() == "the owner has set no slots for guests");
  desk.owner.rules(Desk::two());
  desk.pass(minutes(1));
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("on battery the host refuses, unless the owner does not mind") {
  Desk desk;
  desk.pass(minutes(1));
  desk.decide();
  desk.owner.on_battery(true);
  CHECK(desk.decide().evict);
  CHECK(desk.why() == "on battery power (owner.on_battery = false)");
  OwnerRules rules = Desk::two();
  rules.on_battery = true;
  desk.owner.rules(rules);
  CHECK(desk.state() == HostState::idle);
}

TEST_CASE("the rules follow the config") {
  HostdConfig config;
  config.idle_input = seconds(7);
  OwnerRules rules = OwnerRules::of(config, 8);
  CHECK(rules.idle_after == seconds(7));
  CHECK(rules.max_guests == 8);
  CHECK(rules.processors == 8);
  CHECK(rules.import);
  config.owner_max_guests = 3;
  config.owner_import = {HostList::Kind::none, {}};
  rules = OwnerRules::of(config, 8);
  CHECK(rules.max_guests == 3);
  CHECK_FALSE(rules.import);
}

TEST_CASE("the states have their names") {
  CHECK(to_string(HostState::down) == "DOWN");
  CHECK(to_string(HostState::active) == "ACTIVE");
  CHECK(to_string(HostState::idle) == "IDLE");
  CHECK(to_string(HostState::part_used) == "PART_USED");
  CHECK(to_string(HostState::full) == "FULL");
  CHECK(to_string(HostState::refuses) == "REFUSES");
}
