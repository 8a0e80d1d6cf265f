#pragma once

#include "base/result.h"
#include "cli/options.h"
#include "wire/message.h"

namespace hob::cli {

/// Set in every job, and in a recipe whose place is chosen: a `remote cc` in it compiles there.
inline constexpr const char* kPlacedVariable = "REMOTE_PLACED";

/// The environment of this process, with the additions of `options` (the last of a name counts).
std::vector<std::string> environment_of(const RunOptions& options);

/// What a job inherits from the process that starts it: arguments, environment (and
/// kPlacedVariable), directory, umask, resource limits, terminal.
Result<pb::Program> program_of(const RunOptions& options);

/// Replaces this process by the command, here on this machine. Returns only if that failed, with
/// the exit status of convention (126, 127), after having said why on stderr.
int execute_here(const RunOptions& options);

}  // namespace hob::cli
