#pragma once

#include <string>
#include <vector>

#include "cli/grammar.h"

namespace hob::cli {

/// The completion script of `shell` (bash, zsh or fish), made from the grammar. Pure. Names of
/// hosts and jobs are asked of `remote` itself when the user presses the key.
std::string completion(const std::string& shell, const std::vector<VerbDescription>& verbs);

}  // namespace hob::cli
