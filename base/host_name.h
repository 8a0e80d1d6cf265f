#pragma once

#include <algorithm>
#include <string_view>

namespace hob {

/// The one rule for names of hosts: 1 to 63 letters, digits, '-', '_' or '.', not beginning with
/// '.' or '-', so that they can stand in job ids, paths and tables.
inline bool is_host_name(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  };
  return !text.empty() && text.size() <= 63 && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), fits);
}

}  // namespace hob
