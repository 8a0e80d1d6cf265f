#include "wire/message.h"

#include <fmt/core.h>

namespace hob::wire {

std::string encode(pb::Envelope& envelope) {
  envelope.set_version(kVersion);
  return envelope.SerializeAsString();
}

Result<void> check_size(size_t envelope_bytes, size_t bulk_bytes) {
  if (envelope_bytes <= kMaxEnvelope && bulk_bytes <= kMaxBulk) return {};
  return Error{fmt::format("message of {} and {} bulk bytes: more than {} and {} are not allowed",
                           envelope_bytes, bulk_bytes, kMaxEnvelope, kMaxBulk),
               EMSGSIZE};
}

Result<pb::Envelope> decode(std::span<const char> bytes) {
  TRY(check_size(bytes.size(), 0));
  pb::Envelope envelope;
  if (!envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{fmt::format("decode a message of {} bytes: damaged", bytes.size())};
  if (envelope.version() != kVersion)
    return Error{
        fmt::format("decode a message: protocol version {}, this program speaks {}; update "
                    "hob on the older side",
                    envelope.version(), kVersion)};
  if (envelope.body_case() == pb::Envelope::BODY_NOT_SET)
    return Error{"decode a message: no known body; update hob on this side"};
  return envelope;
}

pb::Envelope done() {
  pb::Envelope envelope;
  envelope.mutable_done();
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
    case pb::Failure::USAGE:
      return "usage";
    case pb::Failure::NOT_FOUND:
      return "not_found";
    case pb::Failure::NOT_PERMITTED:
      return "not_permitted";
    case pb::Failure::UNREACHABLE:
      return "unreachable";
    case pb::Failure::NO_HOST:
      return "no_host";
    case pb::Failure::NOT_EXECUTABLE:
      return "not_executable";
    case pb::Failure::NO_PROGRAM:
      return "no_program";
    case pb::Failure::LOST:
      return "lost";
    case pb::Failure::STALE:
      return "stale";
    default:
      return "internal";
  }
}

std::string_view name_of(pb::HostState state) {
  switch (state) {
    case pb::HOST_ACTIVE:
      return "ACTIVE";
    case pb::HOST_IDLE:
      return "IDLE";
    case pb::HOST_PART_USED:
      return "PART_USED";
    case pb::HOST_FULL:
      return "FULL";
    case pb::HOST_REFUSES:
      return "REFUSES";
    default:
      return "DOWN";
  }
}

}  // namespace hob::wire
