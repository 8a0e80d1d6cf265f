#include "migrate/inet.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "migrate/here.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/sock_diag.h"

namespace hob::migrate {
namespace {

// The kernel's, of connections; tcp(7) has the names.
enum : uint8_t {
  kEstablished = 1,
  kSynSent,
  kSynReceived,
  kFinWait1,
  kFinWait2,
  kTimeWait,
  kClose,
  kCloseWait,
  kLastAck,
  kListen,
  kClosing,
  kNewSynReceived
};
constexpr uint8_t kNoMoreRead = 1, kNoMoreWritten = 2;

}  // namespace

InetAddress address_of(const Endpoint& endpoint, uint8_t family) {
  InetAddress address;
  if (family == AF_INET) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    if (endpoint.is_v4()) std::memcpy(&v4.sin_addr, &endpoint.address[12], sizeof v4.sin_addr);
    std::memcpy(&address.bytes, &v4, address.size = sizeof v4);
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    std::memcpy(&v6.sin6_addr, endpoint.address.data(), sizeof v6.sin6_addr);
    std::memcpy(&address.bytes, &v6, address.size = sizeof v6);
  }
  return address;
}

namespace {

Result<int> option(const Fd& socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) < 0)
    return Error::sys("look at", "a socket");
  return value;
}

Endpoint endpoint_of(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    std::copy(kMappedV4.begin(), kMappedV4.end(), endpoint.address.begin());
    std::memcpy(&endpoint.address[12], &v4.sin_addr, sizeof v4.sin_addr);
    endpoint.port = ntohs(v4.sin_port);
  } else {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address, sizeof v6);
    std::memcpy(endpoint.address.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
    endpoint.port = ntohs(v6.sin6_port);
  }
  return endpoint;
}

/// False: it has none.
Result<bool> name_of(const Fd& socket, bool peer, Endpoint& endpoint) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  const auto get = peer ? ::getpeername : ::getsockname;
  if (get(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) {
    if (errno == ENOTCONN) return false;
    return Error::sys("look at", "a socket");
  }
  endpoint = endpoint_of(address);
  return true;
}

/// What the kernel knows of the other end of a connection over loopback.
struct OtherEnd {
  uint8_t state = kClose;  ///< kClose: there is none
  ino_t inode = 0;         ///< 0: nobody's descriptor, any more or yet
};

Result<OtherEnd> ask_kernel(const InetImage& image) {
  inet_diag_req_v2 request{};
  const bool v4 = image.local.is_v4();
  request.sdiag_family = v4 ? AF_INET : AF_INET6;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = ~0u;
  request.id.idiag_sport = htons(image.remote.port);
  request.id.idiag_dport = htons(image.local.port);
  const size_t skip = v4 ? 12 : 0;
  std::memcpy(request.id.idiag_src, &image.remote.address[skip], 16 - skip);
  std::memcpy(request.id.idiag_dst, &image.local.address[skip], 16 - skip);
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  const auto answer = ask_sock_diag(std::as_bytes(std::span(&request, 1)), sizeof(inet_diag_msg),
                                    "a connection", "inet_diag");
  if (!answer && answer.error().code == ENOENT) return OtherEnd{};
  if (!answer) return answer.error();
  const auto* message = reinterpret_cast<const inet_diag_msg*>(answer->data());
  // One that listens at this address is found where there is no connection any more.
  if (message->idiag_state == kListen) return OtherEnd{};
  return OtherEnd{message->idiag_state, message->idiag_inode};
}

/// Of a connection of TCP's own states: `shutdown`, and who the other end is.
Result<ino_t> look_at_connection(InetImage& image, uint8_t state, bool no_more_read,
                                 const std::string& subject) {
  image.state = InetState::connected;
  const bool said_end = state == kFinWait1 || state == kFinWait2 || state == kClosing ||
                        state == kLastAck || state == kTimeWait;
  image.shutdown =
      static_cast<uint8_t>((no_more_read ? kNoMoreRead : 0) | (said_end ? kNoMoreWritten : 0));
  if (!image.remote.is_loopback() || !image.local.is_loopback())
    return connection_outside(image, subject);
  const OtherEnd other = TRY(ask_kernel(image));
  if (other.inode != 0) return other.inode;
  if (other.state == kEstablished || other.state == kCloseWait || other.state == kSynReceived ||
      other.state == kNewSynReceived)
    return obstacle(subject,
                    "a connection to " + image.remote.text() + " that nobody has accepted yet");
  // Closed, and its end has come to us: nothing can follow.
  if (state == kEstablished || state == kFinWait1 || state == kFinWait2)
    return obstacle(subject, "a connection to " + image.remote.text() +
                                 ", which has been closed with bytes still on their way");
  if (said_end) image.state = InetState::ended;
  return ino_t{0};
}

