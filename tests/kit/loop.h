#pragma once

#include "base/event_loop.h"

namespace hob {

/// Runs rounds of `loop` until `done()`, and says whether it came to that within the time after
/// which a test is given up. Rounds are short, so that `done` may look at what the loop does not
/// watch.
template <class Done>
bool run_until(EventLoop& loop, Done done, Duration give_up = seconds(15)) {
  const Time end = Clock::now() + give_up;
  while (!done()) {
    if (Clock::now() > end) return false;
    loop.run_once(milliseconds(2));
  }
  return true;
}

}  // namespace hob
