#pragma once

#include <cstdint>

#include "pmake/timeline.h"

namespace hob::pmake {

/// A build that never was, but could have been: `recipes` compiles and a link at the end on `hosts`
/// hosts and home, with owners who return and a host that dies. The same for the same arguments.
struct Sample {
  Timeline timeline;
  Duration wall{0};
};
Sample sample_build(uint32_t recipes, uint32_t hosts, uint64_t seed = 1);

}  // namespace hob::pmake
