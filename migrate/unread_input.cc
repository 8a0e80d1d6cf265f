#include "migrate/unread_input.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"

namespace hob::migrate {
namespace {

/// The kernel hands what is written to a master to the line discipline in a worker of its own.
constexpr int kMostLooks = 1000;
constexpr useconds_t kLook = 100;  // us

/// Other settings of a terminal, while this lives.
class Settings {
 public:
  static Result<Settings> of(int master) {
    Fd slave(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (!slave) return Error::sys("open", "the slave of a pty");
    termios before{};
    if (::tcgetattr(slave.get(), &before) < 0) return Error::sys("read the settings of", "a pty");
    return Settings(std::move(slave), before);
  }
  Settings(Settings&&) = default;
  ~Settings() {
    if (slave_) (void)::tcsetattr(slave_.get(), TCSANOW, &before_);
  }
  Result<void> change(const termios& now) {
    if (::tcsetattr(slave_.get(), TCSANOW, &now) < 0) return Error::sys("set up", "a pty");
    return {};
  }
  const termios& before() const { return before_; }
  int slave() const { return slave_.get(); }

 private:
  Settings(Fd slave, const termios& before) : slave_(std::move(slave)), before_(before) {}
  Fd slave_;
  termios before_;
};

}  // namespace

Result<std::string> take_unread_input(int master) {
  Settings settings = TRY(Settings::of(master));
  termios raw = settings.before();
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON);  // lines that are not finished can be read, too
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  TRY(settings.change(raw));
  std::string bytes;
  char buffer[kMostUnreadInput];
  for (ssize_t n; (n = ::read(settings.slave(), buffer, sizeof buffer)) != 0;) {
    if (n > 0) {
      bytes.append(buffer, static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return Error::sys("read", "what was typed at a pty");
    }
  }
  return bytes;
}

Result<void> put_back_unread_input(int master, std::string_view bytes) {
  if (bytes.empty()) return {};
  if (bytes.size() > kMostUnreadInput)
    return Error{"put back what was typed: more than a terminal holds", EINVAL};
  Settings settings = TRY(Settings::of(master));
  termios quiet = settings.before();
  quiet.c_iflag = 0;
  quiet.c_lflag &= ICANON;
  std::fill(std::begin(quiet.c_cc), std::end(quiet.c_cc), static_cast<cc_t>(_POSIX_VDISABLE));
  if ((quiet.c_lflag & ICANON) == 0) quiet.c_cc[VMIN] = 1, quiet.c_cc[VTIME] = 0;
  TRY(settings.change(quiet));
  const ssize_t written = ::write(master, bytes.data(), bytes.size());
  if (written != static_cast<ssize_t>(bytes.size()))
    return Error::sys("put back", "what was typed at a pty", written < 0 ? errno : EAGAIN);
  // With lines only whole ones count. poll(2) waits for the worker when nothing can be read yet;
  // changing the settings waits for the rest of the piece that it has in hand.
  const bool lines = (quiet.c_lflag & ICANON) != 0;
  const size_t visible = lines ? bytes.rfind('\n') + 1 : bytes.size();
  for (int look = 0; look < kMostLooks; ++look) {
    pollfd terminal{settings.slave(), POLLIN, 0};
    int count = 0;
    (void)::poll(&terminal, 1, 0);
    if (::ioctl(settings.slave(), FIONREAD, &count) < 0)
      return Error::sys("put back", "what was typed at a pty");
    if (static_cast<size_t>(count) >= visible) return {};
    ::usleep(kLook);
  }
  return Error{"put back what was typed at a pty: the kernel has not taken it", ETIMEDOUT};
}

}  // namespace hob::migrate
