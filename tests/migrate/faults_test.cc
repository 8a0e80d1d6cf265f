#include "rig.h"

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;
using migrate::Fault;
using migrate::fault::Act;

/// One end dies or fails at each step. Afterwards exactly one copy runs, or none and somebody said
/// so; and where the job lives on, the next attempt succeeds.
namespace {

enum class End { lives_on, may_be_lost };

struct Attempt {
  Collector collector;
  std::unique_ptr<Host> source = std::make_unique<Host>(collector.write_end());
  std::unique_ptr<Host> target = std::make_unique<Host>(collector.write_end());
  Host::Outcome outcome;
  Result<void> received = Error{"never began"};

  explicit Attempt(std::vector<std::string> program = {victim("memory"), "16"}) {
    Home::get().reset();
    REQUIRE(source->start(program).ok());
    REQUIRE(collector.wait_for("ready"));
  }
  void move() {
    auto port = target->listen();
    REQUIRE(port.ok());
    outcome = source->send(*port, *target);
    received = target->received();
  }
  // The guest's processes on both hosts. A dead starter has taken its own with it.
  size_t copies() {
    size_t n = 0;
    for (auto* host : {source.get(), target.get()})
      if (host->alive()) n += host->guests().size();
    return n;
  }
  void finishes_on(Host& host) {
    host.write_input("go\n");
    auto status = host.wait_exit(15000);
    INFO("output: " << collector.drain());
    REQUIRE(status);
    CHECK(*status == 0);
    CHECK(collector.wait_for("ok\n"));
  }
  void second_attempt_succeeds() {
    target = std::make_unique<Host>(collector.write_end());
    move();
    INFO(outcome.text);
    REQUIRE(outcome.moved);
    REQUIRE(received.ok());
    finishes_on(*target);
  }
};

void check_fault(bool at_source, Fault where, Act act, End end) {
  Attempt attempt;
  (at_source ? attempt.source : attempt.target)->arm(where, act);
  attempt.move();
  INFO("fault " << static_cast<int>(where) << " act " << static_cast<int>(act));
  INFO("source: " << attempt.outcome.text);
  INFO("target: " << (attempt.received ? "received" : attempt.received.error().text));
  if (end == End::lives_on) {
    CHECK_FALSE(attempt.outcome.moved);
    CHECK(attempt.copies() == 1);
    CHECK(attempt.source->guests().size() == 1);
    attempt.second_attempt_succeeds();
    return;
  }
  // What it was depends on who was faster; never are there two.
  ::usleep(200000);
  const size_t copies = attempt.copies();
  CHECK(copies <= 1);
  if (copies == 0) {
    CHECK_FALSE((attempt.outcome.moved && attempt.received.ok() && attempt.target->alive()));
  } else if (attempt.source->alive() && attempt.source->guests().size() == 1) {
    attempt.second_attempt_succeeds();
  } else {
    attempt.finishes_on(*attempt.target);
  }
}

}  // namespace

TEST_CASE("the source fails before the image is out") {
  for (Fault where :
       {Fault::check, Fault::drafting, Fault::seized, Fault::captured, Fault::image_sending})
    check_fault(true, where, Act::error, End::lives_on);
}

TEST_CASE("the source fails when the target may have committed") {
  check_fault(true, Fault::image_sent, Act::error, End::may_be_lost);
}

TEST_CASE("the source fails while it pushes") {
  for (Fault where : {Fault::told_running, Fault::push})
    check_fault(true, where, Act::error, End::may_be_lost);
}

TEST_CASE("the source dies") {
  for (Fault where : {Fault::check, Fault::drafting, Fault::seized, Fault::captured,
                      Fault::image_sending, Fault::image_sent, Fault::told_running, Fault::push})
    check_fault(true, where, Act::die, End::may_be_lost);
}

TEST_CASE("the target fails before the commit") {
  for (Fault where : {Fault::connected, Fault::prepared, Fault::drafted, Fault::image_received,
                      Fault::adopted, Fault::space, Fault::threads, Fault::restored})
    check_fault(false, where, Act::error, End::lives_on);
}

TEST_CASE("the target dies before the commit") {
  for (Fault where : {Fault::connected, Fault::prepared, Fault::drafted, Fault::image_received,
                      Fault::adopted, Fault::space, Fault::threads, Fault::restored})
    check_fault(false, where, Act::die, End::lives_on);
}

