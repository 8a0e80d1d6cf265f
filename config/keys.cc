#include "config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/units.h"

namespace hob::keys {
namespace {

constexpr std::string_view kZ85 =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warning", "error"};

/// A TOML basic string.
std::string quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      quoted.append({'\\', c});
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    else
      quoted += c;
  }
  return quoted + '"';
}

}  // namespace

Result<bool> to_bool(const TomlEntry& entry) {
  if (const bool* value = std::get_if<bool>(&entry.value)) return *value;
  return Error{"expected true or false"};
}

Result<int64_t> to_integer(const TomlEntry& entry, int64_t least, int64_t most) {
  const int64_t* value = std::get_if<int64_t>(&entry.value);
  if (value == nullptr || *value < least || *value > most)
    return Error{fmt::format("expected a whole number from {} to {}", least, most)};
  return *value;
}

Result<std::string> to_text(const TomlEntry& entry) {
  const std::string* text = std::get_if<std::string>(&entry.value);
  if (text == nullptr) return Error{"expected a text in quotes"};
  if (text->find('\0') != std::string::npos) return Error{"a text must not hold a null byte"};
  return *text;
}

Result<std::vector<std::string>> to_texts(const TomlEntry& entry) {
  const auto* texts = std::get_if<TomlEntry::Texts>(&entry.value);
  if (texts == nullptr) return Error{"expected a list of texts, as in [\"a\", \"b\"]"};
  for (const std::string& text : *texts)
    if (text.find('\0') != std::string::npos) return Error{"a text must not hold a null byte"};
  return *texts;
}

Result<std::array<double, 3>> to_marks(const TomlEntry& entry) {
  const auto* numbers = std::get_if<TomlEntry::Numbers>(&entry.value);
  const auto usable = [](double number) {
    return std::isfinite(number) && number >= 0 && number <= 1e6;
  };
  if (numbers == nullptr || numbers->size() != 3 ||
      !std::all_of(numbers->begin(), numbers->end(), usable))
    return Error{"expected three numbers, for 1, 5 and 15 minutes, as in [0.75, 1.0, 1.5]"};
  return std::array<double, 3>{(*numbers)[0], (*numbers)[1], (*numbers)[2]};
}

Result<Duration> to_duration(const TomlEntry& entry, Duration least, Duration most) {
  const std::string* text = std::get_if<std::string>(&entry.value);
  if (text == nullptr) return Error{"expected a duration in quotes, as in \"30s\" or \"5min\""};
  const Duration duration = TRY(parse_duration(*text));
  if (duration < least || duration > most)
    return Error{fmt::format("expected a duration from {} to {}", format_duration(least),
                             format_duration(most))};
  return duration;
}

Result<uint64_t> to_size(const TomlEntry& entry) {
  const std::string* text = std::get_if<std::string>(&entry.value);
  if (text == nullptr) return Error{"expected a size in quotes, as in \"2GiB\""};
  return parse_size(*text);
}

Result<Hours> to_hours(const TomlEntry& entry) {
  return Hours::parse(TRY(to_text(entry)));
}

Result<HostList> to_host_list(const TomlEntry& entry) {
  if (const std::string* word = std::get_if<std::string>(&entry.value)) {
    if (*word == "none") return HostList{HostList::Kind::none, {}};
    if (*word == "all") return HostList{HostList::Kind::all, {}};
  } else if (std::holds_alternative<TomlEntry::Texts>(entry.value)) {
    HostList list{HostList::Kind::listed, TRY(to_texts(entry))};
    if (list.hosts.size() > HostList::kMostHosts)
      return Error{
          fmt::format("{} host names; at most {} are allowed; write \"all\", or shorten it",
                      list.hosts.size(), HostList::kMostHosts)};
    return list;
  }
  return Error{"expected \"none\", \"all\", or a list of host names"};
}

Result<log::Level> to_level(const TomlEntry& entry) {
  const std::string* word = std::get_if<std::string>(&entry.value);
  const auto it = word ? std::find(kLevels.begin(), kLevels.end(), *word) : kLevels.end();
  if (it == kLevels.end()) return Error{"expected \"debug\", \"info\", \"warning\" or \"error\""};
  return static_cast<log::Level>(it - kLevels.begin());
}

