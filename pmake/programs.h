#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pmake/shell_line.h"

/// What is known of the programs that recipes run, by their names.
namespace hob::pmake {

enum class Kind : uint8_t {
  unknown,
  cheap,  ///< done in a millisecond, whatever its words
  reads,  ///< cheap while the files among its words are small
  home,   ///< needs this host: its rights, its processes, its devices, its network
  make,   ///< starts recipes itself
};

/// What a command runs in the end, once words like env, nice and `sh -c` have been read.
struct Program {
  Kind kind = Kind::unknown;
  std::string_view name;        ///< without its directory; empty: not known, or nothing is run
  std::span<const Word> words;  ///< the program and its arguments
  std::string_view reason;      ///< for Kind::home
  std::optional<std::string> script;  ///< shell text that it runs: `sh -c`, eval
  bool held = false;                  ///< a word before it needs this host: `sudo make`
};
Program program_of(const Command& command);

/// The words of a program of Kind::reads that may be files. Nothing: it reads what cannot be
/// listed.
std::optional<std::vector<Word>> files_read(const Program& program);

}  // namespace hob::pmake
