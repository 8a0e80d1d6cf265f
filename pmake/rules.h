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
///     home_commands = ["doxygen"]          # and those with such a command
///     out_commands  = ["sed %"]            # these go, also where hob would keep them
///
/// `directory` is absolute. The file is at most kMostBytes long, so that its rules, packed
/// (packed_rules.h), fit into one environment variable (128 KiB, MAX_ARG_STRLEN in execve(2)).
Result<Rules> load_rules(const std::string& directory);
/// `name` only names the text in errors.
Result<Rules> parse_rules(std::string_view text, const std::string& name);

constexpr size_t kMostBytes = 64 << 10;

}  // namespace hob::pmake
