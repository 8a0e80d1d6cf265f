#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "migrate/inet.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

using Bytes = std::vector<std::byte>;

Result<int> ask(const Fd& socket, unsigned long question) {
  int value = 0;
  if (::ioctl(socket.get(), question, &value) < 0)
    return Error::sys("look into", "a connection's queue");
  return value;
}

Result<void> set(const Fd& socket, int name, int value) {
  if (::setsockopt(socket.get(), IPPROTO_TCP, name, &value, sizeof value) < 0)
    return Error::sys("look into", "a connection's queue", errno,
                      errno == EPERM ? "hostd needs CAP_NET_ADMIN" : "");
  return {};
}

/// While it lives the kernel shows the queues of this connection. The connection goes on.
class Repairing {
 public:
  static Result<Repairing> begin(const Fd& socket) {
    Repairing repairing(socket);
    socklen_t size = sizeof repairing.reuse_;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &repairing.reuse_, &size) < 0)
      return Error::sys("look into", "a connection's queue");
    TRY(set(socket, TCP_REPAIR, TCP_REPAIR_ON));
    repairing.on_ = true;
    return repairing;
  }
  Repairing(Repairing&& other) noexcept
      : socket_(other.socket_), reuse_(other.reuse_), on_(std::exchange(other.on_, false)) {}
  Repairing& operator=(Repairing&&) = delete;
  ~Repairing() {
    if (!on_) return;
    const auto none = set(*socket_, TCP_REPAIR_QUEUE, TCP_NO_QUEUE);
    const auto off = set(*socket_, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
    // The kernel forgets it with the end of that mode.
    const int kept = ::setsockopt(socket_->get(), SOL_SOCKET, SO_REUSEADDR, &reuse_, sizeof reuse_);
    CHECK(none.ok() && off.ok() && kept == 0);
  }

  /// The sequence number behind the last byte of that queue.
  Result<uint32_t> end_of(int queue) const {
    TRY(set(*socket_, TCP_REPAIR_QUEUE, queue));
    uint32_t value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(socket_->get(), IPPROTO_TCP, TCP_QUEUE_SEQ, &value, &size) < 0)
      return Error::sys("look into", "a connection's queue");
    return value;
  }

 private:
  explicit Repairing(const Fd& socket) : socket_(&socket) {}
  const Fd* socket_;
  int reuse_ = 0;
  bool on_ = false;
};

/// At most `most` bytes, without taking them.
Result<Bytes> peek(const Fd& socket, size_t most) {
  Bytes bytes(most);
  if (most == 0) return bytes;
  const ssize_t n = ::recv(socket.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && errno != EAGAIN) return Error::sys("look into", "a connection's queue");
  bytes.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return bytes;
}

/// What a sender keeps because it has not been told that it has arrived.
struct Unsent {
  Bytes bytes;
  uint32_t end = 0;  ///< sequence number behind the last
};
Result<Unsent> peek_unsent(const Fd& writer, bool writer_done) {
  // The kernel gives whole packets, of which the first may have arrived in part.
  constexpr size_t kPacket = 1u << 17;
  const auto waiting = static_cast<size_t>(TRY(ask(writer, SIOCOUTQ)));
  const Repairing repairing = TRY(Repairing::begin(writer));
  Unsent unsent;
  unsent.end = TRY(repairing.end_of(TCP_SEND_QUEUE));
  unsent.bytes = TRY(peek(writer, waiting + kPacket));
  if (writer_done) unsent.end--;  // the end of a connection counts as a byte
  return unsent;
}

struct Arrived {
  Bytes bytes;
  uint32_t end = 0;
};
/// Bytes may arrive while we look: the kernel goes on where programs stand still.
Result<Arrived> peek_arrived(const Fd& reader, bool with_end) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; i++) {
    Arrived arrived;
    if (with_end) arrived.end = TRY(TRY(Repairing::begin(reader)).end_of(TCP_RECV_QUEUE));
    const auto waiting = static_cast<size_t>(TRY(ask(reader, SIOCINQ)));
    arrived.bytes = TRY(peek(reader, waiting));
    if (!with_end || arrived.end == TRY(TRY(Repairing::begin(reader)).end_of(TCP_RECV_QUEUE)))
      return arrived;
  }
  return Error{"look into a connection's queue: bytes keep coming", EBUSY};
}

}  // namespace

Result<Bytes> peek_stream(const Fd& reader, const Fd* writer, bool writer_done,
                          const std::string& subject) {
  // The sender first: what it has got rid of meanwhile is found at the reader.
  const bool more = writer != nullptr && TRY(ask(*writer, SIOCOUTQ)) > 0;
  const Unsent unsent = more ? TRY(peek_unsent(*writer, writer_done)) : Unsent{};
  Arrived arrived = TRY(peek_arrived(reader, more));
  if (!more) return std::move(arrived.bytes);
  const auto missing = static_cast<int32_t>(unsent.end - arrived.end);
  if (missing <= 0) return std::move(arrived.bytes);
  const auto count = static_cast<size_t>(missing);
  if (count > unsent.bytes.size())
    return obstacle(subject, "a connection with bytes on their way that the kernel does not show");
  arrived.bytes.insert(arrived.bytes.end(), unsent.bytes.end() - missing, unsent.bytes.end());
  return std::move(arrived.bytes);
}

}  // namespace hob::migrate
