// The processor, at once: the owner does not wait for his machine because other programs are busy.
//
// hostd sleeps, wakes at a key, and must run then, not when the scheduler next looks round (4 ms at
// 250 Hz). Nice values decide much of that; while guests run it is FirstOfAll besides
// (migrate/urgency.h).
#pragma once

#include "base/result.h"

namespace hob::hostd {

/// A nice value of -11, as other programs have it that people wait for with their fingers on the
/// keys (sound servers). Threads and processes started afterwards inherit it. Needs CAP_SYS_NICE.
Result<void> prefer_this_thread();

/// The opposite, for a child that is to be like any other process.
Result<void> ordinary_priority();

}  // namespace hob::hostd
