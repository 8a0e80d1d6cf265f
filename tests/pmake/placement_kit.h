#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "pmake/placement.h"

namespace hob::test {

/// Files by name, each with its size; all others are small.
using Files = std::map<std::string, uint64_t>;

inline pmake::Verdict verdict_of(const pmake::RecipeLine& line, const pmake::Rules& rules = {},
                                 const Files& files = {}) {
  return pmake::place_of(line, rules, [&](const std::string& path) -> uint64_t {
    const auto it = files.find(path);
    return it == files.end() ? 100 : it->second;
  });
}

inline pmake::Place place(std::string_view command, const Files& files = {}) {
  return verdict_of({.command = command}, {}, files).place;
}

}  // namespace hob::test

namespace Catch {
template <>
struct StringMaker<hob::pmake::Place> {
  static std::string convert(hob::pmake::Place place) {
    switch (place) {
      case hob::pmake::Place::out:
        return "out";
      case hob::pmake::Place::home:
        return "home";
      case hob::pmake::Place::cheap:
        return "cheap";
      case hob::pmake::Place::recursive:
        return "recursive";
    }
    return "none";
  }
};
}  // namespace Catch
