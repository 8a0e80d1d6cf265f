#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pmake/door_format.h"

/// What a recipe's shell says, read at pmake's end (door_format.h). Pure.
namespace hob::pmake {

/// A recipe line as its shell was given it.
struct DoorRequest {
  std::vector<std::string> arguments;    ///< at least one
  std::vector<std::string> environment;  ///< NAME=VALUE
  std::string directory;                 ///< absolute
  uint32_t umask = 0;
  std::vector<door::Limit> limits;  ///< by resource
  bool operator==(const DoorRequest&) const;
};

/// The value of a variable in an environment; empty where there is none.
std::string_view value_in(const std::vector<std::string>& environment, std::string_view name);

/// Cuts what a shell sends into its Request and then its Signals. After an Error the connection is
/// useless. Keeps no more than came, and of a request that says it is longer than kLongest nothing.
class DoorDecoder {
 public:
  /// As much as a message to hostd may carry (wire/message.h).
  static constexpr size_t kLongest = 4u << 20;

  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The request, once, when all of it is there.
  Result<std::optional<DoorRequest>> request();
  /// The next signal's number, after the request.
  std::optional<int> signal();

 private:
  std::string buffer_;
};

/// The bytes of one word, and of the output that follows it.
std::string encode(door::Kind kind, uint32_t value);
std::string encode_output(bool to_stderr, std::string_view bytes);

}  // namespace hob::pmake
