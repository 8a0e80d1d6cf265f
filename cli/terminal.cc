#include "cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace hob::cli {
namespace {

// What the handlers of fatal signals need. Set before `raw_fd`, which says that they count.
termios settings_before;
volatile sig_atomic_t raw_fd = -1;

/// Setting a terminal from the background stops a process by default; giving it back must not.
void set_settings(int fd, const termios& settings) {
  sigset_t set, old;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTTOU);
  ::sigprocmask(SIG_BLOCK, &set, &old);
  ::tcsetattr(fd, TCSADRAIN, &settings);
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
}

/// What was to happen at each signal before: nothing by us, or a sanitizer's report.
struct sigaction actions_before[NSIG];

void restore_and_die(int signal) {
  if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSANOW, &settings_before);
  ::sigaction(signal, &actions_before[signal], nullptr);
  ::raise(signal);
}

void restore_at_fatal_signals() {
  struct sigaction action {};
  action.sa_handler = restore_and_die;
  action.sa_flags = static_cast<int>(SA_NODEFER);
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
                     SIGXFSZ, SIGSYS, SIGTRAP, SIGIO, SIGPWR, SIGSTKFLT}) {
    ::sigaction(signal, nullptr, &actions_before[signal]);
    if (actions_before[signal].sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

termios raw(const termios& settings) {
  termios raw = settings;
  ::cfmakeraw(&raw);
  return raw;
}

}  // namespace

std::optional<termios> terminal_settings(int fd) {
  termios settings{};
  if (::tcgetattr(fd, &settings) < 0) return std::nullopt;
  return settings;
}

TerminalSize terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0) return {};
  return {size.ws_row, size.ws_col};
}

Result<RawTerminal> RawTerminal::take(int fd) {
  CHECK(raw_fd < 0);
  RawTerminal terminal(fd, termios{});
  if (::tcgetattr(fd, &terminal.before_) < 0) return Error::sys("read", "the terminal's settings");
  settings_before = terminal.before_;
  restore_at_fatal_signals();
  raw_fd = fd;
  const termios wanted = raw(terminal.before_);
  if (::tcsetattr(fd, TCSADRAIN, &wanted) < 0) return Error::sys("set", "the terminal to raw mode");
  return terminal;
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

void RawTerminal::give_back() {
  if (fd_ < 0) return;
  set_settings(fd_, before_);
  raw_fd = -1;
}

void RawTerminal::take_again() {
  raw_fd = fd_;
  set_settings(fd_, raw(before_));
}

bool hung_up(int fd) {
  pollfd state{fd, 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & POLLHUP) != 0;
}

}  // namespace hob::cli
