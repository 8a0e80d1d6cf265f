#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

/// Words and figures for people. Pure.
namespace hob::cli {

/// "90", "1.5s", "500ms", "10m", "2h", "1d"; a bare number is seconds. Nothing if it is none of
/// these, or not positive.
std::optional<Duration> duration_from_text(std::string_view text);

/// The two largest units: "3s", "2m05s", "4h10m", "3d02h".
std::string for_people(Duration duration);
/// "2.3 ms", "1.21 s".
std::string precise(Duration duration);
/// "4.0 KiB", "312 MiB".
std::string bytes_for_people(uint64_t bytes);

/// In single quotes, as one word of a shell.
std::string quoted(std::string_view text);

/// "TERM", "SIGTERM", "term" or "15"; nothing if there is no such signal.
std::optional<int> signal_from_text(std::string_view text);

/// Rows of cells as columns two spaces apart; the last column is not padded. `right` names columns
/// of numbers. Control characters become '?', so that nobody's command writes to this terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> headers, std::vector<size_t> right = {});
  void add(std::vector<std::string> row);
  std::string text(bool headers) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the first: headers
  std::vector<size_t> right_;
};

}  // namespace hob::cli
