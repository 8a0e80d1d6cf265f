#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hob {

/// Writes one JSON document on one line. Only what is asked of it: no reading, no tree.
///
/// Byte strings that are no UTF-8 are written with U+FFFD for what does not fit, and beside them a
/// member NAME_b64 holds the bytes (base64), so that nothing is lost. An element of an array has no
/// place beside it: there the replaced text is all.
class JsonWriter {
 public:
  JsonWriter() { open("", '{'); }

  JsonWriter& member(std::string_view name, std::string_view bytes);
  JsonWriter& member(std::string_view name, const char* text) {
    return member(name, std::string_view(text));
  }
  JsonWriter& member(std::string_view name, bool value) {
    return raw(name, value ? "true" : "false");
  }
  JsonWriter& member(std::string_view name, uint64_t value) {
    return raw(name, std::to_string(value));
  }
  JsonWriter& member(std::string_view name, uint32_t value) {
    return raw(name, std::to_string(value));
  }
  JsonWriter& member(std::string_view name, int value) { return raw(name, std::to_string(value)); }
  JsonWriter& member(std::string_view name, double value);
  JsonWriter& null(std::string_view name) { return raw(name, "null"); }
  /// Nanoseconds as seconds.
  JsonWriter& seconds(std::string_view name, uint64_t nanoseconds) {
    return member(name, static_cast<double>(nanoseconds) / 1e9);
  }
  /// An instant of CLOCK_REALTIME as RFC 3339; 0 is null.
  JsonWriter& instant(std::string_view name, uint64_t wall_ns);

  /// `name` is empty for an element of an array.
  JsonWriter& object(std::string_view name = {}) { return open(name, '{'); }
  JsonWriter& array(std::string_view name) { return open(name, '['); }
  JsonWriter& end();
  /// Ends everything that is open; with a new line.
  std::string document() &&;

 private:
  JsonWriter& open(std::string_view name, char bracket);
  JsonWriter& raw(std::string_view name, std::string_view value);
  void begin_value(std::string_view name);

  std::string text_;
  std::string open_;  // brackets to close, the innermost last
};

/// `bytes` with U+FFFD in place of what is no UTF-8 (RFC 3629: no surrogates, no overlong forms).
std::string valid_utf8(std::string_view bytes);
std::string base64(std::string_view bytes);

}  // namespace hob
