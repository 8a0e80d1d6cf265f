#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "migrate/files.h"
#include "migrate/inet.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

constexpr uint8_t kNoMoreRead = 1, kNoMoreWritten = 2;

/// Of TCP, living or ended.
bool is_connection(const InetImage& s) {
  return s.type == SOCK_STREAM && (s.state == InetState::connected || s.state == InetState::ended);
}

// After the commit nothing can be refused any more.
void report(const Result<void>& result) {
  if (!result) log::error("{}; the guest goes on without", result.error().text);
}

std::string shown(const InetImage& s) {
  return (s.type == SOCK_STREAM ? "TCP " : "UDP ") + s.local.text();
}

Result<void> set(const Fd& socket, int level, int name, int value) {
  if (::setsockopt(socket.get(), level, name, &value, sizeof value) < 0)
    return Error::sys("set up", "a connection", errno,
                      name == TCP_REPAIR ? "hostd needs CAP_NET_ADMIN" : "");
  return {};
}

Result<void> check_port(const InetImage& s) {
  const std::string text = TRY(read_file("/proc/sys/net/ipv4/ip_unprivileged_port_start"));
  if (s.local.port == 0 || s.local.port >= std::strtoul(text.c_str(), nullptr, 10)) return {};
  return Error{"bind " + shown(s) + ": users may not have that port here", EACCES};
}

/// bind(2) or connect(2). What the source has let go of may still be on its way out of the kernel.
int patiently(const std::function<int()>& call) {
  constexpr int kTries = 200;
  constexpr useconds_t kPause = 5000;
  for (int i = 0;; i++) {
    if (call() == 0) return 0;
    const bool taken = errno == EADDRINUSE || errno == EADDRNOTAVAIL;
    if (!taken || i == kTries) return errno;
    ::usleep(kPause);
  }
}

Result<void> bind_to(const Fd& socket, const InetImage& s, bool patient) {
  const InetAddress address = address_of(s.local, s.family);
  const auto call = [&] { return ::bind(socket.get(), address.get(), address.size); };
  const int code = patient ? patiently(call) : call() == 0 ? 0 : errno;
  if (code == 0) return {};
  return Error::sys("bind", shown(s), code,
                    code == EADDRINUSE ? "another program has that port here; end it" : "");
}

/// What one end of a connection is made with.
struct Side {
  const Fd& socket;
  uint8_t family;
  Endpoint local, remote;
  uint32_t waits = 0;  ///< bytes in its queue
};
// The sequence number that both ends go on with.
constexpr uint32_t kFirst = 1u << 30;

// Long enough to carry whatever waits in a queue; and what Linux uses for buffers of 6 MiB.
constexpr int kLargeBuffer = 1 << 29;
constexpr uint32_t kWindowShift = 7;
// More than TCP_MAXSEG can say, and less than loopback could; of tcp(7)'s options, RFC 9293's.
constexpr int kSegment = 32767;
enum : uint32_t { kOptionSegment = 2, kOptionWindow = 3, kOptionSack = 4, kOptionTimestamp = 8 };

Result<void> begin(const Side& side, bool patient) {
  const Fd& socket = side.socket;
  TRY(set(socket, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON));
  TRY(set(socket, SOL_SOCKET, SO_RCVBUFFORCE, kLargeBuffer));
  TRY(set(socket, IPPROTO_TCP, TCP_MAXSEG, kSegment));
  // In this mode an address can be had that others have, too: connections differ in their ends.
  const InetAddress local = address_of(side.local, side.family);
  if (::bind(socket.get(), local.get(), local.size) < 0)
    return Error::sys("bind", "TCP " + side.local.text());
  const std::pair<int, uint32_t> queues[] = {{TCP_SEND_QUEUE, kFirst},
                                             {TCP_RECV_QUEUE, kFirst - side.waits}};
  for (const auto& [queue, number] : queues) {
    TRY(set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue));
    TRY(set(socket, IPPROTO_TCP, TCP_QUEUE_SEQ, static_cast<int>(number)));
  }
  const InetAddress remote = address_of(side.remote, side.family);
  const auto call = [&] { return ::connect(socket.get(), remote.get(), remote.size); };
  if (const int code = patient ? patiently(call) : call() == 0 ? 0 : errno; code != 0)
    return Error::sys("connect", "TCP " + side.local.text() + " to " + side.remote.text(), code,
                      "another program has such a connection here");
  const tcp_repair_opt options[] = {{kOptionSegment, kSegment},
                                    {kOptionWindow, kWindowShift | kWindowShift << 16},
                                    {kOptionSack, 0},
                                    {kOptionTimestamp, 0}};
  if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, sizeof options) < 0)
    return Error::sys("set up", "a connection");
  return set(socket, IPPROTO_TCP, TCP_MAXSEG, 0);
}

