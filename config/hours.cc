#include "config/hours.h"

#include <algorithm>
#include <ctime>

namespace hob {
namespace {

/// "07:30" as minutes after midnight; 24:00 is allowed. Nothing if it is no time of day.
std::optional<int> parse_minute(std::string_view text) {
  const auto digit = [&](size_t i) { return text[i] >= '0' && text[i] <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4))
    return std::nullopt;
  const int hour = (text[0] - '0') * 10 + text[1] - '0';
  const int minute = (text[3] - '0') * 10 + text[4] - '0';
  const int total = hour * 60 + minute;
  if (minute > 59 || total > 24 * 60) return std::nullopt;
  return total;
}

std::tm local_time(WallTime when) {
  const std::time_t seconds = WallClock::to_time_t(std::chrono::floor<std::chrono::seconds>(when));
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return local;
}

}  // namespace

Result<Hours> Hours::parse(std::string_view text) {
  const auto wrong = [&] {
    return Error{
        "'" + std::string(text) +
        "' are no hours of the day; write \"HH:MM-HH:MM\", several with commas between, or "
        "\"\" for always"};
  };
  Hours hours;
  hours.text_ = std::string(text);
  if (text.empty()) return hours;
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    std::string_view range = rest.substr(0, comma);
    while (range.starts_with(' ')) range.remove_prefix(1);
    while (range.ends_with(' ')) range.remove_suffix(1);
    const size_t dash = range.find('-');
    if (dash == std::string_view::npos) return wrong();
    const std::optional<int> begin = parse_minute(range.substr(0, dash));
    const std::optional<int> end = parse_minute(range.substr(dash + 1));
    if (!begin || !end || *begin == *end || *begin == 24 * 60) return wrong();
    hours.ranges_.push_back({*begin, *end == 0 ? 24 * 60 : *end});
    if (comma == std::string_view::npos) return hours;
    rest.remove_prefix(comma + 1);
  }
}

bool Hours::contains_minute(int minute) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [minute](const Range& range) {
    return range.begin < range.end ? minute >= range.begin && minute < range.end
                                   : minute >= range.begin || minute < range.end;
  });
}

bool Hours::contains(WallTime when) const {
  if (always()) return true;
  const std::tm local = local_time(when);
  return contains_minute(local.tm_hour * 60 + local.tm_min);
}

/// Minutes from minute-of-day `minute` to the next beginning or end of a range: 1..1440.
int Hours::minutes_to_boundary(int minute) const {
  constexpr int kDay = 24 * 60;
  int least = kDay;
  for (const Range& range : ranges_)
    for (const int boundary : {range.begin, range.end})
      least = std::min(least, (boundary - minute - 1 + 2 * kDay) % kDay + 1);
  return least;
}

std::optional<WallTime> Hours::next_change(WallTime when) const {
  if (always()) return std::nullopt;
  const bool now = contains(when);
  // Two days, and one more for a day on which daylight saving leaves the hour out.
  for (WallTime t = when; t < when + hours(72);) {
    const std::tm local = local_time(t);
    const WallTime minute = std::chrono::floor<minutes>(t);
    WallTime next = minute + minutes(minutes_to_boundary(local.tm_hour * 60 + local.tm_min));
    // Clocks change at whole quarters of an hour: go from quarter to quarter past such a change.
    if (local_time(next).tm_gmtoff != local.tm_gmtoff)
      next = std::chrono::floor<minutes>(t) + minutes(15 - local.tm_min % 15);
    if (contains(next) != now) return next;
    t = next;
  }
  return std::nullopt;
}

}  // namespace hob
