#include "config/units.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace hob {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr std::array<Unit, 5> kTimes{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"min", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::array<Unit, 5> kSizes{
    {{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1}}};

void skip_spaces(std::string_view& text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Takes one "NUMBER UNIT" off the front of `text`; nothing if it is not one, or too large.
std::optional<uint64_t> take_term(std::string_view& text, const std::array<Unit, 5>& units) {
  uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  skip_spaces(text);
  size_t length = 0;
  while (length < text.size() && is_letter(text[length])) ++length;
  for (const Unit& unit : units) {
    if (unit.name != text.substr(0, length)) continue;
    uint64_t product = 0;
    if (__builtin_mul_overflow(number, unit.factor, &product)) return std::nullopt;
    text.remove_prefix(length);
    skip_spaces(text);
    return product;
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_terms(std::string_view text, const std::array<Unit, 5>& units) {
  skip_spaces(text);
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  uint64_t sum = 0;
  while (!text.empty()) {
    const std::optional<uint64_t> term = take_term(text, units);
    if (!term || __builtin_add_overflow(sum, *term, &sum)) return std::nullopt;
  }
  return sum;
}

std::string format_terms(uint64_t value, const std::array<Unit, 5>& units) {
  if (value == 0) return "0";
  std::string text;
  for (const Unit& unit : units) {
    if (value < unit.factor) continue;
    if (!text.empty()) text += ' ';
    text.append(std::to_string(value / unit.factor)).append(unit.name);
    value %= unit.factor;
  }
  return text;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const std::optional<uint64_t> value = parse_terms(text, kTimes);
  constexpr auto kMost = static_cast<uint64_t>(
      std::chrono::duration_cast<milliseconds>(std::chrono::years(100)).count());
  if (!value || *value > kMost)
    return Error{"'" + std::string(text) +
                 "' is no duration; write whole numbers with ms, s, min, h or d, as in \"30s\""};
  return Duration(milliseconds(static_cast<int64_t>(*value)));
}

std::string format_duration(Duration duration) {
  CHECK(duration >= Duration::zero());
  const auto ms = std::chrono::duration_cast<milliseconds>(duration).count();
  return format_terms(static_cast<uint64_t>(ms), kTimes);
}

Result<uint64_t> parse_size(std::string_view text) {
  const std::optional<uint64_t> value = parse_terms(text, kSizes);
  if (!value)
    return Error{"'" + std::string(text) +
                 "' is no size; write a whole number with B, KiB, MiB, GiB or TiB, as in \"2GiB\""};
  return *value;
}

std::string format_size(uint64_t bytes) {
  return format_terms(bytes, kSizes);
}

}  // namespace hob
