#pragma once

#include <termios.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace hob::cli {

/// The terminal's settings as tcgetattr(3) gives them; nothing if `fd` is no terminal.
std::optional<termios> terminal_settings(int fd);

struct TerminalSize {
  unsigned rows = 0;
  unsigned columns = 0;
};
/// The size of the terminal `fd`; zeros if it has none.
TerminalSize terminal_size(int fd);

/// The terminal in raw mode: every key goes to the job as it is, Ctrl-C and Ctrl-Z included.
///
/// While this object lives the terminal's settings are borrowed. They are given back by the
/// destructor, by give_back(), and by handlers for the signals that end a program by default and
/// that the event loop does not take (SIGSEGV, SIGABRT, SIGALRM, ...). One per process.
class RawTerminal {
 public:
  static Result<RawTerminal> take(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal() { give_back(); }

  /// The settings as they were; take_again() makes the terminal raw once more (after a stop).
  void give_back();
  void take_again();

 private:
  RawTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}
  int fd_;
  termios before_;
};

/// Whether the terminal `fd` has been hung up: closed by its owner, or the line was lost.
bool hung_up(int fd);

}  // namespace hob::cli