TEST_CASE("the target fails or dies after the commit") {
  for (Fault where : {Fault::committed, Fault::running, Fault::pull})
    for (Act act : {Act::error, Act::die}) check_fault(false, where, act, End::may_be_lost);
}

/// One end hangs at each step: no wait of the other is for ever. hostd kills who hangs; so does the
/// test.
TEST_CASE("the target stalls before the commit") {
  for (Fault where : {Fault::connected, Fault::prepared, Fault::drafted, Fault::image_received,
                      Fault::adopted, Fault::space, Fault::threads, Fault::restored}) {
    INFO("fault " << static_cast<int>(where));
    Attempt attempt;
    attempt.target->arm(where, Act::stall);
    auto port = attempt.target->listen();
    REQUIRE(port.ok());
    migrate::SendOptions options;
    options.patience = milliseconds(500);
    attempt.outcome = attempt.source->send(*port, *attempt.target, options);
    INFO(attempt.outcome.text);
    CHECK_FALSE(attempt.outcome.moved);
    CHECK(attempt.source->guests().size() == 1);
    attempt.target->kill();
    attempt.second_attempt_succeeds();
  }
}

TEST_CASE("the target stalls after the commit") {
  for (Fault where : {Fault::committed, Fault::running, Fault::pull}) {
    INFO("fault " << static_cast<int>(where));
    Attempt attempt;
    attempt.target->arm(where, Act::stall);
    auto port = attempt.target->listen();
    REQUIRE(port.ok());
    migrate::SendOptions options;
    options.patience = milliseconds(500);
    attempt.source->begin_send(*port, *attempt.target, options);
    // Not before home has recorded it: until then it would live on at the source.
    const int before = Home::get().live;
    for (int i = 0; i < 1500 && Home::get().live == before; i++) ::usleep(10000);
    REQUIRE(Home::get().live != before);
    attempt.target->kill();
    attempt.outcome = attempt.source->end_send();
    INFO(attempt.outcome.text);
    // It can never run at the source again, and the target has taken its copy along.
    CHECK(attempt.outcome.text.find("lost") != std::string::npos);
    CHECK(attempt.copies() == 0);
  }
}

TEST_CASE("the source stalls") {
  for (Fault where : {Fault::check, Fault::seized, Fault::captured, Fault::image_sending,
                      Fault::image_sent, Fault::told_running, Fault::push}) {
    INFO("fault " << static_cast<int>(where));
    Attempt attempt;
    attempt.source->arm(where, Act::stall);
    auto port = attempt.target->listen();
    REQUIRE(port.ok());
    attempt.source->begin_send(*port, *attempt.target);
    // The rig's target waits 5 s for each step. Once it has the image it needs nobody.
    const bool alone = where == Fault::check || where == Fault::seized;
    if (!alone) ::usleep(500000);
    if (!alone) attempt.source->kill();
    attempt.received = attempt.target->received();
    if (alone) {
      CHECK_FALSE(attempt.received.ok());
      CHECK(attempt.target->guests().empty());  // nobody has killed the one at the source
      attempt.source->kill();
    }
    ::usleep(200000);
    CHECK(attempt.copies() <= 1);
    if (attempt.copies() == 1) attempt.finishes_on(*attempt.target);
  }
}

TEST_CASE("what was taken out of the guest to be read is back after a failure") {
  for (const char* name : {"ptys"})
    for (Fault where : {Fault::captured, Fault::image_sending}) {
      INFO(name);
      Attempt attempt({victim(name)});
      attempt.source->arm(where, Act::error);
      attempt.move();
      CHECK_FALSE(attempt.outcome.moved);
      attempt.finishes_on(*attempt.source);
    }
}

TEST_CASE("a guest that ends while it is being stopped has ended") {
  for (useconds_t wait = 0; wait < 160'000; wait += 3'000) {
    INFO(wait << " us");
    Attempt a({victim("memory"), "128"});
    const auto port = a.target->listen();
    REQUIRE(port.ok());
    a.source->write_input("go\n");
    ::usleep(wait);
    if (a.source->guests().empty()) break;
    a.outcome = a.source->send(*port, *a.target);
    INFO(a.outcome.text);
    if (a.outcome.text == "exit 0") break;  // from here on it ends before
    a.received = a.target->received();
    CHECK(a.outcome.moved == a.received.ok());
    const auto status = (a.outcome.moved ? a.target : a.source)->wait_exit(15000);
    REQUIRE(status);
    CHECK(*status == 0);
    CHECK(a.collector.wait_for("ok\n"));
  }
}
