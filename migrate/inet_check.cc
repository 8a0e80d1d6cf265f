#include <sys/socket.h>

#include "migrate/image_check.h"
#include "migrate/inet.h"

namespace hob::migrate {
namespace {

constexpr size_t kMaxQueue = 64u << 20;

/// What an address may be: on loopback, or, of one who waits to be found, any.
bool good_addresses(const InetImage& s) {
  const bool here = s.local.is_loopback() || (s.state < InetState::connected && s.local.is_any()) ||
                    (s.type == SOCK_DGRAM && s.local.is_any());
  if (s.family == AF_INET &&
      ((!s.local.is_v4() && s.local.port != 0) || (!s.remote.is_v4() && s.remote.port != 0)))
    return false;
  switch (s.state) {
    case InetState::fresh:
      return s.local.port == 0 || here;
    case InetState::listening:
    case InetState::ended:
      return here && s.local.port != 0;
    case InetState::connected:
      return here && s.local.port != 0 && s.remote.port != 0 && s.remote.is_loopback() &&
             (s.type == SOCK_DGRAM || s.local.is_v4() == s.remote.is_v4());
  }
  return false;
}

bool good_options(const InetImage& s) {
  if (s.options.size() != inet_option_count()) return false;
  for (size_t i = 0; i < s.options.size(); i++)
    if (!s.options[i].empty() && s.options[i].size() != inet_option_size(i)) return false;
  return s.buffer_locks <= 3 && s.send_buffer <= INT32_MAX && s.receive_buffer <= INT32_MAX;
}

bool good_peer(const Image& image, size_t i) {
  const InetImage& s = image.inet_sockets[i];
  if (s.peer == -1) return true;
  const auto peer = static_cast<size_t>(s.peer);
  if (s.peer < 0 || peer >= image.inet_sockets.size() || peer == i ||
      s.state != InetState::connected || s.type != SOCK_STREAM)
    return false;
  const InetImage& other = image.inet_sockets[peer];
  return other.peer == static_cast<int32_t>(i) && other.type == s.type && other.state == s.state &&
         other.local == s.remote && other.remote == s.local;
}

}  // namespace

Result<void> check_inet(const Image& image) {
  for (size_t i = 0; i < image.inet_sockets.size(); i++) {
    const InetImage& s = image.inet_sockets[i];
    if ((s.family != AF_INET && s.family != AF_INET6) ||
        (s.type != SOCK_STREAM && s.type != SOCK_DGRAM) || s.shutdown > 3 || s.broken > 1 ||
        s.backlog > INT32_MAX || !good_options(s))
      return invalid("a network socket is malformed");
    const bool ends = s.state == InetState::connected || s.state == InetState::ended;
    if ((s.type == SOCK_DGRAM &&
         (s.state == InetState::listening || s.state == InetState::ended)) ||
        s.queue.size() > kMaxQueue || (!s.queue.empty() && (s.type == SOCK_DGRAM || !ends)))
      return invalid("a network socket is in an impossible state");
    if (!good_addresses(s)) return invalid("a network socket has an address of another host");
    if (!good_peer(image, i)) return invalid("a connection's other end is not its own");
    const Description* d = find_description(image, s.process, s.descriptor);
    if (d == nullptr || d->kind != DescriptionKind::inet || d->socket != i)
      return invalid("a network socket is of no descriptor");
  }
  return {};
}

}  // namespace hob::migrate
