#include "cli/say.h"

#include <unistd.h>

#include <cerrno>

namespace hob::cli {
namespace {

bool raw_terminal = false;
std::string program_name = "remote";

/// In one write, so that lines of several processes do not mix. There is nobody to tell if it
/// fails.
void write_once(const std::string& line) {
  while (::write(STDERR_FILENO, line.data(), line.size()) < 0 && errno == EINTR) {
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') c = '?';
  return out;
}

void say_as(std::string_view program) {
  program_name = program;
}

void say_to_raw_terminal(bool raw) {
  raw_terminal = raw;
}

void say(std::string_view text) {
  write_once(program_name + ": " + printable(text) + (raw_terminal ? "\r\n" : "\n"));
}

void say_over(std::string_view text) {
  write_once("\r" + printable(text) + "\x1b[K" + (text.empty() ? "" : "\r"));
}

}  // namespace hob::cli
