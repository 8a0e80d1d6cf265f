#pragma once

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/time.h"

namespace hob::bench {

/// Durations of one thing measured many times.
class Samples {
 public:
  void add(Duration sample) { samples_.push_back(sample); }
  size_t count() const { return samples_.size(); }

  /// The nearest-rank percentile in milliseconds, `percent` in (0, 100]. There must be samples.
  double percentile_ms(double percent) {
    CHECK(!samples_.empty());
    std::sort(samples_.begin(), samples_.end());
    const double rank = percent / 100.0 * static_cast<double>(samples_.size());
    const auto index = static_cast<size_t>(std::max(0.0, rank - 1e-9));
    return to_milliseconds(samples_[std::min(index, samples_.size() - 1)]);
  }
  double median_ms() { return percentile_ms(50); }

 private:
  std::vector<Duration> samples_;
};

}  // namespace hob::bench
