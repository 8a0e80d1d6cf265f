#include "migrate/unread_input.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using migrate::put_back_unread_input;
using migrate::take_unread_input;

namespace {

struct Terminal {
  Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)}, slave;
  Terminal() {
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    slave.reset(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(slave);
  }
  void make_raw() {
    termios settings = this->settings();
    ::cfmakeraw(&settings);
    REQUIRE(::tcsetattr(slave.get(), TCSANOW, &settings) == 0);
  }
  termios settings() const {
    termios settings{};
    REQUIRE(::tcgetattr(slave.get(), &settings) == 0);
    return settings;
  }
  void type(std::string_view text) {
    REQUIRE(::write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  static bool readable(const Fd& fd, int limit_ms) {
    pollfd p{fd.get(), POLLIN, 0};
    return ::poll(&p, 1, limit_ms) == 1;
  }
  static std::string read_from(const Fd& fd) {
    char buffer[8192];
    REQUIRE(readable(fd, 5000));
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    REQUIRE(n >= 0);
    return {buffer, static_cast<size_t>(n)};
  }
  /// What was echoed up to and with `last`.
  std::string echo_until(const std::string& last) {
    std::string echo;
    while (!echo.ends_with(last)) echo += read_from(master);
    return echo;
  }
};

void same_settings(const termios& a, const termios& b) {
  CHECK(a.c_iflag == b.c_iflag);
  CHECK(a.c_lflag == b.c_lflag);
  CHECK(std::equal(std::begin(a.c_cc), std::end(a.c_cc), std::begin(b.c_cc)));
}

}  // namespace

TEST_CASE("lines that were typed ahead move to another terminal, echoed once") {
  Terminal from, to;
  const termios before = from.settings();
  from.type("one\rtwo\rthr");
  CHECK(from.echo_until("thr") == "one\r\ntwo\r\nthr");
  Result<std::string> unread = take_unread_input(from.master.get());
  REQUIRE(unread.ok());
  CHECK(*unread == "one\ntwo\nthr");
  CHECK_FALSE(Terminal::readable(from.slave, 0));
  same_settings(from.settings(), before);

  REQUIRE(put_back_unread_input(to.master.get(), *unread).ok());
  same_settings(to.settings(), before);
  to.type("ee\r");
  CHECK(Terminal::read_from(to.slave) == "one\n");
  CHECK(Terminal::read_from(to.slave) == "two\n");
  CHECK(Terminal::read_from(to.slave) == "three\n");
  CHECK(to.echo_until("\n") == "ee\r\n");
}

TEST_CASE("keys typed at a raw terminal move, whatever they are") {
  Terminal from, to;
  from.make_raw();
  to.make_raw();
  std::string keys = "\x03\x04\r\n\x1b[A";
  keys += std::string(1, '\0') + "\xff\x7f";
  from.type(keys);
  Result<std::string> unread = take_unread_input(from.master.get());
  REQUIRE(unread.ok());
  CHECK(*unread == keys);
  REQUIRE(put_back_unread_input(to.master.get(), *unread).ok());
  CHECK(Terminal::read_from(to.slave) == keys);
}

TEST_CASE("a terminal at which nothing was typed gives nothing and takes nothing") {
  Terminal terminal;
  Result<std::string> unread = take_unread_input(terminal.master.get());
  REQUIRE(unread.ok());
  CHECK(unread->empty());
  REQUIRE(put_back_unread_input(terminal.master.get(), "").ok());
  CHECK_FALSE(Terminal::readable(terminal.slave, 0));
}

TEST_CASE("more than a terminal holds is refused") {
  Terminal terminal;
  CHECK_FALSE(put_back_unread_input(terminal.master.get(), std::string(4097, 'x')).ok());
}
