#pragma once

#include <cstdint>
#include <vector>

#include "base/memory_strategy.h"
#include "base/time.h"

/// Memory strategies: when the pages of a guest travel (DESIGN.md section 5, "Memory strategies").
///
/// All five use one engine. They differ in three answers: is memory copied while the guest still
/// runs, must all of it be at the target before the guest lives there, and where the target keeps
/// what the guest has not touched yet. Pure; the engine asks, and does.
namespace hob::migrate {

using hob::name_of;
using hob::Strategy;
using hob::strategy_named;

/// Where pages wait at the target for the guest to touch them.
enum class Keep : uint8_t {
  nowhere,  ///< they go where they belong as they come
  file,     ///< in an unlinked file
  memory,   ///< in memory of the target's starter
};

struct MemoryPlan {
  bool before_commit;  ///< nothing is missing when the guest resumes: the source can be forgotten
  bool rounds;         ///< a part travels before the freeze
  bool pushes;         ///< what was not asked for follows unasked
  Keep keep;
};
MemoryPlan plan_of(Strategy strategy);

/// One round of pre-copy, as it went.
struct Round {
  uint64_t bytes = 0;  ///< sent
  Duration took{0};
};

/// Is another round worth it? Not when what is left would be sent within kShortFreeze, when rounds
/// no longer get smaller (the guest writes as fast as the link carries), or after kMaxRounds (Clark
/// et al., "Live migration of virtual machines", NSDI 2005, section 4: a bound on rounds and on the
/// remaining dirty set). `dirty` is what the guest has written since the last round began.
bool another_round(const std::vector<Round>& done, uint64_t dirty);
/// How long a target waits for the image while rounds arrive on another connection, which has a
/// patience of its own.
inline constexpr Duration kRoundsPatience = hours(24);
inline constexpr size_t kMaxRounds = 8;
inline constexpr Duration kShortFreeze = milliseconds(2);

}  // namespace hob::migrate
