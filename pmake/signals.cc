#include "pmake/signals.h"

#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace hob::pmake {

bool catches(pid_t pid, int signal) {
  const Result<std::string> status = read_file(fmt::format("/proc/{}/status", pid));
  if (!status.ok()) return false;
  const auto in = [&](std::string_view field) {
    const size_t at = status->find(field);
    return at != std::string::npos &&
           (std::strtoull(status->c_str() + at + field.size(), nullptr, 16) >> (signal - 1) & 1) !=
               0;
  };
  return in("SigCgt:\t") && !in("SigPnd:\t") && !in("ShdPnd:\t");
}

bool ignores(int signal) {
  struct sigaction now {};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace hob::pmake
