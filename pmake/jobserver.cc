#include "pmake/jobserver.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace hob::pmake {
namespace {

/// The byte is make's own for tokens.
constexpr char kToken = '+';

Result<Fd> open_again(int fd, int flags) {
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  Fd again{::open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC)};
  if (!again) return Error::sys("open", path);
  return again;
}

}  // namespace

Result<std::unique_ptr<Jobserver>> Jobserver::create(EventLoop& loop) {
  std::unique_ptr<Jobserver> server(new Jobserver(loop));
  int ends[2];
  if (::pipe(ends) < 0) return Error::sys("make", "a pipe for make's jobserver");
  server->read_ = Fd(ends[0]);
  server->write_ = Fd(ends[1]);
  server->own_read_ = TRY(open_again(ends[0], O_RDONLY));
  server->own_write_ = TRY(open_again(ends[1], O_WRONLY));
  // wire::kMostHeld slots and home's own fit well into a pipe (65,536 bytes, pipe(7)).
  return server;
}

std::string Jobserver::auth() const {
  return fmt::format("{},{}", read_.get(), write_.get());
}

uint32_t Jobserver::idle() const {
  int bytes = 0;
  if (::ioctl(own_read_.get(), FIONREAD, &bytes) < 0) return 0;
  return static_cast<uint32_t>(bytes);
}

void Jobserver::set(uint32_t tokens) {
  wanted_ = tokens;
  while (given_ < wanted_) {
    const ssize_t n = ::write(own_write_.get(), &kToken, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n != 1) break;  // full: more than any make uses
    ++given_;
  }
  take_back();
}

void Jobserver::take_back() {
  while (given_ > wanted_) {
    char token;
    const ssize_t n = ::read(own_read_.get(), &token, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n != 1) break;
    --given_;
  }
  if (given_ <= wanted_) return watch_.reset();
  if (watch_) return;
  if (auto watch = loop_.watch(own_read_.get(), EPOLLIN, [this](uint32_t) { take_back(); });
      watch.ok())
    watch_ = std::move(watch).value();
}

}  // namespace hob::pmake
