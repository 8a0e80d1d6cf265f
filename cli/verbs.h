#pragma once

#include "cli/options.h"

namespace hob::cli {

/// Does what the user asked and returns the exit status. `argv` is passed on to the programs that
/// carry out `remote cell` and `remote make`.
int carry_out(const Command& command, char** argv);

}  // namespace hob::cli
