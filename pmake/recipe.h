#pragma once

#include <string>
#include <vector>

namespace hob::pmake {

/// The names of what pmake tells its recipes' shells, in the environment.
inline constexpr const char* kSocketVariable = "REMOTE_MAKE";    ///< where pmake listens
inline constexpr const char* kTargetVariable = "REMOTE_TARGET";  ///< $@
inline constexpr const char* kShellVariable = "REMOTE_SHELL";    ///< the makefile's own SHELL
/// Set where recipes are scripts (bmake.h): what comes with -c is none.
inline constexpr const char* kScriptsVariable = "REMOTE_SCRIPTS";
inline constexpr const char* kRulesVariable = "REMOTE_RULES";  ///< packed_rules.h

/// The names of the recipes' shell, beside each other: for what a Bourne shell is to read, and for
/// other shells.
inline constexpr const char* kBourneShell = "sh";
inline constexpr const char* kAnyShell = "any";

/// The shell that make runs each recipe line with while pmake is its parent: decides where the line
/// runs (placement.h), has pmake choose the slot, and is the job's shadow while it runs there.
///
/// `name` is how it was called: what $(SHELL) is in recipes, whose own shell is put back into what
/// they say. `words` are its arguments, as a shell's ("-c TEXT"); without arguments, and with a
/// file as standard input, that is the script (bmake.h). Without a pmake, or with other arguments,
/// it is the makefile's own shell and nothing else. What hob loses runs once more, at home; a
/// command that failed never does. Returns an exit status, or does not return (exec, death by
/// signal).
int run_recipe(const std::string& name, std::vector<std::string> words);

}  // namespace hob::pmake
