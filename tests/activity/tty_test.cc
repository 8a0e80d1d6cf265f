#include "journal.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace hob;

namespace {

/// A terminal with a program that reads it (the test).
class Pty {
 public:
  Pty() {
    int master = -1, slave = -1;
    char name[64];
    REQUIRE(::openpty(&master, &slave, name, nullptr, nullptr) == 0);
    master_ = Fd(master), slave_ = Fd(slave);
    path = name;
    label = path.substr(path.find("pts/"));
  }
  void type(std::string_view keys) {
    REQUIRE(::write(master_.get(), keys.data(), keys.size()) > 0);
  }
  void read() {
    char buffer[64];
    REQUIRE(::read(slave_.get(), buffer, sizeof buffer) > 0);
  }
  /// Input, as its program has read it.
  void use() {
    type("x\n");
    read();
  }
  void print(std::string_view text) {
    REQUIRE(::write(slave_.get(), text.data(), text.size()) > 0);
    char buffer[64];
    REQUIRE(::read(master_.get(), buffer, sizeof buffer) > 0);
  }
  std::string used() const { return "input terminal " + label; }
  std::string path, label;

 private:
  Fd master_, slave_;
};

/// A tty source that counts the terminals in `mine` alone: others on this machine are in use as
/// well.
struct Rig {
  void start(bool poll_only, std::vector<std::string> labels) {
    mine = std::move(labels);
    TtyOptions options;
    options.consoles = "";
    options.poll_only = poll_only;
    options.period = milliseconds(5);
    options.not_the_owners = [this](std::string_view terminal) {
      return std::find(mine.begin(), mine.end(), terminal) == mine.end();
    };
    source = make_tty_source(*loop, std::move(options));
    source->start(journal.callbacks());
  }
  /// What is heard next.
  Lines next() {
    REQUIRE(journal.wait_for(*loop, 1));
    return journal.take();
  }
  bool heard(const std::string& line) const {
    return std::find(journal.lines.begin(), journal.lines.end(), line) != journal.lines.end();
  }
  std::vector<std::string> mine;
  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  Journal journal;
  std::unique_ptr<InputSource> source;
};

}  // namespace

TEST_CASE("what a program reads from its terminal is an input, what it prints is none") {
  Rig rig;
  Pty pty;
  rig.start(false, {pty.label});
  CHECK(rig.journal.take() == Lines{"readable"});
  pty.print("hello\n");
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
  pty.use();
  CHECK(rig.next() == Lines{pty.used()});
}

TEST_CASE("a terminal that opens later is watched too") {
  Rig rig;
  rig.start(false, {});
  rig.journal.take();
  Pty pty;
  rig.mine = {pty.label};
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
  pty.use();
  CHECK(rig.next() == Lines{pty.used()});
}

TEST_CASE("terminals of guests are left out") {
  Rig rig;
  Pty owners, guests;
  rig.start(false, {owners.label});
  rig.journal.take();
  guests.use();
  owners.use();
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{owners.used()});
}

TEST_CASE("the access time is looked at where inotify cannot be had") {
  Rig rig;
  Pty pty;
  rig.start(true, {pty.label});
  rig.journal.take();
  // The kernel moves the time on in steps of 8 s; a test need not wait for one.
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, pty.path.c_str(), old, 0) == 0);
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{pty.used()});
  pty.use();
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  CHECK(rig.heard(pty.used()));
}

TEST_CASE("without the directory of terminals the source is unreadable") {
  auto loop = EventLoop::create().value();
  Journal journal;
  TtyOptions options;
  options.pts = "/nonexistent/pts";
  const auto source = make_tty_source(*loop, std::move(options));
  source->start(journal.callbacks());
  CHECK(journal.take() ==
        Lines{"unreadable cannot be read: watch /nonexistent/pts: No such file or "
              "directory"});
}
