#pragma once

#include <string>
#include <string_view>

#include "pmake/placement.h"

namespace hob::pmake {

/// The rules as one environment variable, and back: each recipe's shell reads them there. What does
/// not come from pack() gives no rules.
std::string pack(const Rules& rules);
Rules unpack(std::string_view packed);

}  // namespace hob::pmake
