#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hob::migrate {

/// A thread that the kernel will wake at a time: one entry of /proc/timer_list.
struct WakeUp {
  int64_t soft = 0;  ///< when it may be woken at the earliest, CLOCK_MONOTONIC of this host in ns
  int64_t hard = 0;  ///< when at the latest; the difference is the thread's timer slack
  bool operator==(const WakeUp&) const = default;
};

/// The timers of the file's text by which threads sleep. Pure; skips what it does not know.
std::vector<WakeUp> parse_timer_list(std::string_view text);
/// Of this machine now, all processors; needs root. Costs 65 us on two processors.
Result<std::vector<WakeUp>> sleepers();

}  // namespace hob::migrate
