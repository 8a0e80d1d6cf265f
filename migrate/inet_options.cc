#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>

#include "migrate/inet.h"

namespace hob::migrate {
namespace {

struct Option {
  int level, name;
  size_t size;
};

// What any program may set and the kernel tells again (socket(7), tcp(7), ip(7), ipv6(7)). Not
// SO_PRIORITY, SO_MARK and the like: the engine may set more than the guest could. The order is
// part of the image's format.
constexpr std::array kOptions = {
    Option{SOL_SOCKET, SO_REUSEADDR, sizeof(int)},
    Option{SOL_SOCKET, SO_REUSEPORT, sizeof(int)},
    Option{SOL_SOCKET, SO_KEEPALIVE, sizeof(int)},
    Option{SOL_SOCKET, SO_OOBINLINE, sizeof(int)},
    Option{SOL_SOCKET, SO_BROADCAST, sizeof(int)},
    Option{SOL_SOCKET, SO_RCVLOWAT, sizeof(int)},
    Option{SOL_SOCKET, SO_LINGER, sizeof(linger)},
    Option{SOL_SOCKET, SO_RCVTIMEO, sizeof(timeval)},
    Option{SOL_SOCKET, SO_SNDTIMEO, sizeof(timeval)},
    Option{IPPROTO_TCP, TCP_NODELAY, sizeof(int)},
    Option{IPPROTO_TCP, TCP_CORK, sizeof(int)},
    Option{IPPROTO_TCP, TCP_KEEPIDLE, sizeof(int)},
    Option{IPPROTO_TCP, TCP_KEEPINTVL, sizeof(int)},
    Option{IPPROTO_TCP, TCP_KEEPCNT, sizeof(int)},
    Option{IPPROTO_TCP, TCP_USER_TIMEOUT, sizeof(int)},
    Option{IPPROTO_TCP, TCP_LINGER2, sizeof(int)},
    Option{IPPROTO_TCP, TCP_DEFER_ACCEPT, sizeof(int)},
    Option{IPPROTO_TCP, TCP_NOTSENT_LOWAT, sizeof(int)},
    Option{IPPROTO_IP, IP_TOS, sizeof(int)},
    Option{IPPROTO_IP, IP_TTL, sizeof(int)},
    Option{IPPROTO_IP, IP_PKTINFO, sizeof(int)},
    Option{IPPROTO_IPV6, IPV6_V6ONLY, sizeof(int)},
    Option{IPPROTO_IPV6, IPV6_TCLASS, sizeof(int)},
    Option{IPPROTO_IPV6, IPV6_UNICAST_HOPS, sizeof(int)},
    Option{IPPROTO_IPV6, IPV6_RECVPKTINFO, sizeof(int)},
};
constexpr int kBufferLocks = 72;  // SO_BUF_LOCK of <asm-generic/socket.h>, since Linux 5.14

bool applies(const Option& option, uint8_t family, uint8_t type) {
  if (option.level == IPPROTO_TCP) return type == SOCK_STREAM;
  if (option.level == IPPROTO_IPV6) return family == AF_INET6;
  return option.level == SOL_SOCKET || family == AF_INET;
}

Result<std::vector<std::byte>> read_option(const Fd& socket, const Option& option) {
  std::vector<std::byte> value(option.size);
  auto size = static_cast<socklen_t>(option.size);
  if (::getsockopt(socket.get(), option.level, option.name, value.data(), &size) < 0 ||
      size != option.size)
    return Error::sys("read the options of", "a socket");
  return value;
}

Result<int> number(const Fd& socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) < 0)
    return Error::sys("read the options of", "a socket");
  return value;
}

}  // namespace

size_t inet_option_count() {
  return kOptions.size();
}
size_t inet_option_size(size_t option) {
  return kOptions[option].size;
}

Result<void> read_options(const Fd& socket, InetImage& image) {
  image.options.resize(kOptions.size());
  for (size_t i = 0; i < kOptions.size(); i++)
    if (applies(kOptions[i], image.family, image.type))
      image.options[i] = TRY(read_option(socket, kOptions[i]));
  image.send_buffer = static_cast<uint32_t>(TRY(number(socket, SO_SNDBUF)));
  image.receive_buffer = static_cast<uint32_t>(TRY(number(socket, SO_RCVBUF)));
  image.buffer_locks = static_cast<uint8_t>(TRY(number(socket, kBufferLocks)));
  return {};
}

Result<void> set_options(const Fd& socket, const InetImage& image, bool has_address) {
  for (size_t i = 0; i < kOptions.size(); i++) {
    const Option& option = kOptions[i];
    const auto& value = image.options[i];
    // Not to be changed any more; a connection to ::1 has it set whatever its server had.
    if (has_address && option.name == IPV6_V6ONLY && option.level == IPPROTO_IPV6) continue;
    // Setting a thing to what it is can be refused, or make it the guest's own wish.
    if (value.empty() || TRY(read_option(socket, option)) == value) continue;
    if (::setsockopt(socket.get(), option.level, option.name, value.data(),
                     static_cast<socklen_t>(value.size())) < 0)
      return Error::sys("set option " + std::to_string(option.name) + " of", "a socket");
  }
  // The kernel doubles what is set, and then leaves it alone (socket(7)).
  const int locks = image.buffer_locks;
  const std::pair<int, uint32_t> buffers[] = {{SO_SNDBUF, image.send_buffer},
                                              {SO_RCVBUF, image.receive_buffer}};
  for (const auto& [name, wanted] : buffers) {
    const int half = static_cast<int>(wanted / 2);
    const int forced = name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    if (static_cast<uint32_t>(TRY(number(socket, name))) != wanted &&
        ::setsockopt(socket.get(), SOL_SOCKET, forced, &half, sizeof half) < 0)
      return Error::sys("set the buffers of", "a socket");
  }
  if (::setsockopt(socket.get(), SOL_SOCKET, kBufferLocks, &locks, sizeof locks) < 0)
    return Error::sys("set the buffers of", "a socket");
  return {};
}

}  // namespace hob::migrate
