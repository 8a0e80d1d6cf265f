#include "migrate/files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "migrate/inet.h"
#include "migrate/notices.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/ptys.h"
#include "migrate/sockets.h"
#include "migrate/watches.h"

namespace hob::migrate {
namespace {

constexpr unsigned kNullMajor = 1, kTtyMajor = 5;

// null, zero, full, random, urandom: the same everywhere, without state.
bool plain_device(dev_t device) {
  if (major(device) != kNullMajor) return false;
  switch (minor(device)) {
    case 3:
    case 5:
    case 7:
    case 8:
    case 9:
      return true;
    default:
      return false;
  }
}

uint64_t number(std::string_view text, int base) {
  return std::strtoull(std::string(text).c_str(), nullptr, base);
}

bool is_slave_of(int master, const struct stat& st) {
  unsigned slave = 0;
  if (!S_ISCHR(st.st_mode) || ::ioctl(master, TIOCGPTN, &slave) < 0) return false;
  constexpr unsigned kPtySlaveMajor = 136;
  return st.st_rdev == makedev(kPtySlaveMajor + slave / 256, slave % 256);
}

// Is it one of the streams that the starter holds the other end of?
bool is_external(const Guest& guest, const struct stat& st, Description& d) {
  for (const External& e : guest.externals) {
    struct stat mine;
    if (guest.sandbox && e.kind == External::Kind::terminal) {
      if (!is_slave_of(e.starter_end, st)) continue;
    } else {
      // Of a stranger, `starter_end` is what it has itself, of whatever kind.
      if (guest.sandbox && !S_ISFIFO(st.st_mode)) continue;
      if (::fstat(e.starter_end, &mine) < 0) continue;
      if (mine.st_ino != st.st_ino || mine.st_dev != st.st_dev) continue;
    }
    d.kind = DescriptionKind::external;
    d.external = static_cast<uint8_t>(e.kind);
    return true;
  }
  return false;
}

Result<void> describe_timerfd(const proc::FdInfo& info, Description& d) {
  d.kind = DescriptionKind::timerfd;
  d.mode = static_cast<uint32_t>(number(info.field("clockid"), 10));
  d.value = number(info.field("ticks"), 10);
  d.arm_flags = static_cast<uint32_t>(number(info.field("settime flags"), 8));
  auto pair = [&](const char* key, int64_t& s, int64_t& ns) {
    return std::sscanf(std::string(info.field(key)).c_str(), "(%ld, %ld)", &s, &ns) == 2;
  };
  if (!pair("it_value", d.left_s, d.left_ns) || !pair("it_interval", d.interval_s, d.interval_ns))
    return Error{"read a timerfd: the kernel's text has an unknown form", EPROTO};
  return {};
}

Result<void> describe_epoll(const proc::FdInfo& info, Description& d) {
  d.kind = DescriptionKind::epoll;
  for (const std::string& line : info.rest) {
    EpollEntry e;
    if (line.compare(0, 4, "tfd:") != 0) continue;
    if (std::sscanf(line.c_str(), "tfd: %d events: %x data: %lx", &e.number, &e.events, &e.data) !=
        3)
      return Error{"read an epoll instance: the kernel's text has an unknown form", EPROTO};
    d.watched.push_back(e);
  }
  return {};
}

Result<void> describe_pipe(Description& d) {
  const auto access = d.flags & O_ACCMODE;
  d.kind = access == O_RDWR     ? DescriptionKind::pipe_both
           : access == O_RDONLY ? DescriptionKind::pipe_read
                                : DescriptionKind::pipe_write;
  return {};
}

// Things without a name in the file tree: "anon_inode:[eventfd]" and so on.
Result<void> describe_nameless(Tid process, int fd, const std::string& link,
                               const proc::FdInfo& info, Description& d,
                               const std::string& subject) {
  if (link == "anon_inode:[eventfd]") {
    d.kind = DescriptionKind::eventfd;
    d.value = number(info.field("eventfd-count"), 16);
    // Kernels before 6.5 do not tell; guessing would change what read(2) returns.
    if (info.field("eventfd-semaphore").empty())
      return obstacle(subject, "an eventfd, and this kernel does not tell its kind");
    d.mode = number(info.field("eventfd-semaphore"), 10) ? EFD_SEMAPHORE : 0;
    return {};
  }
  if (link == "anon_inode:[timerfd]") return describe_timerfd(info, d);
  if (link == "anon_inode:[signalfd]") {
    d.kind = DescriptionKind::signalfd;
    d.value = number(info.field("sigmask"), 16);
    return {};
  }
  if (link == "anon_inode:[eventpoll]") return describe_epoll(info, d);
  if (link == "anon_inode:inotify") return describe_watches(process, fd, info, d, subject);
  if (link == "anon_inode:[pidfd]" || link.compare(0, 7, "pidfd:[") == 0)
    return describe_pidfd(info, d, subject);
  constexpr std::string_view kNameless = "anon_inode:";  // of "[eventpoll]", but also of "inotify"
  if (link.compare(0, kNameless.size(), kNameless) == 0) {
    std::string kind = link.substr(kNameless.size());
    if (kind.size() > 2 && kind.front() == '[') kind = kind.substr(1, kind.size() - 2);
    return obstacle(subject, kind + " instance");
  }
  return obstacle(subject, link);
}

Result<void> describe_named(const Guest& guest, const std::string& link, const struct stat& st,
                            Tid process, int fd, const Fd& file, Description& d,
                            const std::string& subject) {
  d.path = link;
  if ((d.flags & O_PATH) && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
    // A symbolic link is a place itself, not where it leads.
    struct stat now {};
    const std::string through = proc::path(process, "root") + link;
    if (::lstat(through.c_str(), &now) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev)
      return obstacle(subject, "the place " + link + ", which has been moved or deleted");
    d.kind = DescriptionKind::name;
    d.mode = st.st_mode & S_IFMT;
    return {};
  }
  if (S_ISCHR(st.st_mode)) {
    if (auto pty = TRY(find_pty(guest, process, fd, st, subject))) {
      d.kind = pty->master ? DescriptionKind::pty_master : DescriptionKind::pty_slave;
      d.pty = pty->number;  // an index when it has been captured
      return {};
    }
    if (st.st_rdev == makedev(kTtyMajor, 0)) {
      d.kind = DescriptionKind::terminal;
      return {};
    }
    if (!plain_device(st.st_rdev)) return obstacle(subject, "the device " + link);
    d.kind = DescriptionKind::device;
    return {};
  }
  if (S_ISFIFO(st.st_mode)) {
    const auto now = stat_for(process, link);
    const bool has_path = now.ok() && now->st_ino == st.st_ino && now->st_dev == st.st_dev;
    if (!has_path && st.st_nlink > 0)
      return obstacle(subject, "the named pipe " + link + ", which has been moved");
    if (!has_path) d.path.clear();
    return describe_pipe(d);
  }
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return obstacle(subject, "the device " + link);
  const auto now = stat_for(process, link);
  const bool has_path = now.ok() && now->st_ino == st.st_ino;
  if (!has_path && S_ISDIR(st.st_mode)) return obstacle(subject, "the deleted directory " + link);
  struct statfs fs {};
  if (::fstatfs(file.get(), &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC &&
      (!has_path || !(st.st_mode & S_IROTH)))
    return obstacle(subject,
                    "the file " + link + (has_path ? "" : ", of a process that has ended"));
  // Moved elsewhere or with a second name: what is written there must reach the file that others
  // see.
  if (!has_path && st.st_nlink > 0)
    return obstacle(subject, "the file " + link + ", which has been moved");
  d.kind = !has_path             ? DescriptionKind::object
           : S_ISDIR(st.st_mode) ? DescriptionKind::directory
                                 : DescriptionKind::regular;
  return {};
}

}  // namespace

// Raw calls: what glibc does beyond them is for threads, and stubs have one.
AsUser::AsUser(const Credentials& user) {
  ::setfsgid(user.gid);
  ::setfsuid(user.uid);
  CHECK(static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) == user.uid);
}
AsUser::~AsUser() {
  ::setfsuid(0);
  ::setfsgid(0);
  CHECK(::setfsuid(static_cast<uid_t>(-1)) == 0);
}

AsEffectiveUser::AsEffectiveUser(const Credentials& user) {
  changed_ = ::setegid(user.gid) == 0 && ::seteuid(user.uid) == 0;
}
AsEffectiveUser::~AsEffectiveUser() {
  CHECK(::seteuid(0) == 0 && ::setegid(0) == 0);
}

static bool is_remote(const struct statfs& fs) {
  switch (static_cast<unsigned long>(fs.f_type)) {
    case NFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case AFS_SUPER_MAGIC:
    case V9FS_MAGIC:
    case FUSE_SUPER_MAGIC:
      return true;
    default:
      return false;
  }
}

Result<bool> is_remote(int fd, const std::string& path) {
  struct statfs fs;
  if (::fstatfs(fd, &fs) < 0) return Error::sys("look at the file system of", path);
  return is_remote(fs);
}

Result<bool> is_remote(const std::string& path) {
  struct statfs fs;
  if (::statfs(path.c_str(), &fs) < 0) return Error::sys("look at the file system of", path);
  return is_remote(fs);
}

Result<void> flush_if_remote(int fd, const std::string& path) {
  if (TRY(is_remote(fd, path)) && ::fsync(fd) < 0) return Error::sys("flush", path);
  return {};
}

Result<struct stat> stat_for(Tid process, const std::string& path) {
  struct stat st;
  const std::string through = proc::path(process, "root") + path;
  if (::stat(through.c_str(), &st) < 0) return Error::sys("look at", path);
  return st;
}

static Result<Described> describe(const Guest& guest, const DescriptorTable& table, int fd,
                                  const Fd& file) {
  const Tid process = table.process();
  Described described;
  const std::string link = TRY(table.link(fd));
  struct stat st;
  if (::fstat(file.get(), &st) < 0) return Error::sys("look at", link);
  auto info = TRY(proc::parse_fdinfo(TRY(table.information(fd))));

  Description& d = described.description;
  described.device = st.st_dev;
  described.inode = st.st_ino;
  described.close_on_exec = info.flags & O_CLOEXEC;
  d.flags = info.flags & ~static_cast<uint32_t>(O_CLOEXEC);
  d.position = info.position;
  const std::string subject = "fd " + std::to_string(fd);
  described.locks = TRY(parse_locks(info, subject));
  TRY(describe_owner(file, d, subject));
  if (is_external(guest, st, d)) return described;
  if (link.compare(0, 5, "pipe:") == 0) {
    TRY(describe_pipe(d));
    return described;
  }
  if (link.compare(0, 7, "socket:") == 0) {
    d.kind = TRY(is_inet(file)) ? DescriptionKind::inet : DescriptionKind::socket;
    if (d.kind == DescriptionKind::inet)
      TRY(look_at_inet(file, subject));
    else
      TRY(look_at_socket(process, fd, st.st_ino, subject));
    return described;
  }
  if (link.empty() || link[0] != '/')
    TRY(describe_nameless(process, fd, link, info, d, subject));
  else
    TRY(describe_named(guest, link, st, process, fd, file, d, subject));
  return described;
}

Result<Described> describe(const Guest& guest, const DescriptorTable& table, int fd) {
  Fd file = TRY(table.take(fd));
  Described described = TRY(describe(guest, table, fd, file));
  if (described.description.kind == DescriptionKind::regular) described.file = std::move(file);
  return described;
}

}  // namespace hob::migrate
