#include "base/json.h"

#include <fmt/core.h>

#include <cmath>

#include "base/check.h"
#include "base/time.h"

namespace hob {
namespace {

/// Length of the UTF-8 character at the front of `s`, 0 if there is none (Unicode 15, table 3-7).
size_t character_length(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < s.size() && at(i) >= low && at(i) <= high;
  };
  const unsigned first = at(0);
  if (s.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

std::string quoted(std::string_view utf8) {
  std::string out = "\"";
  for (char c : utf8) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f')
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t length = character_length(bytes);
    out += length == 0 ? std::string_view("\xef\xbf\xbd") : bytes.substr(0, length);
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(3, bytes.size()))) {
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
    for (size_t i = 0; i < 4; ++i)
      out += i <= bytes.size() ? kAlphabet[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

JsonWriter& JsonWriter::member(std::string_view name, std::string_view bytes) {
  const std::string text = valid_utf8(bytes);
  raw(name, quoted(text));
  if (text != bytes && !name.empty()) raw(fmt::format("{}_b64", name), quoted(base64(bytes)));
  return *this;
}

JsonWriter& JsonWriter::member(std::string_view name, double value) {
  return std::isfinite(value) ? raw(name, fmt::format("{}", value)) : null(name);
}

JsonWriter& JsonWriter::instant(std::string_view name, uint64_t wall_ns) {
  return wall_ns == 0 ? null(name) : member(name, std::string_view(rfc3339(wall_ns)));
}

JsonWriter& JsonWriter::open(std::string_view name, char bracket) {
  begin_value(name);
  text_ += bracket;
  open_ += bracket == '{' ? '}' : ']';
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view name, std::string_view value) {
  begin_value(name);
  text_ += value;
  return *this;
}

void JsonWriter::begin_value(std::string_view name) {
  if (!text_.empty() && text_.back() != '{' && text_.back() != '[') text_ += ',';
  if (!name.empty()) text_ += quoted(name) + ":";
}

JsonWriter& JsonWriter::end() {
  CHECK(!open_.empty());
  text_ += open_.back();
  open_.pop_back();
  return *this;
}

std::string JsonWriter::document() && {
  while (!open_.empty()) end();
  return std::move(text_) + "\n";
}

}  // namespace hob
