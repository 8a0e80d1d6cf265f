// A link that breaks while pages are owed is made again (migrate/relink.h).
#include "rig.h"

#include "migrate/page_link.h"
#include "migrate/relink.h"

#include <unistd.h>

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

#include <set>

using namespace hob;
using namespace hob::test;
using migrate::Fault;
using migrate::Strategy;
using migrate::fault::Act;

namespace {

struct Move {
  Collector collector;
  std::unique_ptr<Host> source = std::make_unique<Host>(collector.write_end());
  std::unique_ptr<Host> target = std::make_unique<Host>(collector.write_end());
  explicit Move(const std::vector<std::string>& program) {
    Home::get().reset();
    REQUIRE(source->start(program).ok());
    REQUIRE(collector.wait_for("ready"));
  }
  void begin(Strategy strategy) {
    const auto port = target->listen();
    REQUIRE(port.ok());
    source->begin_send(*port, *target, {strategy, false, false});
    REQUIRE(target->received().ok());
  }
  void ends_well() {
    target->write_input("go\n");
    CHECK(target->wait_exit(30000) == 0);
    INFO(collector.text());
    CHECK(collector.wait_for("ok\n"));
  }
};

}  // namespace

TEST_CASE("a link that breaks in the midst of the pages is made again") {
  enum { at_source = 1, at_target = 2 };
  for (const char* program : {"memory", "postcopy", "objects"})
    for (const int where : {at_source + 0, at_target + 0, at_source | at_target}) {
      INFO(program << ", broken at " << where);
      Move move({victim(program)});
      if (where & at_source) move.source->arm(Fault::cut, Act::error);
      if (where & at_target) move.target->arm(Fault::cut, Act::error);
      move.begin(Strategy::swap_out);
      const auto outcome = move.source->end_send();
      INFO(outcome.text);
      CHECK(outcome.moved);
      move.ends_well();
    }
}

TEST_CASE("pages that are there already do not travel again") {
  Move move({victim("memory"), "64"});
  move.source->arm(Fault::cut, Act::error);
  move.begin(Strategy::swap_out);
  const auto outcome = move.source->end_send();
  INFO(outcome.text);
  REQUIRE(outcome.moved);
  // One record at most was on its way.
  constexpr uint64_t kAll = (64u << 20) / 4096, kRecord = 64, kOfTheProgram = 512;
  CHECK(outcome.pages <= kAll + kRecord + kOfTheProgram);
  move.ends_well();
}

TEST_CASE("under demand, too") {
  Move move({victim("memory"), "32"});
  move.source->arm(Fault::cut, Act::error);
  move.begin(Strategy::demand);
  move.source->freeze();  // its owner is back: what is left is pushed
  const auto outcome = move.source->end_send();
  INFO(outcome.text);
  CHECK(outcome.moved);
  move.ends_well();
}

TEST_CASE("a source that has died is not waited for") {
  for (const Strategy strategy : {Strategy::swap_out, Strategy::demand}) {
    Move move({victim("memory"), "64"});
    if (strategy == Strategy::swap_out) move.source->arm(Fault::push, Act::stall);
    move.begin(strategy);
    move.source->kill();
    // Without its pages the guest must not go on.
    for (int i = 0; i < 500 && !move.target->guests().empty(); i++) ::usleep(10000);
    CHECK(move.target->guests().empty());
  }
}

TEST_CASE("a guest that ends while its pages travel has not lost them") {
  for (const Strategy strategy : {Strategy::swap_out, Strategy::demand}) {
    Move move({victim("memory"), "512"});
    move.begin(strategy);
    if (strategy == Strategy::demand) move.source->freeze();
    move.target.reset();  // as when the guest has ended there
    const auto outcome = move.source->end_send();
    INFO(outcome.text);
    CHECK(outcome.moved);
    CHECK(outcome.text.find("lost") == std::string::npos);
  }
}

TEST_CASE("a target that has died is not waited for") {
  Move move({victim("memory"), "64"});
  move.target->arm(Fault::pull, Act::stall);
  move.begin(Strategy::swap_out);
  move.target->kill();
  const auto outcome = move.source->end_send();
  CHECK(outcome.text.find("lost") != std::string::npos);
  CHECK(outcome.text.find("make the link again") != std::string::npos);
}

TEST_CASE("each link of a migration has a key of its own") {
  const migrate::LinkKey first = {1, 2, 3};
  std::set<migrate::LinkKey> keys;
  for (uint32_t number = 0; number < 100; number++) keys.insert(migrate::link_key(first, number));
  CHECK(keys.size() == 100);
  CHECK(keys.count(first) == 1);
  CHECK(migrate::link_key({1, 2, 4}, 1) != migrate::link_key(first, 1));
}

TEST_CASE("received pages are a set of ranges") {
  rc::prop("as the model says", [] {
    const auto adds = *rc::gen::container<std::vector<std::pair<uint8_t, uint8_t>>>(
        rc::gen::pair(rc::gen::inRange<uint8_t>(0, 60), rc::gen::inRange<uint8_t>(1, 9)));
    migrate::ReceivedPages received;
    std::set<uint64_t> model;
    for (const auto& [start, size] : adds) {
      received.add(7, {start * migrate::kPage, (start + size) * migrate::kPage});
      for (uint64_t page = start; page < uint64_t{start} + size; page++) model.insert(page);
    }
    std::set<uint64_t> found;
    uint64_t end = 0;
    for (const migrate::Range& r : received.of(7)) {
      RC_ASSERT(r.start > end || end == 0);  // apart, or they would be one
      end = r.end;
      for (uint64_t at = r.start; at < r.end; at += migrate::kPage)
        found.insert(at / migrate::kPage);
    }
    RC_ASSERT(found == model);
    RC_ASSERT(received.of(8).empty());
  });
}