Result<ino_t> look_at_tcp(const Fd& socket, InetImage& image, const std::string& subject) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return Error::sys("look at", "a TCP socket");
  pollfd look{socket.get(), POLLIN | POLLRDHUP, 0};
  if (::poll(&look, 1, 0) < 0) return Error::sys("look at", "a TCP socket");
  char urgent;
  if (::recv(socket.get(), &urgent, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == EAGAIN)
    return obstacle(subject, "urgent data on its way (MSG_OOB)");
  switch (info.tcpi_state) {
    case kListen:
      image.state = InetState::listening;
      image.backlog = info.tcpi_sacked;  // of those that listen: how many may wait, and
      if (info.tcpi_unacked > 0)         // how many do
        return obstacle(subject, "a TCP socket with connections that nobody has accepted yet");
      return ino_t{0};
    case kSynSent:
    case kSynReceived:
    case kNewSynReceived:
      return obstacle(subject, "a connection that is being made");
    case kClose:
      if (!(look.revents & POLLRDHUP) || image.local.port == 0) return ino_t{0};  // fresh
      image.state = InetState::ended;
      image.shutdown = kNoMoreRead | kNoMoreWritten;
      image.broken = (look.revents & POLLERR) != 0;
      return ino_t{0};
    default:
      return look_at_connection(image, info.tcpi_state, look.revents & POLLRDHUP, subject);
  }
}

Result<void> look_at_udp(const Fd& socket, InetImage& image, const std::string& subject) {
  pollfd look{socket.get(), POLLIN, 0};
  if (::poll(&look, 1, 0) < 0) return Error::sys("look at", "a UDP socket");
  if (look.revents & (POLLIN | POLLERR))
    return obstacle(subject, "a UDP socket with messages that nobody has read yet");
  if (image.remote.port != 0 && !image.remote.is_loopback())
    return connection_outside(image, subject);
  image.state = image.remote.port == 0 ? InetState::fresh : InetState::connected;
  return {};
}

}  // namespace

Result<bool> is_inet(const Fd& socket) {
  const int domain = TRY(option(socket, SO_DOMAIN));
  return domain == AF_INET || domain == AF_INET6;
}

bool answers(const InetImage& other, const InetImage& socket) {
  if (socket.type != SOCK_DGRAM || socket.state != InetState::connected) return true;
  return other.type == SOCK_DGRAM && other.local.port == socket.remote.port &&
         (other.local == socket.remote || other.local.is_any());
}

Error connection_outside(const InetImage& image, const std::string& subject) {
  return obstacle(subject, "a network connection to " + image.remote.text());
}

Result<InetEnd> look_at_inet(const Fd& socket, const std::string& subject) {
  InetEnd end;
  InetImage& image = end.image;
  image.family = static_cast<uint8_t>(TRY(option(socket, SO_DOMAIN)));
  image.type = static_cast<uint8_t>(TRY(option(socket, SO_TYPE)));
  const int protocol = TRY(option(socket, SO_PROTOCOL));
  if (protocol == IPPROTO_MPTCP) return obstacle(subject, "a multipath connection (MPTCP)");
  if (protocol != (image.type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
    return obstacle(subject, "a network socket that is neither TCP nor UDP");
  if (TRY(option(socket, SO_BINDTOIFINDEX)) != 0)
    return obstacle(subject, "a socket bound to a network interface (SO_BINDTODEVICE)");
  TRY(name_of(socket, false, image.local));
  TRY(name_of(socket, true, image.remote));
  TRY(read_options(socket, image));
  if (image.type == SOCK_STREAM)
    end.peer = TRY(look_at_tcp(socket, image, subject));
  else
    TRY(look_at_udp(socket, image, subject));
  if (image.local.port != 0 && !image.local.is_any() && !image.local.is_loopback())
    return obstacle(
        subject, "a network socket at " + image.local.text() + ", an address of this host alone");
  return end;
}

Result<uint32_t> InetCollector::add(size_t process, Tid pid, int descriptor, ino_t inode,
                                    const std::string& subject) {
  const auto [at, fresh] = known_.emplace(inode, static_cast<uint32_t>(image_.inet_sockets.size()));
  if (!fresh) return at->second;
  Fd socket = TRY(proc::borrow_descriptor(pid, descriptor));
  InetEnd end = TRY(look_at_inet(socket, subject));
  end.image.process = static_cast<uint32_t>(process);
  end.image.descriptor = descriptor;
  if (image_.network.empty()) image_.network = TRY(network_of(pid));
  image_.inet_sockets.push_back(std::move(end.image));
  seen_.push_back({std::move(socket), end.peer, subject});
  return at->second;
}

Result<void> InetCollector::finish() {
  auto& all = image_.inet_sockets;
  for (size_t i = 0; i < all.size(); i++) {
    InetImage& socket = all[i];
    if (socket.type == SOCK_DGRAM) {
      if (std::none_of(all.begin(), all.end(),
                       [&](const InetImage& other) { return answers(other, socket); }))
        return connection_outside(socket, seen_[i].subject);
      continue;
    }
    const Fd* writer = nullptr;
    bool writer_done = false;
    if (seen_[i].peer != 0) {
      const auto at = known_.find(seen_[i].peer);
      if (at == known_.end()) return connection_outside(socket, seen_[i].subject);
      if (at->second == i) return obstacle(seen_[i].subject, "a connection to itself");
      socket.peer = static_cast<int32_t>(at->second);
      writer = &seen_[at->second].socket;
      writer_done = all[at->second].shutdown & kNoMoreWritten;
    }
    if (socket.state == InetState::connected || socket.state == InetState::ended)
      socket.queue = TRY(peek_stream(seen_[i].socket, writer, writer_done, seen_[i].subject));
  }
  return {};
}

Result<void> forget_when_closed(const Fd& socket) {
  const linger at_once = {1, 0};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0)
    return Error::sys("end", "a connection");
  return {};
}

}  // namespace hob::migrate
