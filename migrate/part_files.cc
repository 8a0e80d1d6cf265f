#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "migrate/descriptions.h"
#include "migrate/fifos.h"
#include "migrate/files.h"
#include "migrate/here.h"
#include "migrate/inet.h"
#include "migrate/names.h"
#include "migrate/notices.h"
#include "migrate/opener.h"
#include "migrate/parts.h"
#include "migrate/pipes.h"
#include "migrate/ptys.h"
#include "migrate/sockets.h"

/// Files: descriptors, the open file descriptions behind them (shared after dup and fork), pipes
/// with their bytes, working directory, umask.
namespace hob::migrate {
namespace {

Result<void> check_fifo(Tid process, int fd, const std::string& path, const std::set<pid_t>& tree,
                        const std::string& subject) {
  struct stat st;
  if (::stat(proc::path(process, "fd/" + std::to_string(fd)).c_str(), &st) < 0)
    return Error::sys("look at", path);
  const pid_t pid = TRY(user_outside(st, tree));
  if (pid == 0) return {};
  return obstacle(subject, "the named pipe " + path + ", which process " + std::to_string(pid) +
                               " of this host has open, too");
}

std::set<pid_t> members(const Guest& guest) {
  std::set<pid_t> pids;
  if (auto view = view_tree(guest))
    for (Tid pid : view->pids) pids.insert(pid.value);
  return pids;
}

/// The sockets of the whole tree; looked for when the first is asked about.
class TreeSockets {
 public:
  explicit TreeSockets(const Guest& guest) : guest_(guest) {}
  bool has(ino_t inode) {
    if (!known_) {
      known_.emplace();
      for (const pid_t pid : members(guest_))
        if (auto descriptors = proc::descriptors(Tid{pid}))
          for (int fd : *descriptors) {
            struct stat st;
            if (::stat(proc::path(Tid{pid}, "fd/" + std::to_string(fd)).c_str(), &st) == 0 &&
                S_ISSOCK(st.st_mode))
              known_->insert(st.st_ino);
          }
    }
    return known_->count(inode) > 0;
  }

 private:
  const Guest& guest_;
  std::optional<std::set<ino_t>> known_;
};

constexpr const char* kPeerOutside = "a unix socket whose other end is outside the job";

Result<void> check_peer(Tid process, int fd, ino_t inode, TreeSockets& tree) {
  const std::string subject = "fd " + std::to_string(fd);
  const SocketEnd end = TRY(look_at_socket(process, fd, inode, subject));
  if (end.peer == 0 || tree.has(end.peer)) return {};
  return obstacle(subject, kPeerOutside);
}

void check(Inspection& i) {
  TreeSockets sockets(i.guest);
  struct stat directory;
  if (::stat(proc::path(i.pid, "cwd").c_str(), &directory) == 0 && directory.st_nlink == 0)
    i.object("working directory", "it has been deleted");
  auto descriptors = proc::descriptors(i.pid);
  if (!descriptors) return;  // has just ended
  const auto table = DescriptorTable::of(i.pid);
  if (!table) return;
  for (int fd : *descriptors) {
    const std::string number = std::to_string(fd);
    auto described = describe(i.guest, *table, fd);
    Result<void> good;
    if (!described)
      good = std::move(described).error();
    else if (is_pipe(described->description.kind) && !described->description.path.empty())
      good = check_fifo(i.pid, fd, described->description.path, members(i.guest), "fd " + number);
    else if (described->description.kind == DescriptionKind::socket)
      good = check_peer(i.pid, fd, described->inode, sockets);
    if (i.table) {
      const auto name = read_link(proc::path(i.pid, "fd/" + number));
      if (!name) continue;  // gone meanwhile
      // Where there is no rule, object() says why below.
      i.follows("fd " + number, *name,
                good ? rule_for(described->description.kind)
                     : Rule{"", Binding::refused, "it has been closed meanwhile"});
    }
    if (good) continue;
    const int code = good.error().code;
    if (code == kObstacle) i.object(good.error());
    // Who may not look cannot move it either. Everything else: gone meanwhile, no obstacle.
    if (code == EPERM || code == EACCES) i.object("fd " + number, "it cannot be looked at");
  }
}

Result<void> capture(ProcessCapture& c) {
  c.out.umask = c.process.status.umask;
  c.out.directory = TRY(read_link(proc::path(c.process.pid, "cwd")));
  struct stat st;
  if (::stat(proc::path(c.process.pid, "cwd").c_str(), &st) < 0 || st.st_nlink == 0)
    return obstacle("working directory of " + c.process.name(), "it has been deleted");
  return {};
}

// clone(2) with CLONE_FILES and without CLONE_THREAD; each would get a table of its own.
Result<void> check_tables(const std::vector<CaptiveProcess>& processes) {
  for (size_t i = 0; i < processes.size(); i++)
    for (size_t k = i + 1; k < processes.size(); k++)
      if (::syscall(SYS_kcmp, processes[i].pid.value, processes[k].pid.value, KCMP_FILES, 0, 0) ==
          0)
        return obstacle(processes[k].name(),
                        "it shares its descriptors with " + processes[i].name() + " (CLONE_FILES)");
  return {};
}

/// Finds out which ends belong together while descriptors are looked at one by one.
class SocketPairs {
 public:
  explicit SocketPairs(Image& image) : image_(image) {}

