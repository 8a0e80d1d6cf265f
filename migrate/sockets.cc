#include "migrate/sockets.h"

#include <linux/rtnetlink.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "migrate/files.h"
#include "migrate/names.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/sock_diag.h"

namespace hob::migrate {
namespace {

// SocketImage::shutdown: RCV_SHUTDOWN and SEND_SHUTDOWN of the kernel.
constexpr uint8_t kNoMoreRead = 1, kNoMoreWritten = 2;

Result<int> option(const Fd& socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) < 0)
    return Error::sys("look at", "a socket");
  return value;
}

struct Facts {
  uint8_t state = 0, shutdown = 0;
  ino_t peer = 0;
  bool unaccepted = false;  // the other end is nobody's descriptor yet
  std::string name;
  ino_t file = 0;                  // of its path
  uint32_t waiting = 0, room = 0;  // listening: to be accepted, and how many may be
};

Facts parse(std::span<const std::byte> answer) {
  Facts facts;
  const auto* message = reinterpret_cast<const unix_diag_msg*>(answer.data());
  facts.state = message->udiag_state;
  auto left = static_cast<unsigned>(answer.size() - sizeof *message);
  auto* attribute = reinterpret_cast<const rtattr*>(message + 1);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == UNIX_DIAG_PEER) {
      uint32_t peer = 0;
      std::memcpy(&peer, RTA_DATA(attribute), sizeof peer);
      facts.peer = peer;
      facts.unaccepted = peer == 0;
    } else if (attribute->rta_type == UNIX_DIAG_NAME) {
      facts.name.assign(static_cast<const char*>(RTA_DATA(attribute)), RTA_PAYLOAD(attribute));
    } else if (attribute->rta_type == UNIX_DIAG_VFS) {
      unix_diag_vfs vfs;
      std::memcpy(&vfs, RTA_DATA(attribute), sizeof vfs);
      facts.file = vfs.udiag_vfs_ino;
    } else if (attribute->rta_type == UNIX_DIAG_RQLEN) {
      unix_diag_rqlen queue;
      std::memcpy(&queue, RTA_DATA(attribute), sizeof queue);
      facts.waiting = queue.udiag_rqueue;
      facts.room = queue.udiag_wqueue;
    } else if (attribute->rta_type == UNIX_DIAG_SHUTDOWN) {
      std::memcpy(&facts.shutdown, RTA_DATA(attribute), sizeof facts.shutdown);
    }
  }
  return facts;
}

/// Only the kernel knows who the other end is.
Result<Facts> ask_kernel(ino_t inode) {
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_ino = static_cast<uint32_t>(inode);
  request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN;
  request.udiag_cookie[0] = request.udiag_cookie[1] = ~0u;  // any
  return parse(TRY(ask_sock_diag(std::as_bytes(std::span(&request, 1)), sizeof(unix_diag_msg),
                                 "a unix socket", "unix_diag")));
}

}  // namespace

namespace {

Result<int64_t> timeout(const Fd& socket, int name) {
  timeval value = {};
  socklen_t size = sizeof value;
  if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) < 0)
    return Error::sys("read the time limits of", "a socket");
  return value.tv_sec * 1'000'000 + value.tv_usec;
}

std::string family(int domain) {
  switch (domain) {
    case AF_NETLINK:
      return "a netlink socket";
    case AF_PACKET:
      return "a packet socket";
    case AF_ALG:
      return "a socket of the kernel's ciphers (AF_ALG)";
    case AF_VSOCK:
      return "a connection to a virtual machine (AF_VSOCK)";
    case AF_BLUETOOTH:
      return "a bluetooth socket";
    default:
      return "a socket of family " + std::to_string(domain);
  }
}

}  // namespace

Result<SocketEnd> look_at_socket(Tid process, int number, ino_t inode, const std::string& subject) {
  const Fd socket = TRY(proc::borrow_descriptor(process, number));
  const int domain = TRY(option(socket, SO_DOMAIN));
  if (domain != AF_UNIX) return obstacle(subject, family(domain));
  Facts facts = TRY(ask_kernel(inode));
  SocketEnd end;
  end.image.type = static_cast<uint8_t>(TRY(option(socket, SO_TYPE)));
  const bool connected = facts.state == TCP_ESTABLISHED;  // of unix sockets too
  // So is one that has been closed; but that has shut this one down.
  if (facts.unaccepted && end.image.type != SOCK_DGRAM &&
      facts.shutdown != (kNoMoreRead | kNoMoreWritten))
    return obstacle(subject, "a unix socket whose connection nobody has accepted yet");
  end.peer = facts.peer;
  end.image.state = facts.state == TCP_LISTEN      ? SocketState::listening
                    : connected || facts.peer != 0 ? SocketState::pair
                                                   : SocketState::single;
  end.image.name = std::move(facts.name);
  if (!end.image.name.empty() && end.image.name[0] != '\0')
    while (end.image.name.back() == '\0') end.image.name.pop_back();
  end.image.inode = facts.file;
  end.image.backlog = facts.room;
  if (end.image.state == SocketState::listening && facts.waiting > 0)
    return obstacle(subject, "a unix socket with connections that nobody has accepted yet");
  if (end.image.state != SocketState::pair && facts.waiting > 0)
    return obstacle(subject, "a unix socket with messages to its address that nobody has read yet");
  end.image.shutdown = facts.shutdown;
  end.image.pass_credentials = TRY(option(socket, SO_PASSCRED)) != 0;
  end.image.send_buffer = static_cast<uint32_t>(TRY(option(socket, SO_SNDBUF)));
  end.image.receive_buffer = static_cast<uint32_t>(TRY(option(socket, SO_RCVBUF)));
  end.image.send_timeout = TRY(timeout(socket, SO_SNDTIMEO));
  end.image.receive_timeout = TRY(timeout(socket, SO_RCVTIMEO));
  end.image.low_water = static_cast<uint32_t>(TRY(option(socket, SO_RCVLOWAT)));
  return end;
}

