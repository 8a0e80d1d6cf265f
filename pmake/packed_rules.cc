#include "pmake/packed_rules.h"

#include <array>
#include <charconv>
#include <utility>

namespace hob::pmake {
namespace {

constexpr std::array<std::pair<char, std::vector<std::string> Rules::*>, 3> kLists = {
    {{'t', &Rules::home_targets}, {'h', &Rules::home_commands}, {'o', &Rules::out_commands}}};

}  // namespace

std::string pack(const Rules& rules) {
  std::string packed;
  for (const auto& [letter, list] : kLists)
    for (const std::string& pattern : rules.*list)
      packed.append(letter + std::to_string(pattern.size()) + ':').append(pattern) += ',';
  return packed;
}

Rules unpack(std::string_view packed) {
  Rules rules;
  std::string_view rest = packed;
  for (const auto& [letter, list] : kLists) {
    while (rest.starts_with(letter)) {
      size_t length = 0;
      const auto [end, problem] =
          std::from_chars(rest.data() + 1, rest.data() + rest.size(), length);
      if (problem != std::errc()) return {};
      rest.remove_prefix(static_cast<size_t>(end - rest.data()));
      // ":", the pattern, ","
      if (rest.size() < 2 || length > rest.size() - 2 || rest[0] != ':' || rest[length + 1] != ',')
        return {};
      (rules.*list).emplace_back(rest.substr(1, length));
      rest.remove_prefix(length + 2);
    }
  }
  // Anything behind, or a length written as "05", is not ours.
  return pack(rules) == packed ? rules : Rules{};
}

}  // namespace hob::pmake