  Result<uint32_t> add(size_t index, Tid process, int fd, ino_t inode, const std::string& subject) {
    const auto [at, fresh] = known_.emplace(inode, static_cast<uint32_t>(image_.sockets.size()));
    if (!fresh) return at->second;
    SocketEnd end = TRY(look_at_socket(process, fd, inode, subject));
    if (end.image.state == SocketState::pair)
      end.image.queue = TRY(peek_queue(process, fd, end.image, subject));
    end.image.process = static_cast<uint32_t>(index);
    end.image.descriptor = fd;
    TRY(look_at_name(process, end.image, subject));
    if (!end.image.name.empty()) {
      if (end.image.name[0] == '\0' && !abstract_.insert(end.image.name).second)
        return obstacle(subject, "a connection to the abstract address " + shown(end.image.name));
      if (image_.network.empty()) image_.network = TRY(network_of(process));
    }
    image_.sockets.push_back(std::move(end.image));
    peers_.push_back({end.peer, subject});
    return at->second;
  }

  Result<void> finish() {
    for (size_t i = 0; i < peers_.size(); i++) {
      const auto& [peer, subject] = peers_[i];
      if (peer == 0) continue;
      const auto at = known_.find(peer);
      if (at == known_.end()) return obstacle(subject, kPeerOutside);
      image_.sockets[i].peer = static_cast<int32_t>(at->second);
    }
    // Of those that share a file it is the one's that listens, or the first's.
    std::set<std::string> files;
    for (const SocketState state : {SocketState::listening, SocketState::single, SocketState::pair})
      for (SocketImage& s : image_.sockets)
        if (s.state == state && s.has_file) s.has_file = files.insert(s.name).second;
    // A datagram socket may send to one that does not send to it.
    for (size_t i = 0; i < image_.sockets.size(); i++)
      if (const int32_t peer = image_.sockets[i].peer;
          peer >= 0 && image_.sockets[static_cast<size_t>(peer)].peer != static_cast<int32_t>(i))
        return obstacle(peers_[i].second, "a unix socket that sends to another's address");
    return {};
  }

 private:
  Image& image_;
  std::map<ino_t, uint32_t> known_;
  std::set<std::string> abstract_;
  std::vector<std::pair<ino_t, std::string>> peers_;
};

/// Opened when the first is asked about: 20 us.
class LazyTable {
 public:
  explicit LazyTable(Tid process) : process_(process) {}
  Result<std::reference_wrapper<const DescriptorTable>> open() {
    if (!table_) table_.emplace(TRY(DescriptorTable::of(process_)));
    return std::cref(*table_);
  }

