#include "migrate/ranges.h"

#include <algorithm>

namespace hob::migrate {

Ranges joined(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end());
  Ranges out;
  for (const Range& r : ranges) {
    if (r.empty()) continue;
    if (!out.empty() && r.start <= out.back().end)
      out.back().end = std::max(out.back().end, r.end);
    else
      out.push_back(r);
  }
  return out;
}

Ranges united(const Ranges& a, const Ranges& b) {
  Ranges both = a;
  both.insert(both.end(), b.begin(), b.end());
  return joined(std::move(both));
}

Ranges common(const Ranges& a, const Ranges& b) {
  Ranges out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const Range both{std::max(a[i].start, b[j].start), std::min(a[i].end, b[j].end)};
    if (!both.empty()) out.push_back(both);
    a[i].end < b[j].end ? i++ : j++;
  }
  return out;
}

Ranges without(const Ranges& a, const Ranges& b) {
  Ranges out;
  size_t j = 0;
  for (Range left : a) {
    while (j < b.size() && b[j].end <= left.start) j++;
    for (size_t k = j; k < b.size() && b[k].start < left.end; k++) {
      if (left.start < b[k].start) out.push_back({left.start, b[k].start});
      left.start = std::max(left.start, b[k].end);
    }
    if (!left.empty()) out.push_back(left);
  }
  return out;
}

uint64_t total_size(const Ranges& ranges) {
  uint64_t sum = 0;
  for (const Range& r : ranges) sum += r.size();
  return sum;
}

}  // namespace hob::migrate
