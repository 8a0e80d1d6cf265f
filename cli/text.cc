#include "cli/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstring>

#include "base/check.h"
#include "cli/say.h"

namespace hob::cli {
namespace {

/// Columns on a terminal, near enough: UTF-8 characters.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

}  // namespace

std::optional<Duration> duration_from_text(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(number) || number <= 0) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  double factor = 0;
  if (unit == "ms") factor = 1e-3;
  if (unit.empty() || unit == "s") factor = 1;
  if (unit == "m") factor = 60;
  if (unit == "h") factor = 3600;
  if (unit == "d") factor = 86400;
  const double seconds = number * factor;
  constexpr double kLongest = 100.0 * 365 * 86400;  // far inside what 64-bit nanoseconds hold
  if (seconds < 1e-9 || seconds > kLongest) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

std::string for_people(Duration duration) {
  const auto total = std::max<int64_t>(0, std::chrono::duration_cast<seconds>(duration).count());
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  if (total < 86400) return fmt::format("{}h{:02}m", total / 3600, total % 3600 / 60);
  return fmt::format("{}d{:02}h", total / 86400, total % 86400 / 3600);
}

std::string precise(Duration duration) {
  const double ms = to_milliseconds(duration);
  if (ms < 10) return fmt::format("{:.2f} ms", ms);
  if (ms < 1000) return fmt::format("{:.0f} ms", ms);
  return fmt::format("{:.2f} s", ms / 1000);
}

std::string bytes_for_people(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return unit == 0 || value >= 100 ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                   : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::optional<int> signal_from_text(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size())
    return number >= 1 && number < NSIG ? std::optional(number) : std::nullopt;
  std::string name = upper(text);
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return std::nullopt;
}

Table::Table(std::vector<std::string> headers, std::vector<size_t> right)
    : rows_{std::move(headers)}, right_(std::move(right)) {}

void Table::add(std::vector<std::string> row) {
  CHECK(row.size() == rows_[0].size());
  for (std::string& cell : row) cell = cell.empty() ? "-" : printable(cell);
  rows_.push_back(std::move(row));
}

std::string Table::text(bool headers) const {
  const size_t first = headers ? 0 : 1;
  std::vector<size_t> widths(rows_[0].size());
  for (size_t r = first; r < rows_.size(); ++r)
    for (size_t c = 0; c < widths.size(); ++c)
      widths[c] = std::max(widths[c], width_of(rows_[r][c]));
  std::string out;
  for (size_t r = first; r < rows_.size(); ++r) {
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string& cell = rows_[r][c];
      const std::string space(widths[c] - width_of(cell), ' ');
      if (std::find(right_.begin(), right_.end(), c) != right_.end())
        out += space + cell;
      else
        out += c + 1 < widths.size() ? cell + space : cell;
      out += c + 1 < widths.size() ? "  " : "\n";
    }
  }
  return out;
}

}  // namespace hob::cli
