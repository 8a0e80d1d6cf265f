#include "pmake/signals.h"

#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace hob::pmake {

namespace {

/// Whether a set of signals in a record of /proc/PID/status has this one.
bool has(const std::string& status, std::string_view set, int signal) {
  const size_t at = status.find(set);
  return at != std::string::npos &&
         (std::strtoull(status.c_str() + at + set.size(), nullptr, 16) >> (signal - 1) & 1) != 0;
}

Result<std::string> status_of(pid_t pid) {
  return read_file(fmt::format("/proc/{}/status", pid));
}

}  // namespace

bool is_pending(pid_t pid, int signal) {
  const Result<std::string> status = status_of(pid);
  return status.ok() && (has(*status, "SigPnd:\t", signal) || has(*status, "ShdPnd:\t", signal));
}

bool catches(pid_t pid, int signal) {
  const Result<std::string> status = status_of(pid);
  return status.ok() && has(*status, "SigCgt:\t", signal) && !is_pending(pid, signal);
}

bool ignores(int signal) {
  struct sigaction now {};
  return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace hob::pmake
