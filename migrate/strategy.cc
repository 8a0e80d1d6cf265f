#include "migrate/strategy.h"

#include <array>

namespace hob::migrate {
namespace {

// In the order of the enumeration.
constexpr std::array<MemoryPlan, 5> kPlans = {{
    {.before_commit = false, .rounds = false, .pushes = true, .keep = Keep::nowhere},  // swap-out
    {.before_commit = true, .rounds = false, .pushes = true, .keep = Keep::file},      // flush
    {.before_commit = true, .rounds = false, .pushes = true, .keep = Keep::nowhere},  // freeze-copy
    {.before_commit = true, .rounds = true, .pushes = true, .keep = Keep::memory},    // pre-copy
    {.before_commit = false, .rounds = false, .pushes = false, .keep = Keep::nowhere},  // demand
}};
static_assert(kPlans.size() == static_cast<size_t>(Strategy::last) + 1);

}  // namespace

MemoryPlan plan_of(Strategy strategy) {
  return kPlans[static_cast<size_t>(strategy)];
}

bool another_round(const std::vector<Round>& done, uint64_t dirty) {
  if (done.empty()) return true;
  if (done.size() >= kMaxRounds || dirty == 0) return false;
  const Round& last = done.back();
  // At the rate of the last round that was long enough to have one.
  const double took = to_seconds(last.took);
  const double rate = took > 0 ? static_cast<double>(last.bytes) / took : 0;
  if (static_cast<double>(dirty) <= rate * to_seconds(kShortFreeze)) return false;
  return static_cast<double>(dirty) < 0.8 * static_cast<double>(last.bytes);
}

}  // namespace hob::migrate
