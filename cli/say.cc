#include "cli/say.h"

#include <unistd.h>

#include <cerrno>

namespace hob::cli {
namespace {

bool raw_terminal = false;

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') c = '?';
  return out;
}

void say_to_raw_terminal(bool raw) {
  raw_terminal = raw;
}

void say(std::string_view text) {
  const std::string line = "remote: " + printable(text) + (raw_terminal ? "\r\n" : "\n");
  // In one write, so that lines of several processes do not mix. There is nobody to tell if it
  // fails.
  while (::write(STDERR_FILENO, line.data(), line.size()) < 0 && errno == EINTR) {
  }
}

}  // namespace hob::cli
