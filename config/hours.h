#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace hob {

/// Hours of the day, in local time: "20:00-07:00" (over midnight), or several with commas
/// ("12:00-13:00,20:00-07:00"). Empty means always.
class Hours {
 public:
  Hours() = default;
  static Result<Hours> parse(std::string_view text);

  bool always() const { return ranges_.empty(); }
  bool contains(WallTime when) const;
  /// The first moment after `when` at which contains() gives another answer; none if it never does.
  /// Right over changes to and from daylight saving too.
  std::optional<WallTime> next_change(WallTime when) const;
  /// As it was written.
  const std::string& text() const { return text_; }
  bool operator==(const Hours&) const = default;

 private:
  struct Range {
    int begin;  // minutes after midnight, 0..1439
    int end;    // 1..1440, exclusive; below begin when the range goes over midnight
    bool operator==(const Range&) const = default;
  };
  bool contains_minute(int minute) const;
  int minutes_to_boundary(int minute) const;

  std::vector<Range> ranges_;
  std::string text_;
};

}  // namespace hob
