#pragma once

#include <string>

#include "base/time.h"

namespace hob::wire {

/// What a grant says, sealed by the coordinator for the granted host: HMAC-SHA256 with that host's
/// grant key (Welcome.grant_key) over lease, home and expiry. So a host can tell that a start comes
/// from the home that holds the grant without asking anybody.
std::string grant_token(const std::string& grant_key, uint64_t lease, const std::string& home,
                        uint64_t expires_wall_ns);

/// Compares in constant time.
bool grant_token_valid(const std::string& grant_key, uint64_t lease, const std::string& home,
                       uint64_t expires_wall_ns, const std::string& token);

/// Bytes from the kernel's generator, for keys.
std::string random_bytes(size_t count);

}  // namespace hob::wire
