#include "pmake/timeline.h"

#include "sample.h"
//
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::pmake;

namespace {

/// What a build could do to a timeline, in any order and also where it makes no sense.
struct Step {
  enum class What { begin, move, lose, end } what;
  uint64_t number;
  std::string host;
  Duration now;
};
void take(Timeline& timeline, const Step& step) {
  switch (step.what) {
    case Step::What::begin:
      timeline.begin(step.number, "t", "c", step.host, "", step.now);
      break;
    case Step::What::move:
      timeline.move(step.number, step.host, "why", step.now);
      break;
    case Step::What::lose:
      timeline.lose(step.number, "gone", step.now);
      break;
    case Step::What::end:
      timeline.end(step.number, step.now);
      break;
  }
}

std::vector<Step> any_steps() {
  std::vector<Step> steps;
  Duration now{0};
  const auto length = *rc::gen::inRange(0, 120);
  for (int i = 0; i < length; ++i) {
    now += Duration(*rc::gen::inRange(0, 3));
    steps.push_back({static_cast<Step::What>(*rc::gen::inRange(0, 4)),
                     *rc::gen::inRange<uint64_t>(0, 12),
                     *rc::gen::element<std::string>("home", "ws2", "ws3", "ws10"), now});
  }
  return steps;
}

/// Every stay of a host in one slot, as (from, to).
std::map<std::pair<std::string, uint32_t>, std::vector<std::pair<Duration, Duration>>> slots_of(
    const Timeline& timeline, Duration wall) {
  std::map<std::pair<std::string, uint32_t>, std::vector<std::pair<Duration, Duration>>> slots;
  for (const RecipeRun& recipe : timeline.recipes())
    for (const Stay& stay : recipe.stays)
      slots[{stay.host, stay.slot}].emplace_back(stay.from, stay.from + stay.length(wall));
  for (auto& [slot, stays] : slots) std::sort(stays.begin(), stays.end());
  return slots;
}

Timeline small_build() {
  Timeline timeline("ws1");
  timeline.begin(1, "src/a.o", "cc -c a.c", "ws2", "", seconds(0));
  timeline.begin(2, "src/b.o", "cc -c b.c", "ws2", "", seconds(1));
  timeline.begin(3, "doc", "doxygen", "ws1", "home_commands", seconds(1));
  timeline.move(1, "ws10", "its owner is back", seconds(2));
  timeline.lose(2, "ws2 does not answer", seconds(3));
  timeline.end(1, seconds(4));
  timeline.end(2, seconds(5));
  timeline.end(3, seconds(6));
  timeline.count_cheap();
  return timeline;
}

}  // namespace

TEST_CASE("stays, slots and kinds of a small build") {
  const Timeline timeline = small_build();
  std::vector<std::string> lines;
  for (const RecipeRun& recipe : timeline.recipes())
    for (const Stay& stay : recipe.stays)
      lines.push_back(std::to_string(recipe.number) + " " + stay.host + "/" +
                      std::to_string(stay.slot) + " " +
                      std::to_string(to_seconds(stay.from)).substr(0, 1) + "-" +
                      std::to_string(to_seconds(*stay.to)).substr(0, 1) + " " +
                      to_string(kind_of(timeline, recipe, stay)) + " " + stay.why);
  CHECK(lines ==
        std::vector<std::string>{"1 ws2/0 0-2 moved ", "1 ws10/0 2-4 moved its owner is back",
                                 "2 ws2/1 1-3 lost ", "2 ws1/1 3-5 rerun ws2 does not answer",
                                 "3 ws1/0 1-6 home "});
  CHECK(timeline.running().empty());
  CHECK(hosts_of(timeline) == std::vector<std::string>{"ws1", "ws2", "ws10"});
}

TEST_CASE("the summary counts what is worth counting") {
  const Summary summary = summarise(small_build(), seconds(6));
  CHECK(summary == Summary{seconds(6), seconds(4 + 2 + 5), 2, 1, 1, 1, 1, 2});
  CHECK(to_string(summary) ==
        "6.0 s, 1.8 times less than its recipes took together; 2 recipes on 2 hosts, 1 at home, 1 "
        "too small to send; 1 moved; 1 lost and run again at home");
  CHECK(to_string(Summary{milliseconds(12300), milliseconds(91020), 160, 12, 0, 3, 0, 7}) ==
        "12.3 s, 7.4 times less than its recipes took together; 160 recipes on 7 hosts, 12 at "
        "home; 3 moved");
  CHECK(to_string(Summary{seconds(2), seconds(2), 0, 1, 0, 0, 0, 0}) == "2.0 s; 1 recipe at home");
  CHECK(to_string(Summary{seconds(2), seconds(1), 1, 0, 0, 0, 0, 1}) ==
        "2.0 s; 1 recipe on 1 host");
  CHECK(to_string(Summary{}) == "0.0 s; nothing to do");
}

