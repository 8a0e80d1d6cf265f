#pragma once

#include <string>
#include <vector>

#include "migrate/image.h"

/// Images as text for people, one line an element. Pure. What programs had a hand in (names, paths)
/// is printed with control characters replaced: an image may be hostile to whoever reads it.
namespace hob::migrate {

enum class Detail : uint8_t {
  summary,  ///< per process: how many of what, and how big
  all,      ///< every thread, mapping, descriptor, timer, ...; the pages by their addresses
};

std::vector<std::string> print(const Announcement& announcement, Detail detail);
std::vector<std::string> print(const Image& image, Detail detail);

/// "3.2 MiB"; exact below one KiB.
std::string size_for_people(uint64_t bytes);
/// `text` with control characters replaced by '?'.
std::string printable(std::string_view text);

}  // namespace hob::migrate