 private:
  Tid process_;
  std::optional<DescriptorTable> table_;
};

bool has_lock(const proc::FdInfo& info) {
  return std::any_of(info.rest.begin(), info.rest.end(),
                     [](const std::string& line) { return line.starts_with("lock:"); });
}

Result<void> look_at_fifo(Tid process, int fd, const Description& d, const std::string& subject,
                          const std::set<pid_t>& tree, PipeImage& out) {
  out.path = d.path;
  TRY(check_fifo(process, fd, d.path, tree, subject));
  if (d.kind != DescriptionKind::pipe_read) return {};
  const Fd end = TRY(proc::borrow_descriptor(process, fd));
  pollfd look{end.get(), POLLIN, 0};
  if (::poll(&look, 1, 0) < 0) return Error::sys("look into", d.path);
  if (look.revents & POLLHUP) out.hung_up = 1;
  return {};
}

}  // namespace

Result<void> capture_descriptions(const Guest& guest, std::vector<CaptiveProcess>& processes,
                                  KnownFiles& known, Objects& objects, Image& image,
                                  std::vector<TakenBytes>& taken) {
  SeenDescriptions seen;
  std::map<std::pair<dev_t, ino_t>, uint32_t> pipes;
  std::set<uint32_t> filled;
  SocketPairs sockets(image);
  InetCollector inet(image);
  TRY(check_tables(processes));
  LockCollector locks(image);
  PtyCollector ptys(image, taken);
  bool input_read = false;
  std::set<pid_t> tree;  // as this host counts
  for (const CaptiveProcess& process : processes) tree.insert(process.pid.value);

  for (size_t p = 0; p < processes.size(); p++) {
    const Tid pid = processes[p].pid;
    std::set<uint32_t> here;  // descriptions
    LazyTable table(pid);
    for (int fd : TRY(proc::descriptors(pid))) {
      if (const auto number = seen.inherited(pid, fd)) {
        const DescriptorTable& all = TRY(table.open());
        const auto info = proc::parse_fdinfo(TRY(all.information(fd)));
        if (info && !has_lock(*info)) {
          seen.note(pid, fd, *number);
          here.insert(*number);
          image.processes[p].descriptors.push_back({fd, *number, (info->flags & O_CLOEXEC) != 0});
          continue;
        }
      }
      auto unchanged = known.still(pid, fd);
      auto described = unchanged ? Result<Described>(std::move(*unchanged))
                                 : describe(guest, TRY(table.open()), fd);
      if (!described) return std::move(described).error().in(processes[p].name());
      Description& d = described->description;
      auto number = seen.find(*described, pid, fd);
      const bool fresh = !number;
      if (fresh) {
        number = static_cast<uint32_t>(image.descriptions.size());
        seen.add(*described, pid, fd, *number);
        const auto pipe_key = std::pair{described->device, described->inode};
        const std::string subject = "fd " + std::to_string(fd) + " of " + processes[p].name();
        if (is_pipe(d.kind)) {
          d.pipe = pipes.emplace(pipe_key, static_cast<uint32_t>(pipes.size())).first->second;
          image.pipes.resize(pipes.size());
          PipeImage& pipe = image.pipes[d.pipe];
          if (d.kind != DescriptionKind::pipe_write && filled.insert(d.pipe).second)
            pipe = TRY(peek_pipe(pid, fd));
          if (!d.path.empty()) {
            TRY(look_at_fifo(pid, fd, d, subject, tree, pipe));
            pipe.device = described->device;
            pipe.inode = described->inode;
            image.machine = TRY(this_machine());
          }
        }
        if (d.kind == DescriptionKind::external &&
            d.external == static_cast<uint8_t>(External::Kind::input) && !input_read) {
          image.input = std::move(TRY(peek_pipe(pid, fd)).content);
          input_read = true;
        }
        if (described->file && (d.flags & O_ACCMODE) != O_RDONLY)
          TRY(flush_if_remote(described->file.get(), d.path));
        if (d.kind == DescriptionKind::object) {
          d.object =
              TRY(objects.add({proc::path(pid, "fd/" + std::to_string(fd)), d.path, subject}));
          objects.in_image(d.object);
        }
        if (d.kind == DescriptionKind::socket)
          d.socket = TRY(sockets.add(p, pid, fd, described->inode, subject));
        if (d.kind == DescriptionKind::inet)
          d.socket = TRY(inet.add(p, pid, fd, described->inode, subject));
        if (d.kind == DescriptionKind::pty_master || d.kind == DescriptionKind::pty_slave)
          d.pty = TRY(ptys.add(d, pid, fd, subject));
        d.owner = processes[p].node.pid;
        image.descriptions.push_back(std::move(d));
      }
      seen.note(pid, fd, *number);
      locks.add(p, fd, described->locks, fresh, here.insert(*number).second);
      image.processes[p].descriptors.push_back({fd, *number, described->close_on_exec});
    }
  }
  TRY(locks.finish());
  TRY(ptys.finish(processes));
  TRY(inet.finish());
  return sockets.finish();
}

namespace {

// From what process 0 has opened, or from oneself if one is it; out of the way of the guest's
// numbers.
Result<Fd> fetch(const Adoption& a, int place) {
  Fd taken;
  if (a.index != 0) {
    taken.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, a.opener, place, 0)));
    place = taken.get();
  }
  Fd fd(place < 0 ? -1 : ::fcntl(place, F_DUPFD_CLOEXEC, a.first_free));
  if (!fd) return Error::sys("take over", "a shared description");
  return fd;
}

