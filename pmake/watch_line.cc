// pmake/timeline.h: the line that `--watch` keeps on the terminal.
#include <fmt/core.h>

#include <algorithm>

#include "base/json.h"
#include "pmake/timeline.h"

namespace hob::pmake {
namespace {

/// The characters of valid UTF-8, each with its columns. From U+1100 on some are two columns wide:
/// all count as two, for a line that is too long for the terminal would scroll it.
struct Character {
  std::string_view bytes;
  size_t columns;
};
Character first_of(std::string_view utf8) {
  const auto lead = static_cast<unsigned char>(utf8.front());
  if (lead < 0x80) return {utf8.substr(0, 1), 1};
  if (lead < 0xe0) return {utf8.substr(0, 2), 1};
  if (lead >= 0xf0) return {utf8.substr(0, 4), 2};
  return {utf8.substr(0, 3), static_cast<size_t>(utf8.substr(0, 3) < "\xe1\x84\x80" ? 1 : 2)};
}

size_t columns(std::string_view utf8) {
  size_t sum = 0;
  while (!utf8.empty()) {
    const Character c = first_of(utf8);
    sum += c.columns;
    utf8.remove_prefix(c.bytes.size());
  }
  return sum;
}

std::string cut(std::string_view utf8, size_t width) {
  if (columns(utf8) <= width) return std::string(utf8);
  if (width == 0) return {};
  std::string out;
  for (size_t used = 0; !utf8.empty();) {
    const Character c = first_of(utf8);
    used += c.columns;
    if (used > width - 1) break;
    out += c.bytes;
    utf8.remove_prefix(c.bytes.size());
  }
  return out + ">";
}

/// For a terminal: valid UTF-8, and '?' for control characters, those of C1 (U+0080 to U+009F) too.
std::string plain(std::string_view bytes) {
  const std::string text = valid_utf8(bytes);
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const Character c = first_of(rest);
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(c.bytes[i]); };
    const bool control =
        c.bytes.size() == 1 ? byte(0) < 0x20 || byte(0) == 0x7f : byte(0) == 0xc2 && byte(1) < 0xa0;
    out += control ? std::string_view("?") : c.bytes;
    rest.remove_prefix(c.bytes.size());
  }
  return out;
}

/// The last part of its target's path; where make told no target, the first word of the command.
std::string short_name(const RecipeRun& recipe) {
  std::string_view name = recipe.target;
  if (name.empty()) name = std::string_view(recipe.command).substr(0, recipe.command.find(' '));
  while (name.size() > 1 && name.back() == '/') name.remove_suffix(1);
  const size_t slash = name.size() > 1 ? name.rfind('/') : std::string_view::npos;
  return plain(slash == std::string_view::npos ? name : name.substr(slash + 1));
}

/// "ws1: a.o b.o +2", with at most `shown` names; with none: "ws1: 4".
std::string host_part(const Timeline& timeline, const std::string& host,
                      const std::vector<uint64_t>& numbers, size_t shown) {
  std::string out = (host == timeline.home() ? "home" : plain(host)) + ":";
  if (shown == 0) return out + fmt::format(" {}", numbers.size());
  for (size_t i = 0; i < std::min(shown, numbers.size()); ++i)
    out += " " + short_name(timeline.recipe(numbers[i]));
  if (numbers.size() > shown) out += fmt::format(" +{}", numbers.size() - shown);
  return out;
}

}  // namespace

std::string watch_line(const Timeline& timeline, size_t width) {
  size_t running = 0, most = 0;
  std::set<std::string> names;
  for (const auto& [host, numbers] : timeline.running()) {
    running += numbers.size();
    most = std::max(most, numbers.size());
    names.insert(host);
  }
  const std::string head =
      fmt::format("{} done, {} running", timeline.recipes().size() - running, running);

  std::string line;
  for (size_t shown = most + 1; shown-- > 0;) {
    line = head;
    for (const std::string& host : home_first(timeline.home(), names))
      if (names.contains(host))
        line += "  " + host_part(timeline, host, timeline.running().at(host), shown);
    if (columns(line) <= width) return line;
  }
  return cut(line, width);
}

}  // namespace hob::pmake
