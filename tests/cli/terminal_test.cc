// `remote run -t` on a real pty, and closing the terminal.
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "rig.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

struct Pty {
  Fd master, slave;
  Pty() {
    int m = -1, s = -1;
    winsize size{};
    size.ws_row = 33;
    size.ws_col = 111;
    REQUIRE(::openpty(&m, &s, nullptr, nullptr, &size) == 0);
    master.reset(m);
    slave.reset(s);
    ::fcntl(m, F_SETFD, FD_CLOEXEC);
    ::fcntl(s, F_SETFD, FD_CLOEXEC);
  }
  termios settings() const {
    termios t{};
    REQUIRE(::tcgetattr(slave.get(), &t) == 0);
    return t;
  }
  bool raw() const { return (settings().c_lflag & (ICANON | ECHO | ISIG)) == 0; }
  void type(std::string_view keys) const {
    REQUIRE(::write(master.get(), keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
  }
  /// Everything shown until `text` is.
  std::string shown(std::string_view text) const {
    std::string all;
    REQUIRE(::fcntl(master.get(), F_SETFL, O_NONBLOCK) == 0);
    REQUIRE(eventually([&] {
      char buffer[4096];
      const ssize_t n = ::read(master.get(), buffer, sizeof buffer);
      if (n > 0) all.append(buffer, static_cast<size_t>(n));
      return all.find(text) != std::string::npos;
    }));
    return all;
  }
};

bool same(const termios& a, const termios& b) {
  return a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_cflag == b.c_cflag &&
         a.c_lflag == b.c_lflag && std::memcmp(a.c_cc, b.c_cc, sizeof a.c_cc) == 0;
}

struct Rig {
  TemporaryDirectory directory;
  FakeHostd hostd{directory.path() + "/hostd.sock"};
  Pty pty;
  const termios before = pty.settings();

  /// `remote run ARGUMENTS` as the foreground process of a session on the pty.
  Process start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "run");
    Process::Setup setup;
    setup.environment = {"REMOTE_SOCKET=" + hostd.path()};
    setup.in = setup.out = setup.err = pty.slave.get();
    setup.in_child = [] {
      ::setsid();
      ::ioctl(0, TIOCSCTTY, 0);
    };
    return Process(remote_program(), std::move(arguments), std::move(setup));
  }
  Connection begin() {
    Connection connection = hostd.accept();
    run = connection.receive().envelope;
    connection.accept(run);
    connection.started();
    return connection;
  }
  bool raw_in_time() const {
    return eventually([&] { return pty.raw(); });
  }
  pb::Envelope run;
};

pb::Envelope next(Connection& connection, bool (pb::Envelope::*wanted)() const) {
  for (;;) {
    pb::Envelope envelope = connection.receive().envelope;
    if ((envelope.*wanted)()) return envelope;
  }
}

}  // namespace

TEST_CASE("run -t: the job learns the terminal, keys go through raw, the terminal is given back") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  const pb::Program& program = rig.run.run().program();
  CHECK(program.terminal());
  CHECK(program.window().rows() == 33);
  CHECK(program.window().columns() == 111);
  REQUIRE(program.termios().size() == sizeof(termios));
  termios told{};
  std::memcpy(&told, program.termios().data(), sizeof told);
  CHECK(same(told, rig.before));

  REQUIRE(rig.raw_in_time());
  rig.pty.type("a\x03\x1a\x1c\r\x04");  // Ctrl-C, Ctrl-Z, Ctrl-\, Enter and Ctrl-D are the job's
  std::string keys;
  while (keys.size() < 6) {
    const wire::Message message = connection.receive();
    if (message.envelope.has_data()) keys += message.bulk;
    if (message.envelope.has_signal())  // asks whether the job can be reached, and sends it nothing
      REQUIRE(message.envelope.signal().number() == 0);
  }
  CHECK(keys == "a\x03\x1a\x1c\r\x04");
  connection.data(pb::STDOUT, 0, "\x1b[1mhello\r\n");
  CHECK(rig.pty.shown("hello\r\n") == "\x1b[1mhello\r\n");
  connection.exited(4 << 8);
  const int status = remote.finish();
  CHECK(WEXITSTATUS(status) == 4);
  CHECK(same(rig.pty.settings(), rig.before));
}

TEST_CASE("run -t: a new window size is passed on") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(next(connection, &pb::Envelope::has_window_size).window_size().rows() == 33);
  winsize size{};
  size.ws_row = 50;
  size.ws_col = 200;
  REQUIRE(::ioctl(rig.pty.master.get(), TIOCSWINSZ, &size) == 0);
  const pb::Envelope changed = next(connection, &pb::Envelope::has_window_size);
  CHECK(changed.window_size().rows() == 50);
  CHECK(changed.window_size().columns() == 200);
  connection.exited(0);
  remote.finish();
}

TEST_CASE("run -t: the terminal is given back on every way out") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(rig.raw_in_time());
  SECTION("the job dies of a signal") {
    connection.exited(SIGKILL);
  }
  SECTION("the job is lost") {
    connection.send(wire::failure(pb::Failure::LOST, "job j1: its host is gone"));
    rig.pty.shown("remote: job j1: its host is gone\r\n");
  }
  SECTION("the shadow crashes") {
    remote.signal(SIGSEGV);
  }
  SECTION("the shadow's alarm rings") {
    remote.signal(SIGALRM);
  }
  SECTION("the shadow aborts") {
    remote.signal(SIGABRT);
  }
  const int status = remote.finish();
  CHECK(status != 0);
  CHECK(same(rig.pty.settings(), rig.before));
}