// What is told in the numbers of one process: what an epoll instance watches, and which descriptor
// a signal on input is of.
Result<void> watch(const Adoption& a) {
  for (const DescriptorImage& d : a.process.descriptors) {
    const Description& epoll = a.image.descriptions[d.description];
    if (epoll.owner != a.process.pid) continue;
    const auto first = std::find_if(a.process.descriptors.begin(), a.process.descriptors.end(),
                                    [&](const auto& o) { return o.description == d.description; });
    if (first->number != d.number) continue;
    TRY(set_owner(d.number, epoll));
    for (const EpollEntry& entry : epoll.watched) {
      epoll_event event = {};
      event.events = entry.events;
      event.data.u64 = entry.data;
      if (::epoll_ctl(d.number, EPOLL_CTL_ADD, entry.number, &event) < 0)
        return Error::sys("watch", "descriptor " + std::to_string(entry.number));
    }
  }
  return {};
}

Result<void> fetch_mapped_objects(const Adoption& a) {
  if (a.index == 0) return {};  // they are there
  std::set<uint32_t> wanted;
  for (const MappingImage& m : a.process.mappings)
    if (m.kind == MappingKind::object) wanted.insert(m.file);
  if (a.process.executable_is_object) wanted.insert(a.process.executable);
  for (uint32_t object : wanted) {
    const int place = a.objects + static_cast<int>(object);
    Fd fd = TRY(fetch(a, place));
    if (::dup3(fd.get(), place, O_CLOEXEC) < 0) return Error::sys("place", "an object");
  }
  return {};
}

Result<void> adopt(Adoption& a) {
  ::umask(0);
  if (a.index == 0) {
    auto opened = open_shared(a);
    a.shared_files_opened();
    TRY(std::move(opened));
  } else if (!a.await_shared_files()) {
    return Error{"open the shared files: the first process of the tree failed", ECANCELED};
  }
  TRY(fetch_mapped_objects(a));
  // What the copy of the engine has open must not be there when the guest's descriptors come.
  int next = 0;
  for (const DescriptorImage& d : a.process.descriptors) {
    if (d.number > next)
      ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(d.number - 1), 0);
    const int place = a.opened + static_cast<int>(d.description);
    const Fd fetched = a.index == 0 ? Fd() : TRY(fetch(a, place));
    if (::dup3(fetched ? fetched.get() : place, d.number, d.close_on_exec ? O_CLOEXEC : 0) < 0)
      return Error::sys("place", "descriptor " + std::to_string(d.number));
    next = d.number + 1;
  }
  ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(a.own - 1), 0);
  TRY(watch(a));
  TRY(settle_ptys(a.image, a.process));
  {
    AsUser rights(a.guest.user);
    if (::chdir(a.process.directory.c_str()) < 0)
      return Error::sys("enter", a.process.directory, errno, "is it shared between the hosts?");
  }
  ::umask(static_cast<mode_t>(a.process.umask & 0777));
  return {};
}

Result<void> rebuild(Rebuild& r) {
  std::set<uint32_t> seen;
  for (const DescriptorImage& d : r.process.descriptors) {
    const Description& description = r.image.descriptions[d.description];
    if (description.owner == r.process.pid && description.position != 0 &&
        !(description.flags & O_PATH) && tells_of_processes(description) &&
        seen.insert(d.description).second)
      r.rights.must("seek in a file of /proc", SYS_lseek,
                    {static_cast<uint64_t>(d.number), description.position, SEEK_SET});
  }
  return {};
}

}  // namespace

const Part kFiles = {"files", check, capture, adopt, rebuild, capture};

}  // namespace hob::migrate
