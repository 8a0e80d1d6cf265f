#pragma once

#include <sys/socket.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/inet_image.h"
#include "migrate/migrate.h"
#include "migrate/types.h"

/// TCP and UDP sockets that are the job's own: TCP connections over loopback whose two ends are in
/// the tree, with the bytes on their way, or whose other end has been closed; such as listen, on
/// loopback or on all addresses, while nobody waits to be accepted; such as were never connected;
/// UDP sockets with nothing to read, unconnected or connected to one of the tree. All others are
/// named as obstacles.
///
/// Where a job is, its ports are: a server that listens on all addresses does so at the host that
/// the job is on. An address of one host alone (192.0.2.7) means nothing at another.
///
/// Queues are looked into and left as they are. What a sender has not got rid of yet can only be
/// seen in repair mode (TCP_REPAIR of tcp(7), CAP_NET_ADMIN), which ends at once; at the target it
/// counts as having arrived. Connections are made in repair mode as well: without a handshake, and
/// closed without a word as long as that mode lasts.
namespace hob::migrate {

/// Of IPv4 or IPv6.
Result<bool> is_inet(const Fd& socket);

/// One socket at the source.
struct InetEnd {
  InetImage image;  ///< all but `process`, `descriptor`, `peer` and `queue`
  ino_t peer = 0;   ///< inode of the other end; 0: closed, or none
};
/// An Error with code kObstacle: it cannot be carried. `subject` is "fd 7". Changes nothing.
Result<InetEnd> look_at_inet(const Fd& socket, const std::string& subject);

/// Is `other` who a UDP socket sends to? Of all others: true, they send to nobody in that way.
/// Pure.
bool answers(const InetImage& other, const InetImage& socket);

/// The words for one whose other end is not the job's.
Error connection_outside(const InetImage& image, const std::string& subject);

/// The source's side: collects sockets while the descriptors of the tree are looked at.
class InetCollector {
 public:
  explicit InetCollector(Image& image) : image_(image) {}
  /// Its index in Image::inet_sockets. Obstacles as above.
  Result<uint32_t> add(size_t process, Tid pid, int descriptor, ino_t inode,
                       const std::string& subject);
  /// Finds out which ends belong together, and reads their queues. Obstacles as above.
  Result<void> finish();

 private:
  struct Seen {
    Fd socket;
    ino_t peer;
    std::string subject;
  };
  Image& image_;
  std::map<ino_t, uint32_t> known_;
  std::vector<Seen> seen_;
};

/// What waits to be read at `reader`, and what `writer` (null: it has been closed) has for it and
/// could not get rid of yet. Both stand still. An Error with code kObstacle: bytes that cannot be
/// seen.
Result<std::vector<std::byte>> peek_stream(const Fd& reader, const Fd* writer, bool writer_done,
                                           const std::string& subject);

/// The target's side: one like it, of the user's, with its options, and without an address.
Result<Fd> make_inet(const InetImage& image, const Credentials& user);

/// Gives the sockets of new processes their addresses and connections. In a network where the
/// source still has them that waits until it has let go.
class InetPlacement {
 public:
  /// `image` outlives it.
  explicit InetPlacement(const Image& image) : image_(image) {}
  bool empty() const { return image_.inet_sockets.empty(); }
  /// Before the commit: all of it, or with `later` only a look whether it will be possible. An
  /// Error names the port that another program has here. If the processes end now, nobody notices.
  Result<void> prepare(const std::function<Tid(uint32_t process)>& pid, bool later);
  /// After the commit and when the source has let go. Cannot end the guest any more: what cannot be
  /// had is logged, and the guest goes on without.
  void complete();

 private:
  Result<void> bind_all();
  Result<void> connect_all();
  Result<void> connect_pair(size_t first);
  Result<void> place();
  void leave_repair();
  void end_strangers();
  Result<void> shut_down(size_t i);

  const Image& image_;
  bool later_ = false;
  std::vector<Fd> sockets_;  ///< as image_.inet_sockets
  struct Stranger {
    size_t of;  ///< whose other end it is
    Fd end;     ///< will be closed
  };
  std::vector<Stranger> strangers_;
};

/// The source's side, when the target is the live copy: connections end without a trace (TIME_WAIT)
/// as soon as they are closed.
Result<void> forget_when_closed(const Fd& socket);

/// `family` is the socket's; what bind(2), connect(2) want.
struct InetAddress {
  sockaddr_storage bytes = {};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};
InetAddress address_of(const Endpoint& endpoint, uint8_t family);

/// Options that are carried as they are (inet_options.cc).
size_t inet_option_count();
size_t inet_option_size(size_t option);
/// Fills them in, with the buffers; family and type are there.
Result<void> read_options(const Fd& socket, InetImage& image);
/// Sets those that differ. With the size of the two buffers, and who may change them.
Result<void> set_options(const Fd& socket, const InetImage& image, bool has_address);

}  // namespace hob::migrate
