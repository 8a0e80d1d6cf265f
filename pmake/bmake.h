#pragma once

#include <string>

#include "base/result.h"

namespace hob::pmake {

/// The system makefile that puts `shell` under each recipe of bmake and of its sub-makes, and then
/// is the one that there was: bmake reads the first sys.mk of $MAKESYSPATH before all else (make(1)
/// of NetBSD), and with nothing but name and path .SHELL leaves it all that it knows of sh. With
/// -j, a target's commands are one script on the shell's standard input.
///
/// `path` is $MAKESYSPATH as it was; empty: /usr/share/mk.
Result<std::string> system_makefile(const std::string& shell, const std::string& path);

/// `directory` in front of it.
std::string system_path(const std::string& directory, const std::string& path);

}  // namespace hob::pmake
