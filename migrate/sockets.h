#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/types.h"

/// Unix sockets whose two ends are in the tree, of socketpair(2): with what is in their queues, and
/// also when the other end has been closed. All others are named as obstacles.
namespace hob::migrate {

/// One end at the source.
struct SocketEnd {
  SocketImage image;  ///< all but `peer` and `queue`
  ino_t peer = 0;     ///< inode of the other end; 0: closed
};
/// An Error with code kObstacle: it cannot be carried. `subject` is "fd 7".
Result<SocketEnd> look_at_socket(Tid process, int number, ino_t inode, const std::string& subject);

/// What waits to be read there; stays there. One element per message, for streams one in all.
/// Obstacles as above.
Result<std::vector<Bytes>> peek_queue(Tid process, int number, const SocketImage& socket,
                                      const std::string& subject);

/// The target's side: two connected sockets like those, with what waited in their queues. `second`
/// is null where the other end was closed, and closed then.
Result<std::pair<Fd, Fd>> make_sockets(const SocketImage& first, const SocketImage* second,
                                       const Credentials& user);

}  // namespace hob::migrate
