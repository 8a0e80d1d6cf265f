#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hob::migrate {

/// What was typed at a pty and its program has not read yet: it stands in the line discipline of
/// the kernel, and would stay behind when the program moves. `master` is the pty's; nobody may read
/// or write the terminal meanwhile.

/// Takes it out. The terminal's settings are as before. The end of a file (^D) that is typed ahead
/// comes as a NUL.
Result<std::string> take_unread_input(int master);

/// Puts it in, to be read before anything that is typed later. It was echoed when it was typed, so
/// it is not now.
Result<void> put_back_unread_input(int master, std::string_view bytes);

/// The line discipline holds no more (N_TTY_BUF_SIZE, tty.h).
inline constexpr size_t kMostUnreadInput = 4096;

}  // namespace hob::migrate