/// How much may still be sent to one: something even where a full queue leaves no room, for the end
/// of a connection must come through.
uint32_t window_of(const InetImage* s) {
  constexpr int64_t kLeast = 4096, kMost = int64_t{0xffff} << kWindowShift;
  if (!s) return kMost;
  const int64_t room = int64_t{s->receive_buffer} / 2 - static_cast<int64_t>(s->queue.size());
  return static_cast<uint32_t>(std::clamp(room, kLeast, kMost));
}

/// When both queues are filled. `own` is what this end lets come, `other` what the other end does.
Result<void> open_window(const Fd& socket, uint32_t own, uint32_t other) {
  tcp_repair_window window{};
  window.snd_wl1 = kFirst - 1;  // whatever the other end says next is newer
  window.snd_wnd = window.max_window = other;
  window.rcv_wnd = own;
  window.rcv_wup = kFirst;
  if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof window) < 0)
    return Error::sys("set up", "a connection");
  return {};
}

Result<void> fill(const Fd& socket, std::span<const std::byte> bytes) {
  constexpr size_t kPiece = 1u << 16;
  if (!bytes.empty()) TRY(set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE));
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket.get(), bytes.data(), std::min(bytes.size(), kPiece), 0);
    if (n <= 0) return Error::sys("refill", "a connection", n < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<Fd> make_inet(const InetImage& image, const Credentials& user) {
  Fd socket;
  {
    const AsEffectiveUser owner(user);
    if (owner.ok()) socket.reset(::socket(image.family, image.type | SOCK_CLOEXEC, 0));
    if (!socket) return Error::sys("make", "a network socket");
  }
  TRY(set_options(socket, image, false));
  return socket;
}

Result<void> InetPlacement::bind_all() {
  for (size_t i = 0; i < sockets_.size(); i++) {
    const InetImage& s = image_.inet_sockets[i];
    const bool tcp = s.type == SOCK_STREAM;
    if (s.local.port == 0 || is_connection(s)) continue;
    // What is left of old connections for a minute (TIME_WAIT) does not stand in the way. A server
    // that did not ask for that has it again afterwards.
    if (tcp) TRY(set(sockets_[i], SOL_SOCKET, SO_REUSEADDR, 1));
    TRY(bind_to(sockets_[i], s, later_));
    // Before its connections are there: those have its address, too.
    if (s.state == InetState::listening &&
        ::listen(sockets_[i].get(), static_cast<int>(s.backlog)) < 0)
      return Error::sys("listen at", shown(s), errno, "another program has that port here; end it");
  }
  return {};
}

Result<void> InetPlacement::connect_pair(size_t first) {
  const InetImage& s = image_.inet_sockets[first];
  const InetImage* other = s.peer < 0 ? nullptr : &image_.inet_sockets[static_cast<size_t>(s.peer)];
  if (!other) {
    strangers_.push_back({first, Fd(::socket(s.family, SOCK_STREAM | SOCK_CLOEXEC, 0))});
    if (!strangers_.back().end) return Error::sys("make", "a network socket");
  }
  const Fd& second = other ? sockets_[static_cast<size_t>(s.peer)] : strangers_.back().end;
  // Of one that has ended nobody remembers where it led: from a port that no client gets, and
  // another for each.
  Endpoint there = s.remote;
  if (s.state == InetState::ended) (there = s.local).port = static_cast<uint16_t>(1 + first);
  const auto waits = [](const InetImage* image) {
    return image ? static_cast<uint32_t>(image->queue.size()) : 0;
  };
  TRY(begin({sockets_[first], s.family, s.local, there, waits(&s)}, later_));
  TRY(begin({second, other ? other->family : s.family, there, s.local, waits(other)}, later_));
  TRY(fill(sockets_[first], s.queue));
  if (other) TRY(fill(second, other->queue));
  TRY(open_window(sockets_[first], window_of(&s), window_of(other)));
  return open_window(second, window_of(other), window_of(&s));
}

Result<void> InetPlacement::connect_all() {
  for (size_t i = 0; i < sockets_.size(); i++) {
    const InetImage& s = image_.inet_sockets[i];
    if (!is_connection(s)) continue;
    if (s.peer < 0 || static_cast<size_t>(s.peer) > i) TRY(connect_pair(i));
  }
  for (size_t i = 0; i < sockets_.size(); i++) {
    const InetImage& s = image_.inet_sockets[i];
    if (s.type != SOCK_DGRAM || s.state != InetState::connected) continue;
    const InetAddress remote = address_of(s.remote, s.family);
    if (::connect(sockets_[i].get(), remote.get(), remote.size) < 0)
      return Error::sys("connect", shown(s) + " to " + s.remote.text());
  }
  return {};
}

Result<void> InetPlacement::place() {
  strangers_.clear();
  TRY(bind_all());
  return connect_all();
}

Result<void> InetPlacement::prepare(const std::function<Tid(uint32_t)>& pid, bool later) {
  later_ = later;
  for (const InetImage& s : image_.inet_sockets) {
    TRY(check_port(s));
    sockets_.push_back(TRY(proc::borrow_descriptor(pid(s.process), s.descriptor)));
    if (later && is_connection(s))
      TRY(set(sockets_.back(), IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON));
  }
  return later ? Result<void>() : place();
}

// All of them before anything else: what is said to the other side must find it as it will be.
void InetPlacement::leave_repair() {
  std::vector<const Fd*> connected;
  for (size_t i = 0; i < sockets_.size(); i++)
    if (is_connection(image_.inet_sockets[i])) connected.push_back(&sockets_[i]);
  for (const Stranger& stranger : strangers_) connected.push_back(&stranger.end);
  for (const Fd* socket : connected)
    report(set(*socket, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
}

void InetPlacement::end_strangers() {
  for (Stranger& stranger : strangers_) {
    if (image_.inet_sockets[stranger.of].state == InetState::ended)
      report(forget_when_closed(stranger.end));
    stranger.end.reset();
    constexpr int kLimit = 1000;  // ms; it arrives while we close, or a moment later
    pollfd arrives{sockets_[stranger.of].get(), POLLRDHUP, 0};
    if (::poll(&arrives, 1, kLimit) != 1)
      report(Error::sys("end", shown(image_.inet_sockets[stranger.of]), ETIMEDOUT));
  }
  strangers_.clear();
}

Result<void> InetPlacement::shut_down(size_t i) {
  const InetImage& s = image_.inet_sockets[i];
  if (!is_connection(s)) return {};
  const int fd = sockets_[i].get();
  if (s.state == InetState::ended) {
    int told = 0;
    socklen_t size = sizeof told;
    if (!s.broken && ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &told, &size) < 0)
      return Error::sys("end", shown(s));
    return {};
  }
  // The end of one side is seen at the other: there it is no wish of its own.
  const bool other_ended =
      s.peer < 0 || image_.inet_sockets[static_cast<size_t>(s.peer)].shutdown & kNoMoreWritten;
  if ((s.shutdown & kNoMoreWritten && ::shutdown(fd, SHUT_WR) < 0) ||
      (s.shutdown & kNoMoreRead && !other_ended && ::shutdown(fd, SHUT_RD) < 0))
    return Error::sys("shut down", shown(s));
  return {};
}

void InetPlacement::complete() {
  if (later_) report(place());
  leave_repair();
  end_strangers();
  // Room for the ends of connections, until they are through.
  for (size_t i = 0; i < sockets_.size(); i++) report(shut_down(i));
  for (size_t i = 0; i < sockets_.size(); i++)
    report(set_options(sockets_[i], image_.inet_sockets[i], true));
  sockets_.clear();
}

}  // namespace hob::migrate
