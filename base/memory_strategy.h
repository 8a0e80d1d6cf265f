#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// When the memory of a job travels, as users name it: on the command line, in the configuration,
/// in messages. What each means for the engine stands in migrate/strategy.h, for users in
/// docs/MEMORY.md.
namespace hob {

enum class Strategy : uint8_t {
  swap_out = 0,  ///< resume at once, push everything behind it
  flush,         ///< everything into a file at the target, resume, read the file behind it
  freeze_copy,   ///< everything in place, resume
  pre_copy,      ///< copy in rounds while the guest runs, freeze for the rest, resume
  demand,        ///< resume at once; a page travels when it is touched
  last = demand
};

/// "swap-out"
std::string_view name_of(Strategy strategy);
std::optional<Strategy> strategy_named(std::string_view name);
/// All of them, in the order of the enumeration.
std::vector<std::string> strategy_names();
/// "swap-out, flush, freeze-copy, pre-copy or demand"
std::string strategies_for_people();

}  // namespace hob
