#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hob::migrate {

/// Asks the kernel of one socket (sock_diag(7)): what no system call on it tells, its other end
/// above all. In the network namespace of the calling thread.
///
/// `request` is the family's own structure (unix_diag_req, inet_diag_req_v2). The answer is the
/// family's message (unix_diag_msg, inet_diag_msg), at least `least` bytes of it, with its
/// attributes after it. `what` and `module` are for the Error: "a unix socket", "unix_diag"; its
/// code is ENOENT where there is no such socket.
Result<std::vector<std::byte>> ask_sock_diag(std::span<const std::byte> request, size_t least,
                                             std::string_view what, std::string_view module);

}  // namespace hob::migrate
