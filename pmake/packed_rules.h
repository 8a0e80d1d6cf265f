#pragma once

#include <string>
#include <string_view>

#include "pmake/placement.h"

namespace hob::pmake {

/// The rules as one environment variable, and back: pmake packs them once, each recipe's shell
/// unpacks them, without a reader of TOML. No rules are the empty text.
///
///     t5:check,h9:doxygen %,o7:mkdir %,
///
/// Each pattern has the letter of its list, its length in bytes and itself, in the order of Rules:
/// a pattern may hold any character but a null byte.
std::string pack(const Rules& rules);

/// What does not come from pack() gives no rules.
Rules unpack(std::string_view packed);

}  // namespace hob::pmake
