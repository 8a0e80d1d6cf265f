#include "migrate/socket_io.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "migrate/low_water.h"

namespace hob::migrate {
namespace {

Error closed() {
  return Error{"the link: closed by the peer", EPIPE};
}

Result<void> wait_for(int socket, short events, Time end) {
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    if (left <= 0) return Error{"the link: the peer did not answer in time", ETIMEDOUT};
    pollfd p{socket, events, 0};
    const int n = ::poll(&p, 1, static_cast<int>(std::min<int64_t>(left + 1, 1 << 30)));
    if (n > 0 && p.revents == POLLRDHUP) return closed();
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return Error::sys("wait for", "the link");
  }
}

}  // namespace

Result<void> await_room(int socket, Time end) {
  // A peer that has ended the connection makes no more room in a full window, but keeps it until
  // its threads are through with it: nothing but the end that it has sent says so.
  return wait_for(socket, POLLOUT | POLLRDHUP, end);
}

Result<void> read_all(int socket, void* to, size_t size, Time end) {
  LowWater low_water(socket);
  auto* p = static_cast<uint8_t*>(to);
  while (size > 0) {
    const ssize_t n = ::recv(socket, p, size, MSG_DONTWAIT);
    if (n > 0) {
      p += n;
      size -= static_cast<size_t>(n);
    } else if (n == 0) {
      return closed();
    } else if (errno == EAGAIN) {
      low_water.expect(size);
      TRY(wait_for(socket, POLLIN, end));
    } else if (errno != EINTR) {
      return Error::sys("read from", "the link");
    }
  }
  return {};
}

Result<void> write_all(int socket, const void* from, size_t size, Time end) {
  const auto* p = static_cast<const uint8_t*>(from);
  while (size > 0) {
    const ssize_t n = ::send(socket, p, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      p += n;
      size -= static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      TRY(await_room(socket, end));
    } else if (errno != EINTR) {
      return Error::sys("write to", "the link");
    }
  }
  return {};
}

}  // namespace hob::migrate