TEST_CASE("run -t: the terminal is given back while stopped, and raw again after") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(rig.raw_in_time());
  remote.signal(SIGTSTP);
  CHECK(next(connection, &pb::Envelope::has_signal).signal().number() == SIGSTOP);
  remote.wait_until_stopped();
  CHECK(same(rig.pty.settings(), rig.before));
  remote.signal(SIGCONT);
  CHECK(next(connection, &pb::Envelope::has_signal).signal().number() == SIGCONT);
  CHECK(rig.raw_in_time());
  connection.exited(0);
  remote.finish();
  CHECK(same(rig.pty.settings(), rig.before));
}

TEST_CASE("run -t: our messages wait until the program has left the screen") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(rig.raw_in_time());
  pb::Envelope note;
  note.mutable_note()->set_text("moved home");
  connection.send(note);
  connection.data(pb::STDOUT, 0, "the program's screen");
  const std::string before = rig.pty.shown("the program's screen");
  CHECK(before.find("moved home") == std::string::npos);
  connection.exited(0);
  rig.pty.shown("remote: moved home");
  remote.finish();
}

TEST_CASE("run: closing the terminal kills the job") {
  for (const bool terminal : {false, true}) {
    Rig rig;
    Process remote = terminal ? rig.start({"-t", "cmd"}) : rig.start({"cmd"});
    Connection connection = rig.begin();
    if (terminal) REQUIRE(rig.raw_in_time());
    rig.pty.slave.reset();
    rig.pty.master.reset();
    connection.expect_end();
    CHECK(died_of(remote.finish(), SIGHUP));
  }
}

TEST_CASE("run: without -t keys make signals, and the terminal stays as it is") {
  Rig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(next(connection, &pb::Envelope::has_data).data().end());
  CHECK(same(rig.pty.settings(), rig.before));
  rig.pty.type("\x03");
  CHECK(next(connection, &pb::Envelope::has_signal).signal().number() == SIGINT);
  connection.exited(130 << 8);
  CHECK(WEXITSTATUS(remote.finish()) == 130);
}

TEST_CASE(
    "run: in the background it is not stopped by what is typed, and reads it in the foreground") {
  Rig rig;
  Process::Setup setup;
  setup.environment = {"REMOTE_SOCKET=" + rig.hostd.path()};
  setup.in = setup.out = setup.err = rig.pty.slave.get();
  // As a shell does it: a session's leader, remote in a group of its own, and on SIGUSR1 `fg`.
  setup.in_child = [] {
    static pid_t child = 0;
    ::setsid();
    ::ioctl(0, TIOCSCTTY, 0);
    ::signal(SIGTTOU, SIG_IGN);
    ::signal(SIGUSR1, [](int) { ::tcsetpgrp(0, child); });
    child = ::fork();
    if (child == 0) {
      ::setpgid(0, 0);
      ::signal(SIGTTOU, SIG_DFL);
      ::signal(SIGUSR1, SIG_DFL);
      return;
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
    }
    ::_exit(WEXITSTATUS(status));
  };
  Process shell(remote_program(), {"run", "cmd"}, std::move(setup));
  Connection connection = rig.begin();
  rig.pty.type("typed\n");
  rig.pty.shown("typed\r\n");  // the echo
  connection.data(pb::STDOUT, 0, "still alive");
  rig.pty.shown("still alive");
  shell.signal(SIGUSR1);
  CHECK(next(connection, &pb::Envelope::has_data).data().stream() == pb::STDIN);
  connection.exited(6 << 8);
  CHECK(WEXITSTATUS(shell.finish()) == 6);
}

TEST_CASE("run -t: stdin that is no terminal") {
  TemporaryDirectory directory;
  FakeHostd hostd(directory.path() + "/hostd.sock");
  Process remote(remote_program(), {"run", "-t", "cmd"},
                 {{"REMOTE_SOCKET=" + hostd.path()}, [] {}, {}, {}, {}});
  CHECK(WEXITSTATUS(remote.finish()) == 125);
  CHECK(remote.error() == "remote: use -t: stdin is no terminal; leave -t out\n");
}

TEST_CASE("tty: Ctrl-C is the job's; twice it ends the shadow if the job cannot be reached") {
  Rig rig;
  Process remote = rig.start({"-t", "cmd"});
  Connection connection = rig.begin();
  REQUIRE(eventually([&] { return rig.pty.raw(); }));
  const auto asked = [&] {
    for (;;) {
      pb::Envelope envelope = connection.receive_but_acks().envelope;
      if (envelope.has_signal()) return envelope;
    }
  };
  rig.pty.type("\x03");
  const pb::Envelope question = asked();
  CHECK(question.signal().number() == 0);  // the key itself goes as a key
  connection.answer(question, wire::failure(pb::Failure::UNREACHABLE, "h2 does not answer"));
  rig.pty.shown("Ctrl-C again");
  rig.pty.type("\x03");
  connection.expect_end();
  CHECK(died_of(remote.finish(), SIGINT));
  CHECK(same(rig.pty.settings(), rig.before));
}