Result<void> look_at_name(Tid process, SocketImage& socket, const std::string& subject) {
  if (socket.name.empty() || socket.name[0] == '\0') return {};
  const bool absolute = socket.name[0] == '/';
  const std::string path = proc::path(process, absolute ? "root" : "cwd/") + socket.name;
  struct stat st {};
  const bool there =
      ::lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == socket.inode;
  if (!there && socket.state != SocketState::pair)
    return obstacle(subject, "a unix socket whose file " + shown(socket.name) +
                                 " has been deleted, or is not seen from where the process is");
  socket.mode = st.st_mode & 0777;
  socket.has_file = there;
  return {};
}

Result<std::vector<Bytes>> peek_queue(Tid process, int number, const SocketImage& socket,
                                      const std::string& subject) {
  const Fd fd = TRY(proc::borrow_descriptor(process, number));
  std::vector<Bytes> queue;
  const int from_start = 0, usual = -1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof from_start) < 0)
    return Error::sys("look into", "a socket's queue");
  Bytes buffer(size_t{1} << 20);
  Result<void> read;
  for (;;) {
    alignas(cmsghdr) char control[256];
    iovec into{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(fd.get(), &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) {
      read = Error::sys("look into", "a socket's queue");
      break;
    }
    if (n == 0) {
      // The other end has been closed; or it is a message without bytes, which would look like
      // that.
      if (socket.type != SOCK_STREAM && !(socket.shutdown & kNoMoreRead))
        read = obstacle(subject, "an empty message on its way between processes");
      break;
    }
    bool descriptors = false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      descriptors = true;
      for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int copy;
        std::memcpy(&copy, CMSG_DATA(c) + at, sizeof copy);
        ::close(copy);
      }
    }
    if (descriptors || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
      read = obstacle(subject, "descriptors on their way between processes");
      break;
    }
    if (socket.pass_credentials) {
      read = obstacle(subject, "messages with credentials on their way between processes");
      break;
    }
    Bytes bytes(buffer.begin(), buffer.begin() + n);
    if (socket.type == SOCK_STREAM && !queue.empty()) {
      queue.front().insert(queue.front().end(), bytes.begin(), bytes.end());
    } else {
      queue.push_back(std::move(bytes));
    }
  }
  ::setsockopt(fd.get(), SOL_SOCKET, SO_PEEK_OFF, &usual, sizeof usual);
  TRY(std::move(read));
  return queue;
}

namespace {

Result<void> set_up(const Fd& socket, const SocketImage& image) {
  // The kernel doubles what is set (socket(7)).
  const int send_buffer = static_cast<int>(image.send_buffer / 2),
            receive_buffer = static_cast<int>(image.receive_buffer / 2);
  const int on = image.pass_credentials, low_water = static_cast<int>(image.low_water);
  const timeval send_timeout = {image.send_timeout / 1'000'000, image.send_timeout % 1'000'000},
                receive_timeout = {image.receive_timeout / 1'000'000,
                                   image.receive_timeout % 1'000'000};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &send_buffer, sizeof send_buffer) <
          0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer,
                   sizeof receive_buffer) < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout) < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &receive_timeout,
                   sizeof receive_timeout) < 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) < 0)
    return Error::sys("set up", "a socket");
  return {};
}

Result<void> fill(const Fd& from, const SocketImage& to) {
  for (const Bytes& message : to.queue) {
    size_t done = 0;
    do {
      const ssize_t n = ::send(from.get(), message.data() + done, message.size() - done,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) return Error::sys("refill", "a socket");
      done += static_cast<size_t>(n);
    } while (done < message.size());
  }
  return {};
}

Result<void> shut(const Fd& socket, uint8_t shutdown) {
  const int how = shutdown == (kNoMoreRead | kNoMoreWritten) ? SHUT_RDWR
                  : shutdown == kNoMoreRead                  ? SHUT_RD
                                                             : SHUT_WR;
  if (shutdown != 0 && ::shutdown(socket.get(), how) < 0)
    return Error::sys("shut down", "a socket");
  return {};
}

}  // namespace

Result<Fd> make_socket(const SocketImage& image, const Credentials& user) {
  Fd socket;
  {
    const AsEffectiveUser owner(user);
    if (owner.ok()) socket.reset(::socket(AF_UNIX, image.type | SOCK_CLOEXEC, 0));
    if (!socket) return Error::sys("make", "a socket");
  }
  TRY(set_up(socket, image));
  TRY(shut(socket, image.shutdown));
  return socket;
}

Result<std::pair<Fd, Fd>> make_sockets(const SocketImage& first, const SocketImage* second,
                                       const Credentials& user) {
  int ends[2];
  {
    const AsEffectiveUser owner(user);
    if (!owner.ok() || ::socketpair(AF_UNIX, first.type | SOCK_CLOEXEC, 0, ends) < 0)
      return Error::sys("make", "a pair of sockets");
  }
  std::pair<Fd, Fd> pair{Fd(ends[0]), Fd(ends[1])};
  TRY(set_up(pair.first, first));
  TRY(set_up(pair.second, second ? *second : first));
  TRY(fill(pair.second, first));
  if (second) TRY(fill(pair.first, *second));
  // Shutting one end down shows at the other: both were that way.
  if (second) {
    TRY(shut(pair.first, first.shutdown));
    TRY(shut(pair.second, second->shutdown));
  } else {
    pair.second.reset();
  }
  return pair;
}

}  // namespace hob::migrate
