#include "hostd/record.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/fd.h"

#include "tests/kit/scratch.h"

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;
using hostd::Record;

namespace {

Record running_on(const std::string& site) {
  pb::ExportRecord state;
  state.set_job("h0.1");
  Record record(state);
  record.place(site, 5);
  return record;
}

}  // namespace

TEST_CASE("a move that commits changes the site, once and for good") {
  Record record = running_on("h1");
  const uint64_t attempt = record.begin("h0");
  REQUIRE(record.moving());
  REQUIRE(record.site() == "h1");
  REQUIRE(record.commit(attempt, "h0", 0));
  REQUIRE_FALSE(record.moving());
  REQUIRE(record.site() == "h0");
  REQUIRE(record.state().lease() == 0);
  REQUIRE(record.commit(attempt, "h0", 0));  // the answer was lost; it asks again
  REQUIRE(record.settle(attempt));           // and so does the source
  REQUIRE(record.site() == "h0");
}

TEST_CASE("asking whether an attempt has committed ends its chance to") {
  Record record = running_on("h1");
  const uint64_t attempt = record.begin("h0");
  REQUIRE_FALSE(record.settle(attempt));
  REQUIRE_FALSE(record.commit(attempt, "h0", 0));
  REQUIRE(record.site() == "h1");
}

TEST_CASE("a source that asks late, after the job has moved on, may not run") {
  Record record = running_on("h1");
  const uint64_t first = record.begin("h0");
  REQUIRE(record.commit(first, "h0", 0));
  const uint64_t second = record.begin("h2");
  REQUIRE(record.settled(first));
  REQUIRE(record.settle(first));
  REQUIRE(record.moving());  // nor does its question decide anything
  REQUIRE_FALSE(record.settled(second));
  REQUIRE(record.commit(second, "h2", 9));
  REQUIRE(record.settle(first));
  REQUIRE(record.settle(second));
}

TEST_CASE("only the host that the attempt leads to may commit it") {
  Record record = running_on("h1");
  const uint64_t attempt = record.begin("h2");
  REQUIRE_FALSE(record.commit(attempt, "h3", 1));
  REQUIRE_FALSE(record.commit(attempt + 1, "h2", 1));
  REQUIRE_FALSE(record.commit(0, "h2", 1));
  REQUIRE(record.commit(attempt, "h2", 1));
}

TEST_CASE("whatever the messages and their order, an attempt's verdict never changes") {
  rc::prop("verdicts are final, and the site is that of the last one that committed", [] {
    Record record = running_on("h1");
    std::string site = "h1";
    std::map<uint64_t, bool> verdicts;
    std::map<uint64_t, std::string> targets;
    const auto steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) {
      const uint64_t attempt = *rc::gen::inRange<uint64_t>(0, record.attempt() + 2);
      const std::string target = *rc::gen::element<std::string>("h0", "h1", "h2");
      const bool open = record.moving() && attempt == record.attempt();
      switch (*rc::gen::inRange(0, 4)) {
        case 0:
          if (!record.moving()) targets[record.begin(target)] = target;
          break;
        case 1: {
          const bool yes = record.commit(attempt, target, 7);
          if (verdicts.contains(attempt)) {
            // Another host's question is refused whatever the verdict.
            RC_ASSERT(yes == (verdicts[attempt] && targets[attempt] == target &&
                              attempt == record.attempt()));
          } else {
            RC_ASSERT(yes == (open && targets[attempt] == target));
            if (yes) verdicts[attempt] = true, site = target;
          }
          break;
        }
        case 2: {
          const bool yes = record.settle(attempt);
          // A source may run only if neither its attempt nor a later one has committed.
          RC_ASSERT(yes == (attempt != 0 &&
                            std::any_of(verdicts.begin(), verdicts.end(),
                                        [&](auto& v) { return v.second && v.first >= attempt; })));
          if (!verdicts.contains(attempt) && targets.contains(attempt)) {
            RC_ASSERT(!yes);
            verdicts[attempt] = false;
          }
          break;
        }
        default:
          record.abandon(attempt);
          if (!verdicts.contains(attempt) && targets.contains(attempt)) verdicts[attempt] = false;
      }
      RC_ASSERT(record.site() == site);
    }
  });
}

TEST_CASE("records survive on file; damaged ones are put aside") {
  Scratch scratch;
  auto store = hostd::RecordStore::open(scratch / "jobs");
  REQUIRE(store.ok());
  Record record = running_on("h1");
  record.begin("h0");
  REQUIRE(store->save(record).ok());
  REQUIRE(replace_file(scratch / "jobs/h0.2", "\xff\xff not a record").ok());

  std::vector<Record> loaded = store->load();
  REQUIRE(loaded.size() == 1);
  REQUIRE(loaded[0].site() == "h1");
  REQUIRE(loaded[0].moving());
  REQUIRE(std::filesystem::exists(scratch / "jobs/h0.2.damaged"));
  store->remove("h0.1");
  REQUIRE(store->load().empty());
}

TEST_CASE("job numbers are never given twice, whatever happens to hostd") {
  Scratch scratch;
  std::set<uint64_t> given;
  for (int run = 0; run < 3; ++run) {
    auto numbers = hostd::JobNumbers::open(scratch / "number");
    REQUIRE(numbers.ok());
    for (int i = 0; i < 1500; ++i) REQUIRE(given.insert(numbers->next()).second);
  }
  REQUIRE(replace_file(scratch / "number", "what?").ok());
  REQUIRE_FALSE(hostd::JobNumbers::open(scratch / "number").ok());
}
