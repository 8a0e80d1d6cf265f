#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// Which recipes of a build leave home, and which stay. Pure; tests/pmake/placement_table.cc is its
/// table.
namespace hob::pmake {

/// What the user's `.remote.toml` says of a source tree (rules.h). Patterns are make's own: `%`
/// stands for any characters.
///
/// A pattern without a blank is the name of a program, with or without its directory, whatever its
/// arguments ("doxygen"); with one it is the whole command, its words one blank apart and without
/// their quotes ("doxygen %.conf").
struct Rules {
  /// Recipes of these targets stay (Sprite's .NOEXPORT).
  std::vector<std::string> home_targets = {};
  /// Recipes with such a command stay.
  std::vector<std::string> home_commands = {};
  /// Such commands go, also where hob would keep them.
  std::vector<std::string> out_commands = {};
  bool operator==(const Rules&) const = default;
};

/// One recipe line as make gives it to its shell.
struct RecipeLine {
  std::string_view command;      ///< the text after -c
  std::string_view target = {};  ///< $@; empty: not known
  /// Where it runs. What is below the same folder of /tmp is the tree that is built, and no reason
  /// to stay; empty: not known.
  std::string_view directory = {};
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

/// The size of a file in bytes; nothing that can be read: 0. A path that is not absolute is one of
/// the recipe's directory.
using SizeOf = std::function<uint64_t(const std::string& path)>;

/// What a line may read and still be cheap, in bytes, all files together: sed takes some
/// milliseconds for it, which is what sending the recipe away costs.
constexpr uint64_t kSmall = 256 << 10;

/// The rule, first match first:
///  1. make has left its jobserver open, or a command of the line is a make: recursive.
///  2. the target matches home_targets: home.
///  3. a command matches home_commands: home.
///  4. a command matches out_commands: out.
///  5. what cannot work or is not meant elsewhere: home. Commands that need rights or processes of
///     this host (sudo, docker, kill, systemctl), that a job may not do (gdb, strace), that go to
///     other hosts themselves (ssh, git), that install; a line that leaves something behind in the
///     background (& without a wait).
///  6. all of its commands are cheap: builtins, mkdir, rm, mv, ln, touch, chmod, ...; sed, cat, cp,
///     cmp and their like while what they read is small (size_of): cheap. They may be in
///     conditions and substitutions, not in loops.
///  7. targets that install (install, install-..., ..._install), files of this host's own (/tmp,
///     /var/tmp, /dev/shm, /run), and code for the processor it is compiled on (-march=native):
///     home.
///  8. else out. Also what is not understood: loops and functions run there as here.
///
/// Commands count wherever they stand: in conditions, loops, substitutions, behind env or nice, in
/// the text of `sh -c`. `size_of` is asked last of all, when nothing else decides; it may be empty:
/// then no file is small.
Verdict place_of(const RecipeLine& line, const Rules& rules, const SizeOf& size_of);

/// Whether `text` is of the form `pattern` ("%" stands for any characters, as often as it comes).
bool matches(std::string_view pattern, std::string_view text);

}  // namespace hob::pmake
