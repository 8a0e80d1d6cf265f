#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"

/// The standing build: a server of places without a make of its own, which all compilers of a user
/// on this host share (launcher.h). `pmake` runs it (Tool::launcher); it ends when nobody has used
/// it for a while, and gives its slots back.
namespace hob::pmake {

/// $XDG_RUNTIME_DIR, if it can be written to.
std::optional<std::string> runtime_directory();

/// remote-cc in that, else /tmp/remote-cc-UID: made if need be, with mode 0700. An Error if it is
/// somebody else's.
Result<std::string> stand_directory();

/// The right to be the standing build, as long as it is open. One that is about to end may still
/// have it: waits for a second, then it is an Error.
Result<Fd> stand_lock(const std::string& directory);

/// A connection to the standing build. Starts it with `program` (pmake) where there is none; an
/// Error if it does not listen within two seconds.
Result<Fd> connect_stand(const std::string& program);

}  // namespace hob::pmake
