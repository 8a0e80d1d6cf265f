#include "migrate/opener.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "migrate/fifos.h"
#include "migrate/files.h"
#include "migrate/inet.h"
#include "migrate/notices.h"
#include "migrate/objects.h"
#include "migrate/ptys.h"
#include "migrate/sockets.h"
#include "migrate/watches.h"

namespace hob::migrate {
namespace {

class Opener {
 public:
  explicit Opener(const Adoption& a) : a_(a) {}

  Result<void> open_all() {
    for (const PipeImage& p : a_.image.pipes) TRY(make(p));
    TRY(make_all_sockets());
    for (const PtyImage& p : a_.image.ptys) {
      masters_.push_back(TRY(a_.ptys->make(p.number, a_.guest.user)));
      TRY(set_up_pty(masters_.back(), p));
    }
    for (size_t i = 0; i < a_.image.objects.size(); i++) {
      Fd fd = TRY(make_object(a_.image.objects[i], a_.guest.user));
      if (::dup3(fd.get(), a_.objects + static_cast<int>(i), O_CLOEXEC) < 0)
        return Error::sys("place", "an object");
    }
    TRY(open_descriptions([](DescriptionKind kind) { return !is_named(kind) && !tells(kind); }));
    {
      AsUser rights(a_.guest.user);  // once for all of them: it takes longer than to open a file
      TRY(open_descriptions(is_named));
    }
    TRY(open_descriptions(tells));
    for (size_t i = 0; i < masters_.size(); i++)
      TRY(finish_pty(masters_[i], a_.image.ptys[i], has_slave(i)));
    return {};
  }

 private:
  Result<void> open_descriptions(const std::function<bool(DescriptionKind)>& these) {
    for (size_t i = 0; i < a_.image.descriptions.size(); i++) {
      const Description& d = a_.image.descriptions[i];
      if (!these(d.kind)) continue;
      Fd fd = TRY(open(d));
      if (::dup3(fd.get(), a_.opened + static_cast<int>(i), O_CLOEXEC) < 0)
        return Error::sys("place", "a description");
    }
    return {};
  }

  // Files that a path leads to.
  static bool is_named(DescriptionKind kind) {
    return kind == DescriptionKind::regular || kind == DescriptionKind::directory ||
           kind == DescriptionKind::device;
  }
  // Last: they would tell of the files that are opened here.
  static bool tells(DescriptionKind kind) { return kind == DescriptionKind::inotify; }

  bool has_slave(size_t pty) const {
    const auto& all = a_.image.descriptions;
    return std::any_of(all.begin(), all.end(), [&](const Description& d) {
      return d.kind == DescriptionKind::pty_slave && d.pty == pty;
    });
  }

  Result<Fd> master(const Description& d) {
    if (::fcntl(masters_[d.pty].get(), F_SETFL, static_cast<int>(d.flags) & O_NONBLOCK) < 0)
      return Error::sys("set the flags of", "a pty");
    return masters_[d.pty].duplicate();
  }

  Result<void> make_all_sockets() {
    const auto& images = a_.image.sockets;
    sockets_.resize(images.size());
    for (size_t i = 0; i < images.size(); i++) {
      if (sockets_[i]) continue;
      if (images[i].state != SocketState::pair) {
        sockets_[i] = TRY(make_socket(images[i], a_.guest.user));
        continue;
      }
      const auto peer = static_cast<size_t>(images[i].peer);
      auto [first, second] =
          TRY(make_sockets(images[i], images[i].peer < 0 ? nullptr : &images[peer], a_.guest.user));
      sockets_[i] = std::move(first);
      if (images[i].peer >= 0) sockets_[peer] = std::move(second);
    }
    return {};
  }