TEST_CASE("what a timeline does not know changes nothing") {
  Timeline timeline("ws1");
  timeline.move(7, "ws2", "why", seconds(1));
  timeline.lose(7, "why", seconds(1));
  timeline.end(7, seconds(1));
  CHECK(timeline.recipes().empty());

  timeline.begin(1, "a", "cc", "ws2", "", seconds(1));
  timeline.move(1, "ws2", "it is there already", seconds(2));
  timeline.lose(1, "gone", seconds(3));
  timeline.lose(1, "gone again", seconds(4));
  timeline.end(1, seconds(2));  // earlier than what is known
  timeline.move(1, "ws3", "it has ended", seconds(6));
  REQUIRE(timeline.recipes().size() == 1);
  const RecipeRun& recipe = timeline.recipes()[0];
  REQUIRE(recipe.stays.size() == 2);
  CHECK(recipe.stays[1].host == "ws1");
  CHECK(*recipe.stays[1].to == seconds(3));
  CHECK(recipe.moves() == 0);
}

TEST_CASE("a recipe that has not ended counts until now") {
  Timeline timeline("ws1");
  timeline.begin(1, "a", "cc", "ws2", "", seconds(1));
  CHECK(summarise(timeline, seconds(5)).work == seconds(4));
  CHECK_FALSE(timeline.recipes()[0].ended());
}

TEST_CASE("whatever happens, a timeline is one that could have been") {
  rc::prop("slots hold one recipe, stays are without gaps, times sum up", [] {
    Timeline timeline("home");
    const std::vector<Step> steps = any_steps();
    for (const Step& step : steps) take(timeline, step);
    const Duration wall = steps.empty() ? Duration{0} : steps.back().now;

    Duration work{0};
    uint64_t running = 0;
    for (const RecipeRun& recipe : timeline.recipes()) {
      RC_ASSERT(!recipe.stays.empty());
      for (size_t i = 0; i < recipe.stays.size(); ++i) {
        const Stay& stay = recipe.stays[i];
        if (i > 0) RC_ASSERT(*recipe.stays[i - 1].to == stay.from);
        if (i > 0 && !recipe.stays[i - 1].lost) RC_ASSERT(recipe.stays[i - 1].host != stay.host);
        RC_ASSERT(stay.to.has_value() || i + 1 == recipe.stays.size());
        RC_ASSERT(stay.length(wall) >= Duration{0});
        RC_ASSERT((kind_of(timeline, recipe, stay) == StayKind::lost) == stay.lost);
        if (!stay.lost) work += stay.length(wall);
      }
      running += recipe.ended() ? 0 : 1;
    }
    const Summary summary = summarise(timeline, wall);
    RC_ASSERT(summary.work == work);
    RC_ASSERT(summary.out + summary.home == timeline.recipes().size());

    for (const auto& [slot, stays] : slots_of(timeline, wall))
      for (size_t i = 1; i < stays.size(); ++i) RC_ASSERT(stays[i - 1].second <= stays[i].first);

    uint64_t listed = 0;
    for (const auto& [host, numbers] : timeline.running()) {
      RC_ASSERT(!numbers.empty());
      for (const uint64_t number : numbers)
        RC_ASSERT(timeline.recipe(number).stays.back().host == host);
      listed += numbers.size();
    }
    RC_ASSERT(listed == running);
  });
}

TEST_CASE("a host has no more slots than recipes it ran at once") {
  Timeline timeline("ws1");
  for (uint64_t i = 0; i < 100; ++i) {
    timeline.begin(i, "t", "c", "ws2", "", seconds(i));
    if (i > 0) timeline.end(i - 1, seconds(i));
  }
  for (const RecipeRun& recipe : timeline.recipes()) CHECK(recipe.stays[0].slot <= 1);
}

TEST_CASE("the line of --watch") {
  Timeline timeline("ws1");
  CHECK(watch_line(timeline, 80) == "0 done, 0 running");
  timeline.begin(1, "src/lib/a.o", "cc", "ws10", "", {});
  timeline.begin(2, "b.o", "cc", "ws2", "", {});
  timeline.begin(3, "", "compile -o x", "ws2", "", {});
  timeline.begin(4, "dir/", "make -C dir", "ws1", "", {});
  timeline.begin(5, "e\x1b[1m.o", "cc", "ws3", "", {});
  timeline.end(5, seconds(1));
  CHECK(watch_line(timeline, 80) == "1 done, 4 running  home: dir  ws2: b.o compile  ws10: a.o");
  CHECK(watch_line(timeline, 56) == "1 done, 4 running  home: dir  ws2: b.o +1  ws10: a.o");
  CHECK(watch_line(timeline, 51) == "1 done, 4 running  home: 1  ws2: 2  ws10: 1");
  CHECK(watch_line(timeline, 20) == "1 done, 4 running  >");
  CHECK(watch_line(timeline, 0).empty());
  timeline.begin(6, "e\x1b[1m\xc2\x9b\xff.o", "cc", "ws3", "", {});
  CHECK(watch_line(timeline, 80).find("ws3: e?[1m?\xef\xbf\xbd.o") != std::string::npos);
}

TEST_CASE("the line of --watch keeps to its width and to printing characters") {
  rc::prop("for any names", [](const std::vector<std::string>& names) {
    Timeline timeline("home");
    for (size_t i = 0; i < names.size(); ++i)
      timeline.begin(i, names[i], names[i], i % 3 == 0 ? "home" : names[i], "", {});
    const auto width = *rc::gen::inRange<size_t>(0, 120);
    const std::string line = watch_line(timeline, width);
    size_t characters = 0;
    for (const char c : line) {
      RC_ASSERT(static_cast<unsigned char>(c) >= 0x20);
      RC_ASSERT(c != '\x7f');
      characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
    }
    RC_ASSERT(characters <= width);
  });
}
