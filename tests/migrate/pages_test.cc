// Where pages wait, and how they are told: ranges, the store, the stream's records, packing, and
// the choice of rounds.
#include "migrate/page_stream.h"

#include "migrate/packing.h"
#include "migrate/page_store.h"
#include "migrate/ranges.h"
#include "migrate/strategy.h"

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

#include <cstring>
#include <map>
#include <set>

using namespace hob;
using namespace hob::migrate;

namespace {

using Pages = std::set<uint64_t>;

Pages pages_of(const Ranges& ranges) {
  Pages pages;
  for (const Range& r : ranges)
    for (uint64_t at = r.start; at < r.end; at += kPage) pages.insert(at);
  return pages;
}

rc::Gen<Ranges> some_ranges() {
  return rc::gen::map(rc::gen::container<std::vector<std::pair<uint8_t, uint8_t>>>(rc::gen::pair(
                          rc::gen::inRange<uint8_t>(1, 60), rc::gen::inRange<uint8_t>(0, 9))),
                      [](const std::vector<std::pair<uint8_t, uint8_t>>& pairs) {
                        Ranges ranges;
                        for (auto [start, size] : pairs)
                          ranges.push_back({start * kPage, (start + size) * kPage});
                        return joined(std::move(ranges));
                      });
}

bool ascending_and_apart(const Ranges& ranges) {
  for (size_t i = 0; i < ranges.size(); i++)
    if (ranges[i].empty() || (i > 0 && ranges[i - 1].end > ranges[i].start)) return false;
  return true;
}

Bytes filled(size_t pages, uint8_t with) {
  return Bytes(pages * kPage, std::byte{with});
}

Bytes record_of(stream::Kind kind, uint32_t process, uint64_t address, const Bytes& rest) {
  const stream::Head head{kind, process, address};
  Bytes bytes(sizeof head + rest.size());
  std::memcpy(bytes.data(), &head, sizeof head);
  std::copy(rest.begin(), rest.end(), bytes.begin() + sizeof head);
  return bytes;
}

}  // namespace

TEST_CASE("sets of ranges are sets of pages") {
  rc::prop("as the model says", [] {
    const Ranges a = *some_ranges(), b = *some_ranges();
    const Pages pa = pages_of(a), pb = pages_of(b);
    Pages both, either = pa, only;
    either.insert(pb.begin(), pb.end());
    for (uint64_t p : pa) (pb.count(p) ? both : only).insert(p);
    for (const Ranges& r : {united(a, b), common(a, b), without(a, b)})
      RC_ASSERT(ascending_and_apart(r));
    RC_ASSERT(pages_of(united(a, b)) == either);
    RC_ASSERT(pages_of(common(a, b)) == both);
    RC_ASSERT(pages_of(without(a, b)) == only);
    RC_ASSERT(total_size(a) == pa.size() * kPage);
  });
}

TEST_CASE("a store gives back what was put last") {
  rc::prop("as the model says", [] {
    PageStore store = PageStore::in_memory().value();
    std::map<uint64_t, uint8_t> model;
    const auto steps =
        *rc::gen::container<std::vector<std::tuple<uint8_t, uint8_t, uint8_t, bool>>>(
            rc::gen::tuple(rc::gen::inRange<uint8_t>(1, 40), rc::gen::inRange<uint8_t>(1, 9),
                           rc::gen::inRange<uint8_t>(1, 250), rc::gen::arbitrary<bool>()));
    for (const auto& [start, count, value, clear] : steps) {
      if (clear) {
        const Range range{start * kPage, (start + count) * kPage};
        Bytes rest(sizeof range);
        std::memcpy(rest.data(), &range, sizeof range);
        const Bytes bytes = record_of(stream::Kind::cleared, 7, 0, rest);
        RC_ASSERT(store.take(stream::decode_record(bytes, {}).value()).ok());
        for (uint64_t p = start; p < uint64_t{start} + count; p++) model.erase(p * kPage);
      } else {
        RC_ASSERT(store.put(7, start * kPage, filled(count, value)).ok());
        for (uint64_t p = start; p < uint64_t{start} + count; p++) model[p * kPage] = value;
      }
    }
    Bytes all(60 * kPage);
    if (!steps.empty()) RC_ASSERT(store.read(7, 0, all).ok());
    for (uint64_t page = 0; page < 60 && !steps.empty(); page++) {
      const auto known = model.find(page * kPage);
      const std::byte expected{known == model.end() ? uint8_t{0} : known->second};
      RC_ASSERT(all[page * kPage] == expected);
      RC_ASSERT(all[page * kPage + kPage - 1] == expected);
    }
    // What it would write into a checkpoint is the same pages.
    PageStore again(store.file().duplicate().value());
    for (const PageStore::Extent& e : store.extents()) RC_ASSERT(again.add(e).ok());
    Bytes copy(all.size());
    if (!model.empty()) {
      RC_ASSERT(again.read(7, 0, copy).ok());
      RC_ASSERT(copy == all);
    }
  });
}

TEST_CASE("what was sent and then given back reads as zeros from a store") {
  PageStore store = PageStore::in_memory().value();
  REQUIRE(store.put(7, 4 * kPage, filled(3, 9)).ok());
  const Range populated{4 * kPage, 5 * kPage};
  Bytes rest(sizeof populated);
  std::memcpy(rest.data(), &populated, sizeof populated);
  const auto take = [&](stream::Kind kind, const Bytes& bytes) {
    return store.take(stream::decode_record(record_of(kind, 7, 0, bytes), {}).value()).value();
  };
  CHECK_FALSE(take(stream::Kind::populated, rest));
  CHECK(take(stream::Kind::end, {}));
  Bytes page(kPage);
  REQUIRE(store.read(7, 4 * kPage, page).ok());
  CHECK(page == filled(1, 9));
  REQUIRE(store.read(7, 5 * kPage, page).ok());
  CHECK(page == filled(1, 0));
}

