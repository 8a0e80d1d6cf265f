#pragma once

#include <string>
#include <string_view>
#include <vector>

/// What a recipe's shell was asked to do, read from its words. Pure.
namespace hob::pmake {

/// The text of a recipe line: the last argument, after a "-c" that may be clustered ("-ec"). Empty:
/// this is no recipe line. `words` are a shell's arguments without its name.
std::string_view text_of(const std::vector<std::string>& words);

/// The words of the makefile's own SHELL, which may have several; /bin/sh where it has none.
std::vector<std::string> shell_words(std::string_view shell);

/// `text` with `own`, the makefile's SHELL (empty: /bin/sh), for each `ours`: make puts the shell
/// of ours that it starts for $(SHELL) in a recipe, too.
std::string with_own_shell(std::string text, std::string_view ours, std::string_view own);

/// What a command whose target has no name writes, if it can be seen; else empty.
std::string output_of(std::string_view text);

}  // namespace hob::pmake