  Result<void> make(const PipeImage& image) {
    if (!image.path.empty()) return make_named(image);
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

  Result<void> make_named(const PipeImage& image) {
    const auto& all = a_.image.descriptions;
    const auto index = pipes_.size();
    const bool has_writer = std::any_of(all.begin(), all.end(), [&](const Description& d) {
      return d.pipe == index &&
             (d.kind == DescriptionKind::pipe_write || d.kind == DescriptionKind::pipe_both);
    });
    Fd fifo = TRY(open_fifo(image, has_writer, a_.image.machine, a_.guest.user));
    // All descriptions are opened through it; the guest has none of them by another way.
    Fd again = TRY(fifo.duplicate());
    pipes_.push_back({std::move(fifo), std::move(again)});
    used_.push_back({true, true});
    return {};
  }

  // The first description of each end is the pipe's own; more are opened by name.
  Result<Fd> pipe_end(const Description& d) {
    if (d.kind == DescriptionKind::pipe_both)
      return first_or_again(pipes_[d.pipe].read_end.get(), true, d.flags);
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
      // Never waits for another end; whether reading and writing do is set afterwards.
      Fd another =
          TRY(open_file("/proc/self/fd/" + std::to_string(fd),
                        static_cast<int>(flags & (O_ACCMODE | O_APPEND)) | O_NOCTTY | O_NONBLOCK));
      if (::fcntl(another.get(), F_SETFL,
                  static_cast<int>(flags) & (O_APPEND | O_NONBLOCK | O_DIRECT)) < 0)
        return Error::sys("set the flags of", "a stream");
      return another;
    }
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return Error::sys("duplicate", "a stream");
    constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT;
    if (::fcntl(copy.get(), F_SETFL, static_cast<int>(flags) & kSettable) < 0)
      return Error::sys("set the flags of", "a stream");
    return copy;
  }

  // With the user's rights.
  Result<Fd> named(const Description& d) {
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
    if (d.kind != DescriptionKind::device && !(d.flags & O_PATH) && !tells_of_processes(d) &&
        ::lseek(fd.get(), static_cast<off_t>(d.position), SEEK_SET) < 0)
      return Error::sys("seek in", d.path);
    return fd;
  }

  Result<Fd> named_place(const Description& d) {
    AsUser rights(a_.guest.user);
    Fd fd = TRY(open_file(d.path, O_PATH | O_NOFOLLOW));
    struct stat st;
    if (::fstat(fd.get(), &st) < 0) return Error::sys("look at", d.path);
    if ((st.st_mode & S_IFMT) != d.mode)
      return Error{"open " + d.path + ": it is not what it was at the source", ENODEV};
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
      case DescriptionKind::socket:
        // A socket has one description, however many descriptors.
        if (::fcntl(sockets_[d.socket].get(), F_SETFL, static_cast<int>(d.flags) & O_NONBLOCK) < 0)
          return Error::sys("set the flags of", "a socket");
        return sockets_[d.socket].duplicate();
      case DescriptionKind::inet: {
        Fd fd = TRY(make_inet(a_.image.inet_sockets[d.socket], a_.guest.user));
        if (::fcntl(fd.get(), F_SETFL, static_cast<int>(d.flags) & O_NONBLOCK) < 0)
          return Error::sys("set the flags of", "a socket");
        return fd;
      }
      case DescriptionKind::regular:
      case DescriptionKind::directory:
      case DescriptionKind::device:
        return named(d);
      case DescriptionKind::pipe_read:
      case DescriptionKind::pipe_write:
      case DescriptionKind::pipe_both:
        return pipe_end(d);
      case DescriptionKind::name:
        return named_place(d);
      case DescriptionKind::external:
        return external(d);
      case DescriptionKind::terminal:
        return open_file("/dev/tty",
                         static_cast<int>(d.flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY);
      case DescriptionKind::pty_master:
        return master(d);
      case DescriptionKind::pty_slave:
        return open_slave(masters_[d.pty],
                          static_cast<int>(d.flags & (O_ACCMODE | O_NONBLOCK | O_APPEND)));
      case DescriptionKind::pidfd:
        return open_pidfd(d);
      case DescriptionKind::inotify:
        return open_watches(d, a_.guest.user);
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

  const Adoption& a_;
  std::vector<Fd> sockets_;
  std::vector<Pipe> pipes_;
  std::vector<Fd> masters_;
  std::vector<std::pair<bool, bool>> used_;
  bool external_used_[4] = {};
};

}  // namespace

bool tells_of_processes(const Description& d) {
  return d.kind == DescriptionKind::regular && d.path.starts_with("/proc/");
}

Result<void> open_shared(const Adoption& a) {
  return Opener(a).open_all();
}

}  // namespace hob::migrate
