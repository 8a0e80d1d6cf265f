#include "migrate/outside.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <set>

#include "migrate/files.h"
#include "migrate/inet.h"
#include "migrate/sockets.h"

namespace hob::migrate {
namespace {

struct Seen {
  Inspection* process;
  int number;
  ino_t inode, other_end;  ///< 0: of a socket, closed
};

struct Connection {
  Inspection* process;
  int number;
  InetEnd end;
};
Result<InetEnd> inet_end(const DescriptorTable& table, int number) {
  return look_at_inet(TRY(table.take(number)), "");
}

constexpr unsigned kRead = 1, kWritten = 2;  // in the tree

std::string subject_of(const Seen& seen) {
  return "fd " + std::to_string(seen.number);
}

}  // namespace

void check_outside(std::vector<Inspection>& tree) {
  std::vector<Seen> sockets, pipes;
  std::vector<Connection> connections;
  std::set<ino_t> socket_ends;
  std::map<ino_t, unsigned> pipe_ends;
  for (Inspection& process : tree) {
    auto descriptors = proc::descriptors(process.pid);
    const auto table = DescriptorTable::of(process.pid);
    if (!descriptors || !table) continue;  // has just ended
    for (int number : *descriptors) {
      const auto described = describe(process.guest, *table, number);
      if (!described) continue;  // named by its part, or gone
      const DescriptionKind kind = described->description.kind;
      const ino_t inode = described->inode;
      if (kind == DescriptionKind::socket) {
        socket_ends.insert(inode);
        const auto end = look_at_socket(process.pid, number, inode, "");
        if (end) sockets.push_back({&process, number, inode, end->peer});
      }
      if (kind == DescriptionKind::inet) {
        socket_ends.insert(inode);
        auto end = inet_end(*table, number);
        if (end) connections.push_back({&process, number, std::move(*end)});
      }
      const unsigned ends = kind == DescriptionKind::pipe_read    ? kRead
                            : kind == DescriptionKind::pipe_write ? kWritten
                            : kind == DescriptionKind::pipe_both  ? kRead | kWritten
                                                                  : 0u;
      // Of named ones their part has seen who else has them open.
      if (ends == 0 || !described->description.path.empty()) continue;
      pipe_ends[inode] |= ends;
      pipes.push_back({&process, number, inode, 0});
    }
  }
  for (const Seen& seen : sockets)
    if (seen.other_end != 0 && !socket_ends.contains(seen.other_end))
      seen.process->object(subject_of(seen), "a unix socket whose other end is outside the job");
  for (const Connection& c : connections) {
    const bool answered = std::any_of(connections.begin(), connections.end(), [&](const auto& o) {
      return answers(o.end.image, c.end.image);
    });
    if (c.end.peer != 0 ? !socket_ends.contains(c.end.peer) : !answered)
      c.process->object(connection_outside(c.end.image, "fd " + std::to_string(c.number)));
  }
  for (const Seen& seen : pipes)
    if (!seen.process->guest.sandbox && pipe_ends[seen.inode] != (kRead | kWritten))
      seen.process->object(subject_of(seen), "a pipe whose other end is outside the job");
}

Tree as_job(Tree tree) {
  if (tree.empty()) return tree;
  const pid_t root = tree[0].pid, session = tree[0].session, group = tree[0].group;
  for (TreeNode& node : tree) {
    if (node.session == session) node.session = root;
    if (node.group == group) node.group = root;
  }
  return tree;
}

}  // namespace hob::migrate