TEST_CASE("a store refuses two pages at one address") {
  PageStore store = PageStore::in_memory().value();
  CHECK(store.add({7, 4 * kPage, 2 * kPage, 0}).ok());
  CHECK_FALSE(store.add({7, 5 * kPage, kPage, 4 * kPage}).ok());
  CHECK(store.add({8, 5 * kPage, kPage, 4 * kPage}).ok());
}

TEST_CASE("packed pages come back as they were") {
  Bytes pages = filled(8, 3);
  for (size_t i = 0; i < pages.size(); i += 7) pages[i] = static_cast<std::byte>(i);
  Bytes packed(stream::kBatchBytes), scratch(stream::kBatchBytes);
  const size_t size = stream::pack(pages, packed);
  REQUIRE(size > 0);
  packed.resize(size);
  const Bytes bytes = record_of(stream::Kind::packed, 7, 16 * kPage, packed);
  const auto record = stream::decode_record(bytes, scratch);
  REQUIRE(record.ok());
  CHECK(record->kind == stream::Kind::pages);
  CHECK(record->address == 16 * kPage);
  CHECK(std::equal(record->pages.begin(), record->pages.end(), pages.begin(), pages.end()));
}

TEST_CASE("pages without pattern are not packed") {
  Bytes pages(4 * kPage);
  uint64_t x = 88172645463325252ull;
  for (auto& b : pages) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    b = static_cast<std::byte>(x);
  }
  Bytes packed(stream::kBatchBytes);
  CHECK(stream::pack(pages, packed) == 0);
}

TEST_CASE("impossible records of the page stream are Errors") {
  Bytes scratch(stream::kBatchBytes);
  const auto refused = [&](stream::Kind kind, uint32_t process, uint64_t address,
                           const Bytes& rest) {
    return !stream::decode_record(record_of(kind, process, address, rest), scratch).ok();
  };
  using stream::Kind;
  CHECK(refused(Kind::pages, 7, 5, filled(1, 1)));         // not a page
  CHECK(refused(Kind::pages, 7, 4096, Bytes(100)));        // not whole
  CHECK(refused(Kind::pages, 7, 4096, {}));                // none
  CHECK(refused(Kind::pages, 7, kUserEnd, filled(1, 1)));  // outside
  CHECK(refused(Kind::pages, 0, 4096, filled(1, 1)));      // nobody
  CHECK(refused(Kind::pages, stream::kObjects, 4096, filled(1, 1)));
  CHECK(refused(Kind::pages, 7, stream::kFirstObject, filled(1, 1)));
  CHECK(refused(Kind::packed, 7, 4096, filled(1, 255)));
  CHECK(refused(Kind::populated, 7, 0, Bytes(17)));
  CHECK(refused(Kind::end, 7, 0, Bytes(1)));
  CHECK(refused(static_cast<Kind>(77), 7, 0, {}));
  CHECK_FALSE(refused(Kind::pages, stream::kObjects, stream::kFirstObject, filled(1, 1)));
  CHECK_FALSE(stream::decode_record(Bytes(3), scratch).ok());
  // A block that unpacks to more than a batch.
  const Bytes large = filled(128, 1);
  Bytes packed(stream::kBatchBytes);
  packed.resize(stream::pack(large, packed));
  CHECK(refused(Kind::packed, 7, 4096, packed));
}

TEST_CASE("pages are packed where the link is slow and it helps, and only there") {
  const auto run = [](double plain, double packed, size_t batches) {
    Packing packing;
    size_t with = 0;
    for (size_t i = 0; i < batches; i++) {
      const double rate = packing.pack_next() ? packed : plain;
      with += packing.pack_next();
      packing.sent(stream::kBatchBytes,
                   nanoseconds(static_cast<int64_t>(double(stream::kBatchBytes) / rate * 1e9)));
    }
    return double(with) / double(batches);
  };
  CHECK(run(2e9, 4e8, 4000) == 0);
  CHECK(run(1.1e8, 3e8, 4000) > 0.8);
  CHECK(run(1.1e8, 1.0e8, 4000) < 0.2);
}

TEST_CASE("rounds of pre-copy end") {
  const Round big{1u << 30, seconds(1)};
  CHECK(another_round({}, 1u << 30));
  CHECK(another_round({big}, 100u << 20));
  CHECK_FALSE(another_round({big}, 1u << 20));     // sent within the freeze
  CHECK_FALSE(another_round({big}, 1000u << 20));  // no smaller than before
  CHECK_FALSE(another_round({big}, 0));
  CHECK_FALSE(another_round(std::vector<Round>(kMaxRounds, big), 100u << 20));
}

TEST_CASE("strategies have the names of the documents, and no others") {
  for (uint8_t i = 0; i <= static_cast<uint8_t>(Strategy::last); i++) {
    const auto strategy = static_cast<Strategy>(i);
    CHECK(strategy_named(name_of(strategy)) == strategy);
    CHECK(strategies_for_people().find(name_of(strategy)) != std::string::npos);
  }
  CHECK_FALSE(strategy_named("swap"));
  CHECK_FALSE(strategy_named(""));
  // Only what leaves nothing behind can be a checkpoint, and rounds are of use only there.
  for (uint8_t i = 0; i <= static_cast<uint8_t>(Strategy::last); i++) {
    const MemoryPlan plan = plan_of(static_cast<Strategy>(i));
    CHECK((!plan.rounds || plan.before_commit));
    CHECK((plan.pushes || !plan.before_commit));
  }
}
