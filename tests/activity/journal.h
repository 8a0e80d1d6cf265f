#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/event_loop.h"
#include "hostd/activity.h"

namespace hob {

/// Writes down what an InputSource says, one line for each call, and runs the loop until it has
/// said it.
class Journal {
 public:
  InputCallbacks callbacks() {
    return {[this](Time when, std::string_view what) {
              future = future || when > Clock::now();
              lines.push_back("input " + std::string(what));
            },
            [this](Time) { lines.push_back("readable"); },
            [this](std::string why) { lines.push_back("unreadable " + why); }};
  }
  /// Turns the loop until `done`; false if it has not come after many seconds, far beyond any
  /// honest run.
  static bool run_until(EventLoop& loop, const std::function<bool()>& done) {
    const Time end = Clock::now() + seconds(15);
    while (!done() && Clock::now() < end) loop.run_once(milliseconds(100));
    return done();
  }
  bool wait_for(EventLoop& loop, size_t count) {
    return run_until(loop, [&] { return lines.size() >= count; });
  }
  /// Takes up everything that is under way.
  static void settle(EventLoop& loop) {
    for (int i = 0; i < 5; ++i) loop.run_once(milliseconds(2));
  }
  std::vector<std::string> take() { return std::exchange(lines, {}); }

  std::vector<std::string> lines;
  bool future = false;  // an input was dated later than now
};

using Lines = std::vector<std::string>;

}  // namespace hob
