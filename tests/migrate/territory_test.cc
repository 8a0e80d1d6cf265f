#include "migrate/territory.h"

#include <map>
#include <random>

#include <catch2/catch.hpp>

using namespace hob::migrate;

TEST_CASE("a territory agrees with a page by page model, whatever happens to it") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; round++) {
    Territory territory;
    std::map<uint64_t, uint64_t> model;  // target page to source page
    constexpr uint64_t kPages = 64;
    for (uint64_t start = 0; start + 8 <= kPages; start += 8 + random() % 4) {
      territory.add({start * kPage, (start + 8) * kPage}, start * kPage);
      for (uint64_t i = start; i < start + 8; i++) model[i] = i;
    }
    for (int step = 0; step < 20; step++) {
      const uint64_t a = random() % kPages, n = 1 + random() % 12;
      if (random() % 2) {
        territory.remove({a * kPage, (a + n) * kPage});
        for (uint64_t i = a; i < a + n; i++) model.erase(i);
      } else {
        const uint64_t to = 100 + random() % 64;  // mremap never moves onto itself
        territory.move(a * kPage, to * kPage, n * kPage);
        std::map<uint64_t, uint64_t> moved;
        for (uint64_t i = 0; i < n; i++)
          if (model.count(a + i)) moved[to + i] = model[a + i];
        for (uint64_t i = 0; i < n; i++) model.erase(a + i), model.erase(to + i);
        model.insert(moved.begin(), moved.end());
      }
      for (uint64_t page = 0; page < 200; page++) {
        auto source = territory.source_of(page * kPage + 5);
        REQUIRE(source.has_value() == (model.count(page) > 0));
        if (source) REQUIRE(*source == model[page] * kPage + 5);
      }
      const uint64_t first = random() % kPages, last = first + 1 + random() % 20;
      std::map<uint64_t, uint64_t> seen, wanted;
      territory.each_target_of({first * kPage, last * kPage}, [&](Range target, uint64_t source) {
        for (uint64_t at = target.start; at < target.end; at += kPage)
          seen[at / kPage] = (source + (at - target.start)) / kPage;
      });
      for (auto [target, source] : model)
        if (source >= first && source < last) wanted[target] = source;
      REQUIRE(seen == wanted);
    }
  }
}
