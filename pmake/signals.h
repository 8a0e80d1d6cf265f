#pragma once

#include <sys/types.h>

namespace hob::pmake {

/// Whether `pid` has a handler for `signal`, and none of it is pending (SigCgt, SigPnd and ShdPnd,
/// proc_pid_status(5)). make sets a signal of which it dies back to its default when it comes
/// (commands.c, fatal_error_signal), so that this tells whether it has come. False for a process
/// that is not there.
bool catches(pid_t pid, int signal);

/// Whether `signal` has been sent to `pid`, which has not run since.
bool is_pending(pid_t pid, int signal);

/// Whether this process ignores `signal`, as those started without job control do.
bool ignores(int signal);

}  // namespace hob::pmake