Result<std::string> to_path(const TomlEntry& entry) {
  std::string path = TRY(to_text(entry));
  if (!path.starts_with('/')) return Error{"expected a path that begins with '/'"};
  return path;
}

Result<std::string> to_endpoint(const TomlEntry& entry, uint16_t default_port) {
  const std::string text = TRY(to_text(entry));
  const Error wrong{
      fmt::format("expected \"HOST\", \"HOST:PORT\" or \"tcp://HOST:PORT\" (an IPv6 "
                  "address in brackets); without a port it is {}",
                  default_port)};
  std::string_view rest = text;
  if (rest.starts_with("tcp://")) rest.remove_prefix(6);
  // The port stands behind the last colon, unless that is inside the brackets of an IPv6 address.
  const size_t bracket = rest.rfind(']');
  const size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = rest.substr(0, colon);
  const auto plain = [](char c) { return c > ' ' && c != '/' && c != '"' && c < 0x7f; };
  if (host.empty() || !std::all_of(host.begin(), host.end(), plain)) return wrong;
  unsigned port = default_port;
  if (colon != std::string_view::npos) {
    const std::string_view digits = rest.substr(colon + 1);
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (digits.empty() || digits.size() > 5 || !std::all_of(digits.begin(), digits.end(), digit))
      return wrong;
    port = static_cast<unsigned>(std::stoul(std::string(digits)));
    if (port == 0 || port > 65535) return wrong;
  }
  return fmt::format("tcp://{}:{}", host, port);
}

Result<std::string> to_public_key(const TomlEntry& entry) {
  const std::string key = TRY(to_text(entry));
  const auto z85 = [](char c) { return kZ85.find(c) != std::string_view::npos; };
  if (key.size() != 40 || !std::all_of(key.begin(), key.end(), z85))
    return Error{"expected a public key, 40 characters of Z85, as `remote cell init` prints it"};
  return key;
}

std::string show(bool value) {
  return value ? "true" : "false";
}
std::string show(uint16_t value) {
  return std::to_string(value);
}
std::string show(uint32_t value) {
  return std::to_string(value);
}
std::string show(uint64_t value) {
  return std::to_string(value);
}
std::string show(const std::string& text) {
  return quote(text);
}
std::string show(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts)
    list.append(list.size() > 1 ? ", " : "").append(quote(text));
  return list + "]";
}
std::string show(const std::array<double, 3>& marks) {
  return fmt::format("[{}, {}, {}]", marks[0], marks[1], marks[2]);
}
std::string show(Duration duration) {
  return quote(format_duration(duration));
}
std::string show(const Hours& hours) {
  return quote(hours.text());
}
std::string show(const HostList& list) {
  if (list.kind == HostList::Kind::listed) return show(list.hosts);
  return list.kind == HostList::Kind::all ? "\"all\"" : "\"none\"";
}
std::string show(log::Level level) {
  return quote(kLevels.at(static_cast<size_t>(level)));
}
std::string show_size(uint64_t bytes) {
  return quote(format_size(bytes));
}

std::string nearest(const std::string& name, std::span<const std::string> known) {
  // Damerau-Levenshtein, the variant with adjacent swaps, over three rows.
  const auto distance = [](const std::string& a, const std::string& b) {
    std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      row[0] = i;
      for (size_t j = 1; j <= b.size(); ++j) {
        row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          row[j] = std::min(row[j], before[j - 2] + 1);
      }
      before.swap(last);
      last.swap(row);
    }
    return last[b.size()];
  };
  std::string best;
  size_t least = 4;  // more changes than three, and it was not a slip
  if (name.size() > 64) return best;
  for (const std::string& key : known)
    if (const size_t d = distance(name, key); d < least) least = d, best = key;
  // The right word in the wrong section: "input" or "host.input" for "idle.input".
  const std::string word = name.substr(name.rfind('.') + 1);
  for (const std::string& key : known)
    if (best.empty() && key.substr(key.rfind('.') + 1) == word) best = key;
  return best;
}

}  // namespace hob::keys
