#include "cli/standard_stream.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hob::cli {
namespace {

/// A nameless pipe, or a terminal that is not the master side of a pty: opening /dev/ptmx makes a
/// new pty. A FIFO (fifo(7)) whose last writer has gone is, for who opens it then, one that has had
/// no writer yet: its end would never be seen.
bool may_open_again(int fd, const struct stat& status) {
  if (S_ISFIFO(status.st_mode)) {
    const Result<std::string> name = read_link(fmt::format("/proc/self/fd/{}", fd));
    return name.ok() && name->starts_with("pipe:");
  }
  unsigned number = 0;
  return S_ISCHR(status.st_mode) && ::isatty(fd) == 1 && ::ioctl(fd, TIOCGPTN, &number) < 0;
}

}  // namespace

std::array<bool, 3> occupy_standard_descriptors() {
  std::array<bool, 3> closed{};
  for (int fd = 0; fd < 3; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    closed[static_cast<size_t>(fd)] = true;
    // The lowest free number is fd itself: all below it are taken.
    CHECK(::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) == fd);
  }
  return closed;
}

StandardStream::StandardStream(EventLoop& loop, int fd, Direction direction)
    : loop_(loop), fd_(fd), direction_(direction), kind_(Kind::file) {
  struct stat status {};
  if (::fstat(fd, &status) < 0) return;  // reads and writes will say why
  if (S_ISSOCK(status.st_mode)) {
    kind_ = Kind::socket;
  } else if (may_open_again(fd, status)) {
    const int mode = direction == Direction::input ? O_RDONLY : O_WRONLY;
    own_.reset(::open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                      mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    kind_ = own_ ? Kind::own : Kind::shared;
  }
}

bool StandardStream::ready() const {
  pollfd state{fd_, static_cast<short>(direction_ == Direction::input ? POLLIN : POLLOUT), 0};
  return ::poll(&state, 1, 0) != 0;
}

bool StandardStream::in_background() const {
  if (kind_ != Kind::own && kind_ != Kind::shared) return false;
  const pid_t foreground = ::tcgetpgrp(fd_);  // -1: no terminal, or not ours
  return foreground >= 0 && foreground != ::getpgrp();
}

StandardStream::Outcome StandardStream::outcome_of(ssize_t n) const {
  if (n > 0) return {Outcome::Kind::moved, static_cast<size_t>(n)};
  if (n == 0) return {Outcome::Kind::end};
  if (errno == EAGAIN || errno == EINTR) return {Outcome::Kind::blocked};
  return {Outcome::Kind::failed, 0, errno};
}

StandardStream::Outcome StandardStream::read(char* buffer, size_t size) {
  if (kind_ == Kind::socket) return outcome_of(::recv(fd_, buffer, size, MSG_DONTWAIT));
  if (kind_ == Kind::shared && !ready()) return {Outcome::Kind::blocked};
  return outcome_of(::read(fd(), buffer, size));
}

StandardStream::Outcome StandardStream::write(std::string_view bytes) {
  if (kind_ == Kind::socket)
    return outcome_of(::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  if (kind_ == Kind::shared) {
    if (!ready()) return {Outcome::Kind::blocked};
    bytes = bytes.substr(0, PIPE_BUF);
  }
  return outcome_of(::write(fd(), bytes.data(), bytes.size()));
}

void StandardStream::when_ready(std::function<void()> callback) {
  if (watch_) return;
  const uint32_t events = direction_ == Direction::input ? EPOLLIN : EPOLLOUT;
  auto watch = loop_.watch(fd(), events, [callback](uint32_t) { callback(); });
  if (watch.ok())
    watch_ = std::move(watch).value();
  else  // EPERM: a file, always ready
    watch_ = loop_.every(nanoseconds(1), std::move(callback));
}

}  // namespace hob::cli
