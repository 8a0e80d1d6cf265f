#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// Which recipes of a build leave home, and which stay. Pure; tests/pmake/placement_test.cc is its
/// table.
namespace hob::pmake {

/// What the user's `.remote.toml` says of a source tree (rules.h). Patterns are make's own: `%`
/// stands for any characters.
struct Rules {
  std::vector<std::string> home_targets;   ///< recipes of these targets stay (Sprite's .NOEXPORT)
  std::vector<std::string> home_commands;  ///< recipes with such a command stay: "doxygen %"
  std::vector<std::string> out_commands;   ///< such commands go, also where hob would keep them
  bool operator==(const Rules&) const = default;
};

/// One recipe line as make gives it to its shell.
struct RecipeLine {
  std::string_view command;  ///< the text after -c
  std::string_view target;   ///< $@; empty: not known
  /// make has left its jobserver open for it, which it does for lines with `+` or $(MAKE) alone.
  bool jobserver = false;
};

enum class Place : uint8_t {
  out,        ///< to another host
  home,       ///< here, and it takes one of the local slots
  cheap,      ///< here at once: it is done before another host has heard of it
  recursive,  ///< here, and free: a make, whose own recipes are what counts
};
struct Verdict {
  Place place = Place::out;
  std::string why;  ///< in few words, for people (`--watch`, the trace); empty where it goes out
};

/// The size of a file in the recipe's directory, in bytes; nothing that can be read: 0.
using SizeOf = std::function<uint64_t(std::string_view path)>;

/// The rule, first match first:
///  1. make has left its jobserver open, or a command of the line is a make: recursive.
///  2. the target matches home_targets: home.
///  3. a command matches home_commands: home.
///  4. a command matches out_commands: out.
///  5. what cannot work or is not meant elsewhere: home. Commands that need rights or processes of
///     this host (sudo, docker, kill, systemctl), that a job may not do (gdb, strace), that install
///     (install, and targets named install...); a line that leaves something behind in the
///     background (&); files of this host's own (/tmp, /var/tmp, /dev/shm, /run).
///  6. all of its commands are cheap: builtins, mkdir, rm, mv, ln, touch, chmod, ...; sed, cat, cp,
///     cmp and their like while what they read is small (size_of): cheap.
///  7. else out. Also what is not understood: loops, conditions and substitutions run there as
///  here.
Verdict place_of(const RecipeLine& line, const Rules& rules, const SizeOf& size_of);

/// Whether `text` is of the form `pattern` ("%" stands for any characters, as often as it comes).
bool matches(std::string_view pattern, std::string_view text);

}  // namespace hob::pmake
