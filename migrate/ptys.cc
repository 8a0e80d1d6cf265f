#include "migrate/ptys.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "migrate/files.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/unread_input.h"

namespace hob::migrate {
namespace {

constexpr unsigned kFirstSlaveMajor = 136, kLastSlaveMajor = 143, kTtyMajor = 5, kPtmxMinor = 2;

int number_of(dev_t device) {
  if (major(device) < kFirstSlaveMajor || major(device) > kLastSlaveMajor) return -1;
  return static_cast<int>((major(device) - kFirstSlaveMajor) * 256 + minor(device));
}

}  // namespace

int pts_number(int device) {
  // The kernel's new_encode_dev().
  const auto bits = static_cast<unsigned>(device);
  return number_of(makedev((bits >> 8) & 0xfff, (bits & 0xff) | ((bits >> 12) & 0xfff00)));
}

int starter_terminal(const Guest& guest) {
  for (const External& e : guest.externals) {
    int number = -1;
    if (e.kind == External::Kind::terminal && ::ioctl(e.starter_end, TIOCGPTN, &number) == 0)
      return number;
  }
  return -1;
}

Result<std::optional<FoundPty>> find_pty(const Guest& guest, Tid process, int fd,
                                         const struct stat& st, const std::string& subject) {
  const bool master = st.st_rdev == makedev(kTtyMajor, kPtmxMinor);
  const bool own = st.st_rdev == makedev(kTtyMajor, 0);  // /dev/tty: whichever was its opener's
  int number = number_of(st.st_rdev);
  if (!master && !own && number < 0) return std::optional<FoundPty>();
  const Fd tty = TRY(proc::borrow_descriptor(process, fd));
  if (master && ::ioctl(tty.get(), TIOCGPTN, &number) < 0) return Error::sys("look at", "a pty");
  if (own) {
    unsigned device = 0;
    if (::ioctl(tty.get(), TIOCGDEV, &device) < 0)
      return obstacle(subject, "a terminal whose other side has been closed");
    number = pts_number(static_cast<int>(device));
    if (number < 0 || number == starter_terminal(guest)) return std::optional<FoundPty>();
  }
  struct stat devpts {};
  const std::string directory = proc::path(Tid{guest.sandbox->init()}, "root/dev/pts");
  if (::stat(directory.c_str(), &devpts) < 0) return Error::sys("look at", directory);
  if (!master && !own && st.st_dev != devpts.st_dev)
    return obstacle(subject, "a terminal of the host's");
  pollfd look{tty.get(), 0, 0};
  if (!master && (::poll(&look, 1, 0) < 0 || (look.revents & POLLHUP)))
    return obstacle(subject, "a terminal whose other side has been closed");
  return std::optional(FoundPty{static_cast<uint32_t>(number), master});
}

namespace {

Result<void> set_packets(const Fd& master, bool on) {
  const int value = on;
  if (::ioctl(master.get(), TIOCPKT, &value) < 0) return Error::sys("set up", "a pty");
  return {};
}

/// Everything that the master could read.
Result<std::string> take_printed(const Fd& master) {
  std::string bytes;
  char buffer[4096];
  for (;;) {
    pollfd look{master.get(), POLLIN, 0};
    if (::poll(&look, 1, 0) < 0) return Error::sys("look into", "a pty");
    if (!(look.revents & POLLIN)) return bytes;
    const ssize_t n = ::read(master.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EIO) return bytes;  // nobody has the slave
    if (n < 0) return Error::sys("read", "what was printed to a pty");
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

Result<void> change(const Fd& tty, unsigned long request, termios2& settings) {
  if (::ioctl(tty.get(), request, &settings) < 0) return Error::sys("set up", "a pty");
  return {};
}

/// To be read by the master, unchanged.
Result<void> put_printed(const Fd& master, const std::string& bytes) {
  if (bytes.empty()) return {};
  termios2 before, raw;
  TRY(change(master, TCGETS2, before));
  raw = before;
  raw.c_oflag = 0;
  TRY(change(master, TCSETS2, raw));
  Result<void> put;
  {
    const Fd slave = TRY(open_slave(master, O_RDWR | O_NONBLOCK));
    // Every piece goes to the master's queue at once, as far as there is room; all of it was there.
    const ssize_t n = ::write(slave.get(), bytes.data(), bytes.size());
    if (n != static_cast<ssize_t>(bytes.size()))
      put = Error::sys("put back", "what was printed to a pty", n < 0 ? errno : EAGAIN);
  }
  TRY(change(master, TCSETS2, before));
  return put;
}

}  // namespace

TakenBytes::~TakenBytes() {
  if (!master_) return;
  auto put = put_back_unread_input(master_.get(), typed);
  if (put) put = put_printed(master_, printed);
  if (put) put = set_packets(master_, packets_);
  if (!put) log::error("{}", put.error().text);
}

Result<uint32_t> PtyCollector::add(const Description& found, Tid process, int fd,
                                   const std::string& subject) {
  auto at =
      std::find_if(ptys_.begin(), ptys_.end(), [&](const Pty& p) { return p.number == found.pty; });
  if (at == ptys_.end()) at = ptys_.insert(at, {found.pty, {}, false, subject});
  if (found.kind == DescriptionKind::pty_slave)
    at->slave = true;
  else
    at->master = TRY(proc::borrow_descriptor(process, fd));
  return found.pty;
}

Result<void> PtyCollector::capture(Pty& pty, const std::vector<CaptiveProcess>& processes) {
  if (!pty.master) return obstacle(pty.subject, "a terminal whose other side is outside the job");
  PtyImage image;
  image.number = pty.number;
  termios2 settings;
  winsize size = {};
  int locked = 0, packets = 0;
  pid_t foreground = 0;
  TRY(change(pty.master, TCGETS2, settings));
  if (::ioctl(pty.master.get(), TIOCGWINSZ, &size) < 0 ||
      ::ioctl(pty.master.get(), TIOCGPTLCK, &locked) < 0 ||
      ::ioctl(pty.master.get(), TIOCGPKT, &packets) < 0)
    return Error::sys("look at", "a pty");
  if (::ioctl(pty.master.get(), TIOCGPGRP, &foreground) < 0) foreground = 0;
  for (const CaptiveProcess& process : processes)
    if (foreground > 0 && process.stat.group == foreground) image.foreground = process.node.group;
  const auto* bytes = reinterpret_cast<const std::byte*>(&settings);
  image.settings.assign(bytes, bytes + sizeof settings);
  image.rows = size.ws_row;
  image.columns = size.ws_col;
  image.width = size.ws_xpixel;
  image.height = size.ws_ypixel;
  image.locked = locked != 0;
  image.packets = packets != 0;
  pollfd look{pty.master.get(), 0, 0};
  if (::poll(&look, 1, 0) < 0) return Error::sys("look into", "a pty");
  image.hung_up = !pty.slave && (look.revents & POLLHUP) != 0;

  TakenBytes& taken = taken_.emplace_back(TRY(pty.master.duplicate()), packets != 0);
  if (packets) TRY(set_packets(pty.master, false));
  taken.printed = TRY(take_printed(pty.master));
  // Nobody has read what was typed at a slave that nobody has open; opening it would show.
  if (pty.slave) taken.typed = TRY(take_unread_input(pty.master.get()));
  image.typed = taken.typed;
  image.printed = taken.printed;
  image_.ptys.push_back(std::move(image));
  return {};
}

Result<void> PtyCollector::finish(const std::vector<CaptiveProcess>& processes) {
  std::sort(ptys_.begin(), ptys_.end(),
            [](const Pty& a, const Pty& b) { return a.number < b.number; });
  taken_.reserve(ptys_.size());
  std::map<uint32_t, uint32_t> index;
  for (Pty& pty : ptys_) {
    index.emplace(pty.number, static_cast<uint32_t>(index.size()));
    TRY(capture(pty, processes));
  }
  for (Description& d : image_.descriptions)
    if (d.kind == DescriptionKind::pty_master || d.kind == DescriptionKind::pty_slave)
      d.pty = index.at(d.pty);
  for (const TreeNode& node : image_.tree)
    if (node.pty >= 0 && !index.count(static_cast<uint32_t>(node.pty)))
      return obstacle("process " + std::to_string(node.pid),
                      "a controlling terminal whose other side is outside the job");
  return {};
}

// ---- the target

Result<Fd> MadePtys::make(uint32_t number, const Credentials& user) {
  if (const auto at = masters_.find(number); at != masters_.end()) return at->second.duplicate();
  for (;;) {
    Fd master;
    {
      AsUser rights(user);  // the slave is the user's
      master = TRY(open_file("/dev/ptmx", O_RDWR | O_NOCTTY));
    }
    uint32_t got = 0;
    const int unlocked = 0;
    if (::ioctl(master.get(), TIOCGPTN, &got) < 0 ||
        ::ioctl(master.get(), TIOCSPTLCK, &unlocked) < 0)
      return Error::sys("set up", "a pty");
    if (got > number)
      return Error{"make /dev/pts/" + std::to_string(number) + ": it is there already", EEXIST};
    if (got == number) return masters_.emplace(number, std::move(master)).first->second.duplicate();
    spare_.push_back(std::move(master));
  }
}

Result<void> MadePtys::make_for(const Tree& tree, const Credentials& user) {
  std::set<uint32_t> numbers;
  for (const TreeNode& node : tree)
    if (node.pty >= 0) numbers.insert(static_cast<uint32_t>(node.pty));
  for (uint32_t number : numbers) TRY(make(number, user));
  return {};
}

Result<void> MadePtys::take(int32_t number) {
  const Fd slave = TRY(open_slave(masters_.at(static_cast<uint32_t>(number)), O_RDWR));
  if (::ioctl(slave.get(), TIOCSCTTY, 0) < 0)
    return Error::sys("take", "/dev/pts/" + std::to_string(number));
  // A terminal that nobody has open any more is nobody's controlling terminal.
  if (::fcntl(slave.get(), F_DUPFD_CLOEXEC, 0) < 0) return Error::sys("keep", "a terminal");
  return {};
}

Result<Fd> open_slave(const Fd& master, int flags) {
  // This call keeps O_CLOEXEC among the flags of the description, where /proc shows it for every
  // descriptor, so it is set afterwards.
  Fd slave(::ioctl(master.get(), TIOCGPTPEER, flags | O_NOCTTY));
  if (!slave || ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC) < 0)
    return Error::sys("open", "the slave of a pty");
  return slave;
}

Result<void> set_up_pty(const Fd& master, const PtyImage& image) {
  termios2 settings;
  if (image.settings.size() != sizeof settings)
    return Error{"set up a pty: its settings are malformed", EBADMSG};
  std::memcpy(&settings, image.settings.data(), sizeof settings);
  TRY(change(master, TCSETS2, settings));
  winsize size = {};
  size.ws_row = image.rows;
  size.ws_col = image.columns;
  size.ws_xpixel = image.width;
  size.ws_ypixel = image.height;
  if (::ioctl(master.get(), TIOCSWINSZ, &size) < 0) return Error::sys("set the size of", "a pty");
  return {};
}

Result<void> finish_pty(const Fd& master, const PtyImage& image, bool has_slave) {
  // Opened once more and closed: a master whose slave is not open any more reads an error.
  if (!has_slave && image.hung_up) TRY(open_slave(master, O_RDWR));
  if (has_slave) TRY(put_back_unread_input(master.get(), image.typed));
  TRY(put_printed(master, image.printed));
  const int locked = image.locked;
  if (locked && ::ioctl(master.get(), TIOCSPTLCK, &locked) < 0) return Error::sys("lock", "a pty");
  if (image.packets) TRY(set_packets(master, true));
  return {};
}

Result<void> settle_ptys(const Image& image, const ProcessImage& process) {
  if (image.ptys.empty()) return {};
  for (const TreeNode& node : image.tree) {
    if (node.pid != process.pid || node.session != node.pid || node.pty < 0) continue;
    const Fd tty = TRY(open_file("/dev/tty", O_RDWR | O_NOCTTY));
    for (const PtyImage& pty : image.ptys)
      if (static_cast<int32_t>(pty.number) == node.pty && pty.foreground > 0 &&
          ::ioctl(tty.get(), TIOCSPGRP, &pty.foreground) < 0)
        return Error::sys("give the terminal to group", std::to_string(pty.foreground));
  }
  sigset_t changed_size;
  ::sigemptyset(&changed_size);
  ::sigaddset(&changed_size, SIGWINCH);
  const timespec now = {};
  while (::sigtimedwait(&changed_size, nullptr, &now) == SIGWINCH) {
  }
  return {};
}

}  // namespace hob::migrate
