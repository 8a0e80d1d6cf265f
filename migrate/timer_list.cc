#include "migrate/timer_list.h"

#include <cstdio>
#include <string>

#include "base/fd.h"

namespace hob::migrate {

std::vector<WakeUp> parse_timer_list(std::string_view text) {
  std::vector<WakeUp> found;
  int64_t offset = 0;  // of the clock in whose list we are, to CLOCK_MONOTONIC
  bool sleeper = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find("Tick Device") != line.npos) break;
    WakeUp wake;
    long value = 0;
    if (std::sscanf(line.c_str(), " .offset: %ld", &value) == 1) {
      offset = value;
    } else if (std::sscanf(line.c_str(), " # expires at %ld-%ld", &wake.soft, &wake.hard) == 2) {
      wake.soft -= offset;
      wake.hard -= offset;
      if (sleeper) found.push_back(wake);
    } else if (line.starts_with(" #")) {
      sleeper = line.find(", hrtimer_wakeup,") != line.npos;
    }
  }
  return found;
}

Result<std::vector<WakeUp>> sleepers() {
  return parse_timer_list(TRY(read_file("/proc/timer_list")));
}

}  // namespace hob::migrate
