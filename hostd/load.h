#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hob {

/// Counts the owner's own active processes: those that run or wait for a processor at this moment
/// (threads, strictly, as the kernel's load average does). Guests and this process do not count.
class LoadMeter {
 public:
  struct Options {
    /// The cgroup directory (v1 or v2) whose processes are the owner's, with those below it. Empty:
    /// all of the machine.
    std::string owners;
    /// Cgroup directories of guests and starters, with all below them; missing ones are empty.
    std::vector<std::string> not_the_owners;
    std::string proc = "/proc";
  };
  explicit LoadMeter(Options options) : options_(std::move(options)) {}

  /// For the whole machine this reads /proc/loadavg, where the kernel keeps the count, and looks at
  /// processes only if it is not 0 and there are guests to take away from it. A sample, not a
  /// snapshot: processes come and go while it is taken.
  Result<unsigned> sample() const;

 private:
  Options options_;
};

/// The number of running tasks in the text of /proc/loadavg ("0.00 0.01 0.05 2/86 5951" -> 2).
Result<unsigned> parse_running(std::string_view loadavg);

/// Does this machine live on its battery at present? Reads the directory /sys/class/power_supply;
/// machines without batteries do not. Devices' own batteries (scope "Device": a mouse's) do not
/// count.
Result<bool> on_battery(const std::string& power_supplies = "/sys/class/power_supply");

}  // namespace hob
