#pragma once

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/locks.h"

/// Addresses of unix sockets (unix(7)): paths, which are files as well, and abstract names, which
/// are the network namespace's. One kernel gives an address to one socket, so the source must have
/// let go of it before the target binds it (handover.h): sockets come without their addresses, and
/// bind(2) and listen(2) are made in the processes that had made them. Then the socket's file is a
/// new one in the place of the old; in between, whoever connects is refused.
namespace hob::migrate {

/// Before the commit. An Error: somebody else has such an address here.
Result<void> check_names(const Image& image, const LockHands& hands);
/// After the commit and when the source has let go. Cannot end the guest any more: an address that
/// cannot be had is logged, and the guest goes on without.
void bind_names(const Image& image, const LockHands& hands);

/// "/tmp/socket" or "@name".
std::string shown(const std::string& name);

}  // namespace hob::migrate
