#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Reads a shell command line as far as it can be read without running it: which programs it
/// starts, with which words, files and assignments. The grammar is POSIX's (Shell Command
/// Language, 2.2 to 2.10), with what bash adds where it comes up in makefiles. Nothing is expanded.
namespace hob::pmake {

/// One word, without its quotes.
struct Word {
  std::string_view text;  ///< what stands before the first $(...), `...` or ${x...}, if it has one
  bool opaque = false;    ///< the shell makes something else of it: $x, `...`, *, ~
  bool quoted = false;    ///< a part of it was in quotes: it is no reserved word
  bool assignment = false;
};

struct Redirection {
  Word target;
  bool input = false;
};

/// A simple command: nothing in it decides whether, or how often, it runs. `words` may be empty
/// ("x=1", "> file").
struct Command {
  std::vector<Word> assignments;
  std::vector<Word> words;
  std::vector<Redirection> redirections;
  uint32_t group = 0;  ///< the same for commands of one subshell or substitution: they share a cd
};

/// Commands inside subshells, substitutions, conditions and loops are commands like all others, in
/// the order of their ends. Time and memory are linear in the text, whatever stands in it.
class ShellLine {
 public:
  /// Views in here point into `text`, which must outlive the object, or into the object.
  explicit ShellLine(std::string_view text);
  ShellLine(const ShellLine&) = delete;
  ShellLine& operator=(const ShellLine&) = delete;

  const std::vector<Command>& commands() const { return commands_; }
  /// A command is left to itself with `&`.
  bool background() const { return background_; }
  /// Its commands may run more than once (loops, functions), or there is more than has been read:
  /// here-documents, arrays, nesting deeper than kDeepest, what is no shell language at all.
  bool beyond() const { return beyond_; }

  static constexpr size_t kDeepest = 64;

 private:
  friend class ShellReader;
  std::vector<Command> commands_;
  std::string unquoted_;  // texts of words with quotes; reserved once, so that views stay
  bool background_ = false;
  bool beyond_ = false;
};

}  // namespace hob::pmake
