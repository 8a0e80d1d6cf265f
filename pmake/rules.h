#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "pmake/placement.h"

namespace hob::pmake {

/// Reads `.remote.toml` of `directory`, or of the nearest directory above that has one; none: no
/// rules. An unknown key, or a value of the wrong form, is an Error with file and line.
///
///     [make]
///     home_targets  = ["check", "doc/%"]   # these recipes stay at home
///     home_commands = ["doxygen %"]        # and those with such a command
///     out_commands  = ["mkdir %"]          # these go, also where hob would keep them
Result<Rules> load_rules(const std::string& directory);
Result<Rules> parse_rules(std::string_view text, const std::string& name);

/// The rules as one environment variable, and back: each recipe's shell reads them there. What does
/// not come from pack() gives no rules.
std::string pack(const Rules& rules);
Rules unpack(std::string_view packed);

}  // namespace hob::pmake
