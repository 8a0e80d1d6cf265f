#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace hob::pmake {

/// One command of a build, as it is brought to the build's server (build.h), which chooses its
/// place.
struct Errand {
  std::vector<std::string> command;  ///< its arguments, the program first
  std::string_view text;             ///< the command for people; outlives this
  std::string target;                ///< what it makes, for people; empty: not known
  /// A file that it writes, and that must not stay half written when hob loses it; empty: none.
  std::string output;
  std::string why_home;  ///< why it stays; empty: it may leave
};

/// Runs the command where the server says: here, by exec, or on a host, with this process as its
/// shadow. What hob loses runs once more, here; a command that failed never does. `server` that is
/// not open, or ends: here. Returns an exit status, or does not return (exec, death by signal).
int run_errand(const Errand& errand, Fd server);

/// Tells the server of a command that runs at home without asking.
void count_cheap(const Errand& errand, const Fd& server);

/// Replaces this process by the command. Returns only if that failed, with the exit status of
/// convention.
int run_here(std::vector<std::string> command);

}  // namespace hob::pmake
