#pragma once

#include <array>
#include <optional>

#include "base/time.h"
#include "config/config.h"

namespace hob {

/// The averages over 1, 5 and 15 minutes of the owner's runnable processes, each a sum of all
/// samples weighted with e^(-age/minutes). Unlike the kernel's they do not start at 0: they are
/// divided by the weights seen so far, so that a daemon that has just started does not take a busy
/// host for an idle one, nor remember its first sample for a quarter of an hour.
class LoadAverages {
 public:
  /// `runnable` processes at `when`; counts for the time since the sample before it.
  void sample(unsigned runnable, Time when);
  /// Before the first sample there are none.
  std::optional<std::array<double, 3>> averages() const;

 private:
  std::array<double, 3> sums_{};
  std::array<double, 3> weights_{};
  std::optional<Time> last_;
};

/// Which load lets guests in: opens when all three averages are below the open marks, closes when
/// one is above its close mark, else stays as it was. Closed at first.
///
/// The figures are Sprite's (migd.c, THRESHOLD_LOW and _HIGH: 0.75, 1.0, 1.5 and 2.5, 2.75, 3.0),
/// which had one processor and noted that the rule "really needs to be generalized to handle a
/// multiprocessor". Here each further processor adds one to every mark: to open there must be a
/// processor that the owner leaves idle, as on Sprite, and how far above the load may go before the
/// gate closes stays the same.
class LoadGate {
 public:
  LoadGate(LoadMarks open, LoadMarks close, unsigned processors);
  void update(const std::array<double, 3>& averages);
  bool open() const { return is_open_; }
  /// The marks as they count, for `processors`.
  const LoadMarks& open_marks() const { return open_; }
  const LoadMarks& close_marks() const { return close_; }

 private:
  LoadMarks open_;
  LoadMarks close_;
  bool is_open_ = false;
};

}  // namespace hob
