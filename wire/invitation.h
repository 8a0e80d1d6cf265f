#pragma once

#include <string>
#include <string_view>

#include "wire/zmq.h"

namespace hob::wire {

/// What a new workstation needs to join a cell: `remote cell invite` prints it, `remote cell join`
/// takes it. It holds a secret that lets anybody in, once; people carry it over a channel they
/// trust.
///
/// Text: "hob1:" and base64url without padding (so that a double click selects it and no shell
/// minds it) of: coordinator's public key (32 bytes), one-time secret key (32), CRC-32 of all other
/// bytes (4, little endian), endpoint. "hob1" changes when any of this does.
struct Invitation {
  std::string endpoint;   // of the coordinator: "tcp://10.77.0.1:7717"
  Key coordinator_key{};  // public
  Key secret_key{};       // of this invitation alone
};

/// Longest endpoint an invitation may hold.
inline constexpr size_t kMaxInvitationEndpoint = 300;

std::string to_text(const Invitation& invitation);

/// Surrounding white space is allowed. The Error says whether the text is no invitation at all, of
/// another version, or damaged on its way; it never repeats the text, which is a secret.
Result<Invitation> invitation_from_text(std::string_view text);

}  // namespace hob::wire
