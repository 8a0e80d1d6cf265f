#include "migrate/strategy.h"

#include <array>

namespace hob::migrate {
namespace {

struct Row {
  std::string_view name;
  MemoryPlan plan;
};

// In the order of the enumeration.
constexpr std::array<Row, 5> kRows = {{
    {"swap-out", {false, false, true, Keep::nowhere}},
    {"flush", {true, false, true, Keep::file}},
    {"freeze-copy", {true, false, true, Keep::nowhere}},
    {"pre-copy", {true, true, true, Keep::memory}},
    {"demand", {false, false, false, Keep::nowhere}},
}};
static_assert(kRows.size() == static_cast<size_t>(Strategy::last) + 1);

const Row& row_of(Strategy strategy) {
  return kRows[static_cast<size_t>(strategy)];
}

}  // namespace

std::string_view name_of(Strategy strategy) {
  return row_of(strategy).name;
}

std::optional<Strategy> strategy_named(std::string_view name) {
  for (size_t i = 0; i < kRows.size(); i++)
    if (kRows[i].name == name) return static_cast<Strategy>(i);
  return std::nullopt;
}

std::string strategy_names() {
  std::string names;
  for (size_t i = 0; i < kRows.size(); i++) {
    if (i > 0) names += i + 1 < kRows.size() ? ", " : " or ";
    names += kRows[i].name;
  }
  return names;
}

MemoryPlan plan_of(Strategy strategy) {
  return row_of(strategy).plan;
}

bool another_round(const std::vector<Round>& done, uint64_t dirty) {
  if (done.empty()) return true;
  if (done.size() >= kMaxRounds || dirty == 0) return false;
  const Round& last = done.back();
  // At the rate of the last round that was long enough to have one.
  const double took = std::chrono::duration<double>(last.took).count();
  const double rate = took > 0 ? static_cast<double>(last.bytes) / took : 0;
  const double freeze = std::chrono::duration<double>(kShortFreeze).count();
  if (static_cast<double>(dirty) <= rate * freeze) return false;
  return static_cast<double>(dirty) < 0.8 * static_cast<double>(last.bytes);
}

}  // namespace hob::migrate
