#include "wire/message.h"

#include <fmt/core.h>

namespace hob::wire {

std::string encode(pb::Envelope& envelope) {
  envelope.set_version(kVersion);
  return envelope.SerializeAsString();
}

Result<pb::Envelope> decode(std::span<const char> bytes) {
  if (bytes.size() > kMaxEnvelope)
    return Error{fmt::format("decode a message: {} bytes, more than {} allowed", bytes.size(),
                             kMaxEnvelope)};
  pb::Envelope envelope;
  if (!envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{fmt::format("decode a message of {} bytes: damaged", bytes.size())};
  if (envelope.version() != kVersion)
    return Error{fmt::format("decode a message: protocol version {}, this program speaks {}; update "
                             "hob on the older side",
                             envelope.version(), kVersion)};
  if (envelope.body_case() == pb::Envelope::BODY_NOT_SET)
    return Error{"decode a message: no known body; update hob on this side"};
  return envelope;
}

pb::Envelope failure(pb::Failure::Kind kind, std::string_view text) {
  pb::Envelope envelope;
  envelope.mutable_failure()->set_kind(kind);
  envelope.mutable_failure()->set_text(std::string(text));
  return envelope;
}

std::string_view name_of(pb::Failure::Kind kind) {
  switch (kind) {
    case pb::Failure::USAGE: return "usage";
    case pb::Failure::NOT_FOUND: return "not_found";
    case pb::Failure::NOT_PERMITTED: return "not_permitted";
    case pb::Failure::UNREACHABLE: return "unreachable";
    case pb::Failure::NO_HOST: return "no_host";
    case pb::Failure::NOT_EXECUTABLE: return "not_executable";
    case pb::Failure::NO_PROGRAM: return "no_program";
    case pb::Failure::LOST: return "lost";
    case pb::Failure::STALE: return "stale";
    default: return "internal";
  }
}

std::string_view name_of(pb::HostState state) {
  switch (state) {
    case pb::HOST_ACTIVE: return "ACTIVE";
    case pb::HOST_IDLE: return "IDLE";
    case pb::HOST_PART_USED: return "PART_USED";
    case pb::HOST_FULL: return "FULL";
    case pb::HOST_REFUSES: return "REFUSES";
    default: return "DOWN";
  }
}

}  // namespace hob::wire
