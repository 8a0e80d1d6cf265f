#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace hob::pmake {

/// What builds: `pmake` and `remote make`, `remote ninja`, `remote bmake`; or nothing: the recipes
/// are compilers that `remote cc` starts (stand.h).
enum class Tool : uint8_t { make, ninja, bmake, launcher };

/// "make", ...: the program, and the verb of `remote`.
std::string_view name_of(Tool tool);

/// What the user asked of pmake; all else is the tool's own.
struct Options {
  uint32_t most = 0;   ///< -j N: recipes at once; 0: as many as the cell gives
  uint32_t local = 0;  ///< -L N: of them at home; 0: as many as it has processors, less one
  bool local_given = false;
  bool export_ok = true;  ///< false: -X
  bool watch = false;
  bool help = false;
  std::string trace, report;           ///< files; empty: none
  std::vector<std::string> passed_on;  ///< the tool's arguments, in order
  bool output_sync_given = false;      ///< make's -O is among them
};

/// Reads the words after the program's name. Ours are -j, -L (--local), -X, -x, --watch, --trace,
/// --report and --help, wherever they stand before `--`, -j, -X and -x also in clusters ("-kj8");
/// the rest goes to the tool as it is. An Error is a usage error, for people.
Result<Options> parse_arguments(Tool tool, const std::vector<std::string>& words);

/// The help text of `pmake --help`.
std::string help(Tool tool);

}  // namespace hob::pmake
