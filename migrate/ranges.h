#pragma once

#include <vector>

#include "migrate/types.h"

/// Sets of addresses as ascending, disjoint ranges. Pure.
namespace hob::migrate {

using Ranges = std::vector<Range>;

/// Sorts, and joins what touches or overlaps.
Ranges joined(Ranges ranges);
Ranges united(const Ranges& a, const Ranges& b);
Ranges common(const Ranges& a, const Ranges& b);
/// What is in `a` and not in `b`.
Ranges without(const Ranges& a, const Ranges& b);
uint64_t total_size(const Ranges& ranges);

}  // namespace hob::migrate
