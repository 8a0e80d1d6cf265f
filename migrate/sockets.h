#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/types.h"

/// Unix sockets: connected ones whose two ends are in the tree, with what is in their queues, and
/// also when the other end has been closed; such as have never been connected; and such as listen,
/// while nobody waits to be accepted. For their addresses see names.h. All others are named as
/// obstacles: with descriptors or credentials in their queues, datagrams sent to an address.
/// SO_PEERCRED tells the job's user and its first process.
namespace hob::migrate {

/// One end at the source.
struct SocketEnd {
  SocketImage image;  ///< all but `peer` and `queue`
  ino_t peer = 0;     ///< inode of the other end; 0: closed
};
/// An Error with code kObstacle: it cannot be carried. `subject` is "fd 7".
Result<SocketEnd> look_at_socket(Tid process, int number, ino_t inode, const std::string& subject);
/// Fills in what is to be known of the file, if its name is a path. Obstacles as above.
Result<void> look_at_name(Tid process, SocketImage& socket, const std::string& subject);

/// What waits to be read there; stays there. One element per message, for streams one in all.
/// Obstacles as above.
Result<std::vector<Bytes>> peek_queue(Tid process, int number, const SocketImage& socket,
                                      const std::string& subject);

/// The target's side: two connected sockets like those, with what waited in their queues. `second`
/// is null where the other end was closed, and closed then.
Result<std::pair<Fd, Fd>> make_sockets(const SocketImage& first, const SocketImage* second,
                                       const Credentials& user);

/// One that is not connected, without its name.
Result<Fd> make_socket(const SocketImage& image, const Credentials& user);

}  // namespace hob::migrate
