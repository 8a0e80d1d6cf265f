#pragma once

#include <sys/types.h>

#include <string>

namespace hob::hostd {

/// The login name of a user id, or "uid N" when there is none. Remembered for the life of the
/// process: name services can be slow.
std::string user_name(uid_t uid);

}  // namespace hob::hostd
