#include "pmake/gnu_make.h"

#include <fmt/core.h>

#include "pmake/recipe.h"

namespace hob::pmake {

std::string makefile(const std::string& shell) {
  // Values of a pattern count for each target and hide what a makefile sets for all. So its SHELL
  // is taken down before: make expands GNUMAKEFLAGS once more when it has read all makefiles, and
  // that outside of any target (main.c, "Decode switches again"). A make that has a jobserver of
  // its own (`$(MAKE) -j4`) has a pipe as well then, which is open for recursive lines alone: a
  // FIFO, make 4.4's own choice, is there for all of them. 4.3 knows no styles and says nothing.
  // With .ONESHELL make takes indentation away from what is for a Bourne shell (job.c,
  // is_bourne_compatible_shell), and knows one by its name. And the first of MAKEFILE_LIST is the
  // user's. And `$(MAKE) SHELL=$(SHELL)` gives SHELL on a command line, which beats all but
  // override.
  return fmt::format(
      "GNUMAKEFLAGS = $(eval override export {0} := $$(SHELL)) --jobserver-style=pipe\n"
      "%: override SHELL = $(if $(filter sh bash dash ash ksh rksh zsh,$(notdir $(firstword $({0}) "
      "sh))),"
      "{1},{2})\n"
      "%: export {3} = $@\n"
      "MAKEFILE_LIST :=\n",
      kShellVariable, shell, shell.substr(0, shell.rfind('/') + 1) + kAnyShell, kTargetVariable);
}

std::string make_flags(std::string_view flags, std::string_view auth, bool sync) {
  // The first word is letters without a dash, or empty; variables of the command line follow "--".
  std::string kept, variables;
  if (const size_t at = flags.find(" -- "); at != std::string_view::npos) {
    variables = flags.substr(at);
    flags = flags.substr(0, at);
  }
  bool first = true;
  for (size_t at = 0; at <= flags.size(); first = false) {
    const size_t end = std::min(flags.find(' ', at), flags.size());
    const std::string_view word = flags.substr(at, end - at);
    at = end + 1;
    if (word.starts_with("--jobserver") || word.starts_with("-j")) continue;
    if (word.starts_with("-O") || word.starts_with("--output-sync")) sync = false;
    if (!first && !word.empty()) kept += ' ';
    kept += word;
  }
  return fmt::format("{} -j{} --jobserver-auth={}{}", kept, sync ? " -Otarget" : "", auth,
                     variables);
}

}  // namespace hob::pmake
