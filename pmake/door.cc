#include "pmake/door.h"

#include <csignal>
#include <cstring>

namespace hob::pmake {
namespace {

Error broken(std::string_view what) {
  return Error{"read what a recipe's shell wants: " + std::string(what), EPROTO};
}

/// `count` strings with their zero bytes.
bool take_strings(std::string_view& bytes, uint32_t count, std::vector<std::string>& strings) {
  for (; count > 0; --count) {
    const size_t end = bytes.find('\0');
    if (end == bytes.npos) return false;
    strings.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(end + 1);
  }
  return true;
}

}  // namespace

bool DoorRequest::operator==(const DoorRequest& other) const {
  return arguments == other.arguments && environment == other.environment &&
         directory == other.directory && umask == other.umask &&
         limits.size() == other.limits.size() &&
         std::memcmp(limits.data(), other.limits.data(), limits.size() * sizeof(door::Limit)) == 0;
}

std::string_view value_in(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& entry : environment)
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name))
      return std::string_view(entry).substr(name.size() + 1);
  return {};
}

Result<std::optional<DoorRequest>> DoorDecoder::request() {
  door::Request head;
  if (buffer_.size() < sizeof head) return std::optional<DoorRequest>();
  std::memcpy(&head, buffer_.data(), sizeof head);
  if (head.mark != door::kMark) return broken("it is of another version of hob");
  const uint64_t size = uint64_t{head.directory_size} + head.strings_size;
  if (size > kLongest) return broken("it is too long");
  if (buffer_.size() - sizeof head < size) return std::optional<DoorRequest>();
  DoorRequest request;
  request.umask = head.umask & 0777;
  request.limits.assign(head.limits, head.limits + door::kLimits);
  request.directory = buffer_.substr(sizeof head, head.directory_size);
  std::string_view strings =
      std::string_view(buffer_).substr(sizeof head + head.directory_size, head.strings_size);
  if (head.arguments == 0 || !take_strings(strings, head.arguments, request.arguments) ||
      !take_strings(strings, head.environment, request.environment) || !strings.empty())
    return broken("its strings are not as many as it says");
  // "(unreachable)..." of getcwd(3) as well.
  if (!request.directory.starts_with('/') || request.directory.find('\0') != std::string::npos)
    return broken("its directory is none");
  buffer_.erase(0, sizeof head + size);
  return std::optional(std::move(request));
}

std::optional<int> DoorDecoder::signal() {
  door::Signal signal;
  while (buffer_.size() >= sizeof signal) {
    std::memcpy(&signal, buffer_.data(), sizeof signal);
    buffer_.erase(0, sizeof signal);
    if (signal.number > 0 && signal.number < NSIG) return static_cast<int>(signal.number);
  }
  return {};
}

std::string encode(door::Kind kind, uint32_t value) {
  const door::Word word{kind, value};
  return std::string(reinterpret_cast<const char*>(&word), sizeof word);
}

std::string encode_output(bool to_stderr, std::string_view bytes) {
  std::string out;
  constexpr size_t kPiece = 1u << 30;  // `value` has 32 bits
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kPiece))) {
    const std::string_view piece = bytes.substr(0, kPiece);
    out +=
        encode(to_stderr ? door::Kind::err : door::Kind::out, static_cast<uint32_t>(piece.size()));
    out += piece;
  }
  return out;
}

}  // namespace hob::pmake
