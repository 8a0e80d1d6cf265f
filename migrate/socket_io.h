#pragma once

#include <cstddef>

#include "base/result.h"
#include "base/time.h"

/// Bytes through a non-blocking stream socket until a time. Errors: ETIMEDOUT, the peer was too
/// slow; EPIPE, it has closed. The thread that calls waits; one reads and one writes at a time.
namespace hob::migrate {

Result<void> read_all(int socket, void* to, size_t size, Time end);
Result<void> write_all(int socket, const void* from, size_t size, Time end);
/// Until something can be written: room, or the end of connect(2).
Result<void> await_room(int socket, Time end);

}  // namespace hob::migrate
