#pragma once

#include <string>

#include "base/result.h"
#include "migrate/types.h"

/// Which kernel and which network a guest is in: two hosts of a cell may be one machine, and then
/// what the kernel holds by a name (a FIFO's bytes, a socket's address) is still the source's until
/// the source lets go of it.
namespace hob::migrate {

/// The boot id of this kernel (random(4)).
Result<std::string> this_machine();
/// This kernel and the network namespace of a process.
Result<std::string> network_of(Tid process);

}  // namespace hob::migrate
