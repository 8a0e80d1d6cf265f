#include "base/memory_strategy.h"

#include <array>

namespace hob {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"swap-out", "flush", "freeze-copy", "pre-copy",
                                                    "demand"};
static_assert(kNames.size() == static_cast<size_t>(Strategy::last) + 1);

}  // namespace

std::string_view name_of(Strategy strategy) {
  return kNames[static_cast<size_t>(strategy)];
}

std::optional<Strategy> strategy_named(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); i++)
    if (kNames[i] == name) return static_cast<Strategy>(i);
  return std::nullopt;
}

std::vector<std::string> strategy_names() {
  return {kNames.begin(), kNames.end()};
}

std::string strategies_for_people() {
  std::string text;
  for (size_t i = 0; i < kNames.size(); i++) {
    if (i > 0) text += i + 1 < kNames.size() ? ", " : " or ";
    text += kNames[i];
  }
  return text;
}

}  // namespace hob
