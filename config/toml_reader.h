#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace hob {

/// What stands in a TOML file, flattened: one entry per key, dotted from the top ("idle.input"), in
/// the order of their lines. The one door to toml++, so that no other file pays for compiling it.
struct TomlEntry {
  using Texts = std::vector<std::string>;
  using Numbers = std::vector<double>;
  /// An array is Texts or Numbers by its elements; the empty array is Texts.
  using Value = std::variant<bool, int64_t, double, std::string, Texts, Numbers>;

  std::string key;
  Value value;
  std::string file;
  uint32_t line = 0;

  /// "FILE:LINE", the beginning of every error about this entry.
  std::string where() const { return file + ":" + std::to_string(line); }
};

/// `file` only names the text in errors and entries. What no key of ours takes (dates, arrays of
/// tables, nested and mixed arrays) is refused with FILE:LINE.
Result<std::vector<TomlEntry>> parse_toml(std::string_view text, const std::string& file);

}  // namespace hob
