#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// `remote cc`: a compiler launcher for builds that pmake does not run (CMake, ninja, ccache, any
/// make). It starts the compiler on an idle host, or here; the compiler itself is the user's.
namespace hob::pmake {

/// What a compiler's words say. Pure.
struct CompileLine {
  /// It reads and writes files, and may run elsewhere. Not: questions (--version, -print-...), what
  /// preprocesses only, and what reads standard input.
  bool compiles = false;
  std::string output;  ///< what it writes: -o, or the object that -c makes; empty: not known
};
CompileLine read_compile_line(const std::vector<std::string>& arguments);

/// The first program `name` in `path` ($PATH) for which `is_other` says that it is there, can be
/// run, and is not this launcher. A name with a '/' is itself.
std::optional<std::string> find_compiler(std::string_view name, std::string_view path,
                                         const std::function<bool(const std::string&)>& is_other);

/// `words` as main() gets them. Called remote-cc, the launcher's first argument is the compiler; by
/// any other name (lib/hob/cc/gcc) it is the compiler of that name.
///
/// The server that chooses places is shared by all compilers of a user and starts with the first
/// (stand.h). Where there is none, and in recipes of a pmake, the compiler runs here. Returns an
/// exit status, or does not return.
int run_launcher(const std::vector<std::string>& words);

}  // namespace hob::pmake
