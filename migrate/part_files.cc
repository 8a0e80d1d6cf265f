#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "migrate/files.h"
#include "migrate/parts.h"

/// Files: descriptors, the open file descriptions behind them (shared after dup and fork), pipes
/// with their bytes, working directory, umask.
namespace hob::migrate {
namespace {

void check(Inspection& i) {
  auto descriptors = proc::descriptors(i.pid);
  if (!descriptors) return;  // has just ended
  for (int fd : *descriptors) {
    auto described = describe(i.guest, i.pid, fd);
    if (described || described.error().code != kObstacle) continue;  // gone meanwhile: no obstacle
    const std::string& text = described.error().text;
    const size_t colon = text.find(": "), end = text.rfind("; cannot");
    i.object(text.substr(0, colon), text.substr(colon + 2, end - colon - 2));
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

bool same_description(Tid a, int fd_a, Tid b, int fd_b) {
  return ::syscall(SYS_kcmp, a.value, b.value, KCMP_FILE, fd_a, fd_b) == 0;
}

// Reads what is in a pipe and leaves it there.
Result<PipeImage> peek_pipe(Tid process, int fd) {
  const std::string path = proc::path(process, "fd/" + std::to_string(fd));
  Fd pipe = TRY(open_file(path, O_RDONLY | O_NONBLOCK));
  PipeImage out;
  const int capacity = ::fcntl(pipe.get(), F_GETPIPE_SZ);
  int waiting = 0;
  if (capacity < 0 || ::ioctl(pipe.get(), FIONREAD, &waiting) < 0)
    return Error::sys("look into", path);
  out.capacity = static_cast<uint32_t>(capacity);
  if (waiting == 0) return out;
  Pipe copy = TRY(make_pipe(O_NONBLOCK));
  // Of the same size: tee(2) copies buffer by buffer, full or not.
  if (::fcntl(copy.write_end.get(), F_SETPIPE_SZ, capacity) < 0)
    return Error::sys("enlarge", "a pipe");
  const ssize_t n = ::tee(pipe.get(), copy.write_end.get(), static_cast<size_t>(waiting), 0);
  if (n != waiting) return Error::sys("copy the bytes in", path, n < 0 ? errno : EIO);
  out.content.resize(static_cast<size_t>(n));
  if (::read(copy.read_end.get(), out.content.data(), out.content.size()) != n)
    return Error::sys("copy the bytes in", path);
  return out;
}

}  // namespace

Result<void> capture_descriptions(const Guest& guest, std::vector<CaptiveProcess>& processes,
                                  Objects& objects, Image& image) {
  struct Seen {
    Tid process;
    int fd;
    uint32_t description;
  };
  using Key = std::tuple<dev_t, ino_t, uint8_t, uint32_t>;
  std::map<Key, std::vector<Seen>> seen;  // only descriptors that look alike are compared
  std::map<std::pair<dev_t, ino_t>, uint32_t> pipes;
  std::set<uint32_t> filled;
  bool input_read = false;

  for (size_t p = 0; p < processes.size(); p++) {
    const Tid pid = processes[p].pid;
    for (int fd : TRY(proc::descriptors(pid))) {
      auto described = describe(guest, pid, fd);
      if (!described) return std::move(described).error().in(processes[p].name());
      Description& d = described->description;
      const Key key{described->device, described->inode, static_cast<uint8_t>(d.kind), d.flags};
      auto& alike = seen[key];
      auto same = std::find_if(alike.begin(), alike.end(), [&](const Seen& s) {
        return same_description(s.process, s.fd, pid, fd);
      });
      if (same == alike.end()) {
        const auto pipe_key = std::pair{described->device, described->inode};
        if (d.kind == DescriptionKind::pipe_read || d.kind == DescriptionKind::pipe_write) {
          d.pipe = pipes.emplace(pipe_key, static_cast<uint32_t>(pipes.size())).first->second;
          image.pipes.resize(pipes.size());
          if (d.kind == DescriptionKind::pipe_read && filled.insert(d.pipe).second)
            image.pipes[d.pipe] = TRY(peek_pipe(pid, fd));
        }
        if (d.kind == DescriptionKind::external &&
            d.external == static_cast<uint8_t>(External::Kind::input) && !input_read) {
          image.input = std::move(TRY(peek_pipe(pid, fd)).content);
          input_read = true;
        }
        if (d.kind == DescriptionKind::regular && (d.flags & O_ACCMODE) != O_RDONLY) {
          Fd file =
              TRY(open_file(proc::path(pid, "fd/" + std::to_string(fd)), O_RDONLY | O_NONBLOCK));
          TRY(flush_if_remote(file.get(), d.path));
        }
        if (d.kind == DescriptionKind::object) {
          d.object = TRY(objects.add({proc::path(pid, "fd/" + std::to_string(fd)), d.path,
                                      "fd " + std::to_string(fd) + " of " + processes[p].name()}));
          objects.in_image(d.object);
        }
        d.owner = processes[p].node.pid;
        alike.push_back({pid, fd, static_cast<uint32_t>(image.descriptions.size())});
        image.descriptions.push_back(std::move(d));
        same = alike.end() - 1;
      }
      image.processes[p].descriptors.push_back({fd, same->description, described->close_on_exec});
    }
  }
  return {};
}

namespace {

/// Opens the shared descriptions, once per tree, in its first process.
class Opener {
 public:
  explicit Opener(Adoption& a) : a_(a) {}

  Result<void> open_all() {
    for (const PipeImage& p : a_.image.pipes) TRY(make(p));
    for (size_t i = 0; i < a_.image.objects.size(); i++) {
      Fd fd = TRY(make_object(a_.image.objects[i], a_.guest.user));
      if (::dup3(fd.get(), a_.objects + static_cast<int>(i), O_CLOEXEC) < 0)
        return Error::sys("place", "an object");
    }
    for (size_t i = 0; i < a_.image.descriptions.size(); i++) {
      const Description& d = a_.image.descriptions[i];
      Fd fd = TRY(open(d));
      const int place = a_.opened + static_cast<int>(i);
      if (::dup3(fd.get(), place, O_CLOEXEC) < 0) return Error::sys("place", "a description");
    }
    return {};
  }

 private:
  Result<void> make(const PipeImage& image) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return Error::sys("make", "a pipe");
    pipes_.push_back({Fd(ends[0]), Fd(ends[1])});
    used_.push_back({false, false});
    if (image.capacity && ::fcntl(ends[1], F_SETPIPE_SZ, image.capacity) < 0)
      return Error::sys("set the capacity of", "a pipe", errno, "raise fs.pipe-max-size here");
    const auto size = static_cast<ssize_t>(image.content.size());
    if (size && ::write(ends[1], image.content.data(), image.content.size()) != size)
      return Error::sys("fill", "a pipe");
    return {};
  }

  // The first description of each end is the pipe's own; more are opened by name.
  Result<Fd> pipe_end(const Description& d) {
    const bool writes = d.kind == DescriptionKind::pipe_write;
    Fd& end = writes ? pipes_[d.pipe].write_end : pipes_[d.pipe].read_end;
    bool& used = writes ? used_[d.pipe].second : used_[d.pipe].first;
    return first_or_again(end.get(), std::exchange(used, true), d.flags);
  }

  Result<Fd> external(const Description& d) {
    for (const External& e : a_.guest.externals)
      if (static_cast<uint8_t>(e.kind) == d.external)
        return first_or_again(e.guest_end, std::exchange(external_used_[d.external], true),
                              d.flags);
    return Error{"open stream " + std::to_string(d.external) + ": the starter has no such stream",
                 EBADF};
  }

  static Result<Fd> first_or_again(int fd, bool again, uint32_t flags) {
    if (again) {
      const std::string name = "/proc/self/fd/" + std::to_string(fd);
      return open_file(name,
                       static_cast<int>(flags & (O_ACCMODE | O_NONBLOCK | O_APPEND)) | O_NOCTTY);
    }
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return Error::sys("duplicate", "a stream");
    constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT;
    if (::fcntl(copy.get(), F_SETFL, static_cast<int>(flags) & kSettable) < 0)
      return Error::sys("set the flags of", "a stream");
    return copy;
  }

  Result<Fd> named(const Description& d) {
    AsUser rights(a_.guest.user);
    constexpr uint32_t kOnlyAtBirth = O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_ASYNC;
    int flags = static_cast<int>(d.flags & ~kOnlyAtBirth) | O_NOCTTY | O_NONBLOCK;
    Fd fd = TRY(open_file(d.path, flags));
    // Whatever the sender said it was: a guest gets no other kind of thing by this way.
    struct stat st;
    if (::fstat(fd.get(), &st) < 0) return Error::sys("look at", d.path);
    const bool right = d.kind == DescriptionKind::directory ? S_ISDIR(st.st_mode)
                       : d.kind == DescriptionKind::device  ? S_ISCHR(st.st_mode)
                                                            : S_ISREG(st.st_mode);
    if (!right) return Error{"open " + d.path + ": it is not what it was at the source", ENODEV};
    if (!(d.flags & O_PATH) && !(d.flags & O_NONBLOCK) &&
        ::fcntl(fd.get(), F_SETFL, static_cast<int>(d.flags) & (O_APPEND | O_DIRECT | O_NOATIME)) <
            0)
      return Error::sys("set the flags of", d.path);
    if (d.kind != DescriptionKind::device && !(d.flags & O_PATH) &&
        ::lseek(fd.get(), static_cast<off_t>(d.position), SEEK_SET) < 0)
      return Error::sys("seek in", d.path);
    return fd;
  }

  static Result<Fd> timer(const Description& d) {
    Fd fd(::timerfd_create(static_cast<int>(d.mode), static_cast<int>(d.flags & O_NONBLOCK)));
    if (!fd) return Error::sys("make", "a timerfd");
    // it_value is what is left, also of a timer that was armed with an absolute time.
    itimerspec spec = {{d.interval_s, d.interval_ns}, {d.left_s, d.left_ns}};
    // A periodic one that has expired shows no time left until it is read, and goes on then.
    if (d.value && (d.interval_s || d.interval_ns) && !d.left_s && !d.left_ns)
      spec.it_value.tv_nsec = 1;
    if ((spec.it_value.tv_sec || spec.it_value.tv_nsec) &&
        ::timerfd_settime(fd.get(), 0, &spec, nullptr) < 0)
      return Error::sys("arm", "a timerfd");
    constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);
    if (d.value && ::ioctl(fd.get(), kSetTicks, &d.value) < 0)
      return Error::sys("set the expirations of", "a timerfd");
    return fd;
  }

  // A description of its own, with the rights it had.
  Result<Fd> object(const Description& d) {
    Fd fd =
        TRY(open_file("/proc/self/fd/" + std::to_string(a_.objects + static_cast<int>(d.object)),
                      static_cast<int>(d.flags & (O_ACCMODE | O_NONBLOCK | O_APPEND))));
    if (::lseek(fd.get(), static_cast<off_t>(d.position), SEEK_SET) < 0)
      return Error::sys("seek in", "an object");
    return fd;
  }

  Result<Fd> open(const Description& d) {
    switch (d.kind) {
      case DescriptionKind::object:
        return object(d);
      case DescriptionKind::regular:
      case DescriptionKind::directory:
      case DescriptionKind::device:
        return named(d);
      case DescriptionKind::pipe_read:
      case DescriptionKind::pipe_write:
        return pipe_end(d);
      case DescriptionKind::external:
        return external(d);
      case DescriptionKind::terminal:
        return open_file("/dev/tty",
                         static_cast<int>(d.flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY);
      case DescriptionKind::timerfd:
        return timer(d);
      case DescriptionKind::eventfd: {
        Fd fd(::eventfd(0, static_cast<int>((d.flags & O_NONBLOCK) | (d.mode & EFD_SEMAPHORE))));
        if (!fd) return Error::sys("make", "an eventfd");
        if (d.value && ::write(fd.get(), &d.value, 8) != 8) return Error::sys("fill", "an eventfd");
        return fd;
      }
      case DescriptionKind::signalfd: {
        const long fd = ::syscall(SYS_signalfd4, -1, &d.value, 8, d.flags & O_NONBLOCK);
        if (fd < 0) return Error::sys("make", "a signalfd");
        return Fd(static_cast<int>(fd));
      }
      case DescriptionKind::epoll: {
        Fd fd(::epoll_create1(0));
        if (!fd) return Error::sys("make", "an epoll instance");
        return fd;
      }
    }
    return Error{"open a description of unknown kind", EBADMSG};
  }

  Adoption& a_;
  std::vector<Pipe> pipes_;
  std::vector<std::pair<bool, bool>> used_;
  bool external_used_[4] = {};
};

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

Result<void> watch(const Adoption& a) {
  for (const DescriptorImage& d : a.process.descriptors) {
    const Description& epoll = a.image.descriptions[d.description];
    if (epoll.kind != DescriptionKind::epoll || epoll.owner != a.process.pid) continue;
    const auto first = std::find_if(a.process.descriptors.begin(), a.process.descriptors.end(),
                                    [&](const auto& o) { return o.description == d.description; });
    if (first->number != d.number) continue;
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
    auto opened = Opener(a).open_all();
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
    Fd fd = TRY(fetch(a, a.opened + static_cast<int>(d.description)));
    if (::dup3(fd.get(), d.number, d.close_on_exec ? O_CLOEXEC : 0) < 0)
      return Error::sys("place", "descriptor " + std::to_string(d.number));
    next = d.number + 1;
  }
  ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(a.own - 1), 0);
  TRY(watch(a));
  {
    AsUser rights(a.guest.user);
    if (::chdir(a.process.directory.c_str()) < 0)
      return Error::sys("enter", a.process.directory, errno, "is it shared between the hosts?");
  }
  ::umask(static_cast<mode_t>(a.process.umask & 0777));
  return {};
}

}  // namespace

const Part kFiles = {"files", check, capture, adopt, nullptr};

}  // namespace hob::migrate
