#include "pmake/timeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace hob::pmake {
namespace {

std::string count(uint64_t number, const char* word) {
  return fmt::format("{} {}{}", number, word, number == 1 ? "" : "s");
}

}  // namespace

bool RecipeRun::lost() const {
  return std::any_of(stays.begin(), stays.end(), [](const Stay& stay) { return stay.lost; });
}

uint64_t RecipeRun::moves() const {
  return stays.size() - 1 - (lost() ? 1 : 0);
}

void Timeline::begin(uint64_t number, const std::string& target, const std::string& command,
                     const std::string& host, const std::string& why_home, Duration now) {
  end(number, now);
  open_[number] = recipes_.size();
  recipes_.push_back({number, target, command, why_home, {}});
  arrive(recipes_.back(), host, "", now);
}

void Timeline::move(uint64_t number, const std::string& host, const std::string& reason,
                    Duration now) {
  RecipeRun* recipe = open(number);
  if (recipe == nullptr || recipe->stays.back().host == host) return;
  arrive(*recipe, host, reason, leave(*recipe, now));
}

void Timeline::lose(uint64_t number, const std::string& reason, Duration now) {
  RecipeRun* recipe = open(number);
  if (recipe == nullptr || recipe->lost()) return;  // once only: a rerun at home is not lost
  const Duration left = leave(*recipe, now);
  recipe->stays.back().lost = true;
  arrive(*recipe, home_, reason, left);
}

void Timeline::end(uint64_t number, Duration now) {
  RecipeRun* recipe = open(number);
  if (recipe == nullptr) return;
  leave(*recipe, now);
  open_.erase(number);
}

RecipeRun* Timeline::open(uint64_t number) {
  const auto found = open_.find(number);
  return found == open_.end() ? nullptr : &recipes_[found->second];
}

uint32_t Timeline::free_slot(const std::string& host) const {
  std::set<uint32_t> taken;
  if (const auto here = running_.find(host); here != running_.end())
    for (const uint64_t number : here->second) taken.insert(recipe(number).stays.back().slot);
  uint32_t slot = 0;
  for (const uint32_t one : taken) {
    if (one != slot) break;
    ++slot;
  }
  return slot;
}

void Timeline::arrive(RecipeRun& recipe, const std::string& host, const std::string& why,
                      Duration now) {
  Stay stay;
  stay.host = host;
  stay.slot = free_slot(host);
  stay.from = now;
  stay.why = why;
  recipe.stays.push_back(std::move(stay));
  running_[host].push_back(recipe.number);
}

Duration Timeline::leave(RecipeRun& recipe, Duration now) {
  Stay& stay = recipe.stays.back();
  stay.to = std::max(now, stay.from);
  const auto here = running_.find(stay.host);
  std::erase(here->second, recipe.number);
  if (here->second.empty()) running_.erase(here);
  return *stay.to;
}

std::vector<std::string> home_first(const std::string& home, std::set<std::string> names) {
  names.erase(home);
  std::vector<std::string> hosts(names.begin(), names.end());
  std::sort(hosts.begin(), hosts.end(), [](const std::string& a, const std::string& b) {
    return ::strverscmp(a.c_str(), b.c_str()) < 0;
  });
  hosts.insert(hosts.begin(), home);
  return hosts;
}

std::vector<std::string> hosts_of(const Timeline& timeline) {
  std::set<std::string> names;
  for (const RecipeRun& recipe : timeline.recipes())
    for (const Stay& stay : recipe.stays) names.insert(stay.host);
  return home_first(timeline.home(), std::move(names));
}

StayKind kind_of(const Timeline& timeline, const RecipeRun& recipe, const Stay& stay) {
  if (stay.lost) return StayKind::lost;
  for (const Stay& before : recipe.stays) {
    if (&before == &stay) break;
    if (before.lost) return StayKind::rerun;
  }
  if (recipe.stays.size() > 1) return StayKind::moved;
  return stay.host == timeline.home() ? StayKind::home : StayKind::out;
}

const char* to_string(StayKind kind) {
  switch (kind) {
    case StayKind::out:
      return "out";
    case StayKind::moved:
      return "moved";
    case StayKind::home:
      return "home";
    case StayKind::lost:
      return "lost";
    case StayKind::rerun:
      return "rerun";
  }
  return "?";
}

Summary summarise(const Timeline& timeline, Duration wall) {
  Summary summary;
  summary.wall = wall;
  summary.cheap = timeline.cheap();
  std::set<std::string> hosts;
  for (const RecipeRun& recipe : timeline.recipes()) {
    bool out = false;
    for (const Stay& stay : recipe.stays) {
      if (!stay.lost) summary.work += stay.length(wall);
      if (stay.host == timeline.home()) continue;
      out = true;
      hosts.insert(stay.host);
    }
    ++(out ? summary.out : summary.home);
    summary.moves += recipe.moves();
    summary.lost += recipe.lost() ? 1 : 0;
  }
  summary.hosts = hosts.size();
  return summary;
}

std::string to_string(const Summary& summary) {
  std::string line = fmt::format("{:.1f} s", to_seconds(summary.wall));
  if (summary.wall > Duration{0}) {
    const double faster = to_seconds(summary.work) / to_seconds(summary.wall);
    // Below that, make's own work hides what running together gained.
    if (faster >= 1.05)
      line += fmt::format(", {:.1f} times less than its recipes took together", faster);
  }
  std::string where;
  const auto add = [&where](const std::string& part) {
    where += (where.empty() ? "" : ", ") + part;
  };
  if (summary.out > 0)
    add(fmt::format("{} on {}", count(summary.out, "recipe"), count(summary.hosts, "host")));
  if (summary.home > 0)
    add(summary.out > 0 ? fmt::format("{} at home", summary.home)
                        : fmt::format("{} at home", count(summary.home, "recipe")));
  if (summary.cheap > 0) add(fmt::format("{} too small to send", summary.cheap));
  line += where.empty() ? "; nothing to do" : "; " + where;
  if (summary.moves > 0) line += fmt::format("; {} moved", summary.moves);
  if (summary.lost > 0) line += fmt::format("; {} lost and run again at home", summary.lost);
  return line;
}

}  // namespace hob::pmake
