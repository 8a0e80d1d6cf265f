#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/hob.pb.h"

namespace hob::wire {

/// The version of the protocol; the rule stands in wire/hob.proto.
inline constexpr uint32_t kVersion = 1;

/// Largest encoded Envelope. A Start carries the arguments and the environment of a job, for which
/// the kernel allows a quarter of the stack limit, by default 2 MiB (execve(2)).
inline constexpr size_t kMaxEnvelope = 4u << 20;
/// Largest bulk part.
inline constexpr size_t kMaxBulk = 1u << 20;

/// How many bytes of one standard stream may be under way, not yet acknowledged by the reader. Four
/// pipes' worth: enough to fill a 1 Gbit/s link at 2 ms round trip.
inline constexpr size_t kStreamWindow = 256u << 10;
/// Largest piece of a standard stream in one Data.
inline constexpr size_t kStreamPiece = 64u << 10;

/// So many slots a holder gets at once (Hold), at most.
inline constexpr uint32_t kMostHeld = 1024;

/// Whether a message of these sizes may travel. Senders ask before they send: a receiver ends the
/// whole connection over a larger one.
Result<void> check_size(size_t envelope_bytes, size_t bulk_bytes);

/// An envelope and the bytes that travel beside it.
struct Message {
  pb::Envelope envelope;
  std::string bulk;
};

/// Envelope to bytes. The version is set here.
std::string encode(pb::Envelope& envelope);

/// Bytes to envelope: refuses damaged ones, other versions and empty bodies. Hostile input costs at
/// most memory in proportion to its size (protobuf's own guarantee, fuzzed in tests/fuzz).
Result<pb::Envelope> decode(std::span<const char> bytes);

/// The answer of a request that has nothing to tell but success.
pb::Envelope done();
pb::Envelope failure(pb::Failure::Kind kind, std::string_view text);

/// What is wrong with `kind` for people and scripts: "not_found", "no_host", ...
std::string_view name_of(pb::Failure::Kind kind);

/// "IDLE", "ACTIVE", ... as DESIGN.md section 3 writes them.
std::string_view name_of(pb::HostState state);

}  // namespace hob::wire
