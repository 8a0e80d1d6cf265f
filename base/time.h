#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace hob {

using Duration = std::chrono::nanoseconds;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// Time that only goes forward (CLOCK_MONOTONIC): what every decision of hob is made with. The pure
/// parts take it as an argument, so that tests say what time it is.
using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

/// Wall time (CLOCK_REALTIME): for people, ledgers and the owner's hours; never for a decision
/// about what comes first.
using WallClock = std::chrono::system_clock;
using WallTime = WallClock::time_point;

/// Now, in nanoseconds since 1970: how messages and ledgers carry wall time.
inline uint64_t wall_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<nanoseconds>(WallClock::now().time_since_epoch()).count());
}

/// RFC 3339 in UTC with milliseconds: "2026-03-01T12:00:00.250Z". `wall_ns`: CLOCK_REALTIME.
std::string rfc3339(uint64_t wall_ns);

inline double to_milliseconds(Duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}
inline double to_seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace hob
