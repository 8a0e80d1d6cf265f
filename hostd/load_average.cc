#include "hostd/load_average.h"

#include <algorithm>
#include <cmath>

namespace hob {
namespace {
constexpr std::array<double, 3> kSpans = {60, 300, 900};  // seconds

/// How long the first sample counts for: Sprite's period between samples
/// (mig.h, MIG_LOAD_INTERVAL).
constexpr double kFirst = 5;
}  // namespace

void LoadAverages::sample(unsigned runnable, Time when) {
  const double elapsed = last_ ? std::max(0.0, to_seconds(when - *last_)) : kFirst;
  last_ = last_ ? std::max(*last_, when) : when;
  for (size_t i = 0; i < kSpans.size(); ++i) {
    const double keep = std::exp(-elapsed / kSpans[i]);
    sums_[i] = sums_[i] * keep + runnable * (1 - keep);
    weights_[i] = weights_[i] * keep + (1 - keep);
  }
}

std::optional<std::array<double, 3>> LoadAverages::averages() const {
  if (!last_) return std::nullopt;
  std::array<double, 3> averages{};
  for (size_t i = 0; i < averages.size(); ++i) averages[i] = sums_[i] / weights_[i];
  return averages;
}

LoadGate::LoadGate(LoadMarks open, LoadMarks close, unsigned processors)
    : open_(open), close_(close) {
  CHECK(processors > 0);
  for (size_t i = 0; i < open_.size(); ++i) {
    CHECK(open_[i] < close_[i]);
    open_[i] += processors - 1;
    close_[i] += processors - 1;
  }
}

void LoadGate::update(const std::array<double, 3>& averages) {
  bool all_below = true;
  bool one_above = false;
  for (size_t i = 0; i < averages.size(); ++i) {
    all_below = all_below && averages[i] < open_[i];
    one_above = one_above || averages[i] > close_[i];
  }
  is_open_ = is_open_ ? !one_above : all_below;
}

}  // namespace hob
