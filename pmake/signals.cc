#include "pmake/signals.h"

#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "base/fd.h"

namespace hob::pmake {

bool catches(pid_t pid, int signal) {
  constexpr std::string_view kField = "SigCgt:\t";
  const Result<std::string> status = read_file(fmt::format("/proc/{}/status", pid));
  if (!status.ok()) return false;
  const size_t at = status->find(kField);
  if (at == std::string::npos) return false;
  return std::strtoull(status->c_str() + at + kField.size(), nullptr, 16) >> (signal - 1) & 1;
}

bool ignores(int signal) {
  struct sigaction now {};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace hob::pmake
