// The standard streams of `remote run`, against a hostd that the test plays.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <thread>

#include "run_rig.h"
#include "wire/byte_stream.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

std::string random_bytes(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
  return bytes;
}

/// Everything the job gets on stdin, acknowledged as it comes.
std::string receive_input(Connection& connection) {
  wire::StreamReceiver receiver;
  std::string input;
  while (!receiver.ended()) {
    const wire::Message message = connection.receive_but_acks();
    const pb::Data& data = message.envelope.data();
    REQUIRE(data.stream() == pb::STDIN);
    REQUIRE(receiver.receive(data.offset(), message.bulk, data.end()).ok());
    input += receiver.ready();
    receiver.consume(receiver.ready().size());
    connection.ack(receiver.offset());
  }
  return input;
}

}  // namespace

TEST_CASE("run: stdout and stderr are separate streams, byte for byte") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin();
  const std::string out = random_bytes(200'000, 1), err = random_bytes(70'000, 2);
  wire::StreamSender out_sender, err_sender;
  out_sender.append(out);
  err_sender.append(err);
  std::mt19937 random(3);
  for (bool more = true; more;) {
    more = false;
    for (auto [sender, stream] : {std::pair(&out_sender, pb::STDOUT), {&err_sender, pb::STDERR}})
      if (auto piece = sender->piece(1 + random() % 9000)) {
        connection.data(stream, piece->offset, piece->bytes);
        more = true;
      }
  }
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
  CHECK(remote.output() == out);
  CHECK(remote.error() == err);
}

TEST_CASE("run: output that comes twice, early or overlapping is written once and in order") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  connection.data(pb::STDOUT, 6, "gh");
  connection.data(pb::STDOUT, 0, "abc");
  connection.data(pb::STDOUT, 0, "abcde");
  connection.started();  // the job has moved
  connection.data(pb::STDOUT, 3, "defgh", true);
  connection.data(pb::STDOUT, 3, "defgh", true);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
  CHECK(remote.output() == "abcdefgh");
}

TEST_CASE("run: what was written is acknowledged, and no more") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  connection.data(pb::STDOUT, 0, "abc");
  connection.data(pb::STDOUT, 5, "fg");  // early
  CHECK(remote.read_output() == "abc");
  const pb::Envelope ack = connection.receive().envelope;
  CHECK(ack.ack().stream() == pb::STDOUT);
  CHECK(ack.ack().offset() == 3);
  CHECK_FALSE(ack.ack().closed());
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a hostd that sends bytes beyond the window ends the run with a clear word") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  connection.data(pb::STDOUT, wire::kStreamWindow, "x");
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error().find("window") != std::string::npos);
}

TEST_CASE("run: a slow reader gets everything before the shadow exits") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin();
  const std::string out = random_bytes(wire::kStreamWindow, 4);  // more than a pipe holds
  for (size_t at = 0; at < out.size(); at += wire::kStreamPiece)
    connection.data(pb::STDOUT, at, out.substr(at, wire::kStreamPiece));
  connection.exited(3 << 8);
  CHECK(remote.read_output(1) == out.substr(0, 1));
  CHECK(exited_with(remote.finish(), 3));
  CHECK(remote.output() == out.substr(1));
}

TEST_CASE("run: stdin arrives byte for byte through a window that the job opens slowly") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  const std::string input = random_bytes(3 * wire::kStreamWindow + 12345, 5);
  std::string received;
  {
    std::jthread feed([&] {
      remote.write(input);
      remote.close_input();
    });
    received = receive_input(connection);
  }
  CHECK(received == input);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: stdin that was lost on the way is sent again, and so is its end") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  remote.write("abc");
  for (int i = 0; i < 2; ++i) {
    const wire::Message message = connection.receive_but_acks();
    REQUIRE(message.envelope.data().offset() == 0);
    REQUIRE(message.bulk == "abc");
  }
  connection.ack(3);
  remote.close_input();
  for (int i = 0; i < 2; ++i) {
    const wire::Message message = connection.receive_but_acks();
    REQUIRE(message.envelope.data().offset() == 3);
    REQUIRE(message.envelope.data().end());
  }
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: stdin from files, sockets and nothing") {
  RunRig rig;
  const std::string path = rig.directory.path() + "/input", content = random_bytes(600'000, 6);
  REQUIRE(replace_file(path, content).ok());
  const Fd file = open_file(path, O_RDONLY).value();
  auto [near, far] = make_socket_pair(false).value();
  Process::Setup setup;
  std::string expected;
  std::vector<std::string> arguments{"cmd"};
  SECTION("file") {
    setup.in = file.get();
    expected = content;
  }
  SECTION("socket") {
    setup.in = far.get();
    expected = "hello";
    REQUIRE(::send(near.get(), "hello", 5, 0) == 5);
    ::shutdown(near.get(), SHUT_WR);
  }
  SECTION("-n") {
    setup.in = file.get();
    arguments = {"-n", "cmd"};
  }
  SECTION("closed") {
    setup.in_child = [] { ::close(0); };
  }
  Process remote = rig.start(arguments, setup);
  Connection connection = rig.begin();
  CHECK(receive_input(connection) == expected);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: what is closed here is closed for the job") {
  RunRig rig;
  const auto closed = [&](std::vector<std::string> arguments, std::vector<int> descriptors) {
    Process::Setup setup;
    setup.in_child = [&] {
      for (int fd : descriptors) ::close(fd);
    };
    Process remote = rig.start(std::move(arguments), setup);
    Connection connection = rig.hostd.accept();
    const pb::Envelope request = connection.receive().envelope;
    connection.accept(request);
    connection.started();
    connection.exited(0);
    CHECK(exited_with(remote.finish(), 0));
    const auto& fds = request.run().program().closed();
    return std::vector<uint32_t>(fds.begin(), fds.end());
  };
  CHECK(closed({"cmd"}, {}).empty());
  CHECK(closed({"cmd"}, {1}) == std::vector<uint32_t>{1});
  CHECK(closed({"cmd"}, {0, 1, 2}) == std::vector<uint32_t>{0, 1, 2});
  CHECK(closed({"-n", "cmd"}, {0}).empty());
}

TEST_CASE("run: with --or-local, too") {
  TemporaryDirectory directory;
  Process::Setup setup;
  setup.environment = {"REMOTE_SOCKET=" + directory.path() + "/none"};
  setup.in_child = [] { ::close(1); };
  Process remote(remote_program(),
                 {"run", "-q", "--or-local", "sh", "-c", "exec 2>&1; test -e /proc/self/fd/1"},
                 setup);
  CHECK_FALSE(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a stdin that cannot be read is an error, before the job begins") {
  RunRig rig;
  const Fd directory = open_file("/", O_RDONLY | O_DIRECTORY).value();
  const Fd write_only = open_file("/dev/null", O_WRONLY).value();
  const std::pair<int, std::string> cases[] = {{directory.get(), "Is a directory"},
                                               {write_only.get(), "Bad file descriptor"}};
  for (const auto& [fd, cause] : cases) {
    Process::Setup setup;
    setup.in = fd;
    Process remote = rig.start({"cmd"}, setup);
    rig.hostd.accept().expect_end();
    CHECK(exited_with(remote.finish(), 125));
    CHECK(remote.error() ==
          "remote: read stdin: " + cause + "; give the command a file, or no input with -n\n");
    Process without = rig.start({"-n", "cmd"}, setup);
    rig.begin().exited(0);
    CHECK(exited_with(without.finish(), 0));
  }
}

TEST_CASE("run: stdin is not touched before the job runs") {
  RunRig rig;
  const std::string path = rig.directory.path() + "/input";
  REQUIRE(replace_file(path, "for the next one").ok());
  const Fd file = open_file(path, O_RDONLY).value();
  Process::Setup setup;
  setup.in = file.get();
  Process remote = rig.start({"cmd"}, setup);
  Connection connection = rig.hostd.accept();
  connection.answer(connection.receive().envelope, wire::failure(pb::Failure::NO_HOST, "no"));
  CHECK(exited_with(remote.finish(), 125));
  CHECK(::lseek(file.get(), 0, SEEK_CUR) == 0);
}

TEST_CASE("run: unacknowledged stdin is sent again when the job runs at a new place") {
  RunRig rig;
  Process remote = rig.start({"cmd"});
  Connection connection = rig.begin();
  remote.write("abcdef");
  remote.close_input();
  std::string first;
  for (bool end = false; !end;) {
    const wire::Message message = connection.receive();
    first += message.bulk;
    end = message.envelope.data().end();
  }
  CHECK(first == "abcdef");
  connection.ack(2);
  connection.started();
  const wire::Message again = connection.receive();
  CHECK(again.envelope.data().offset() == 2);
  CHECK(again.envelope.data().end());
  CHECK(again.bulk == "cdef");
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a job that closes its stdin closes ours") {
  RunRig rig;
  ::signal(SIGPIPE, SIG_IGN);
  Process remote = rig.start({"cmd"}, {{}, [] { ::signal(SIGPIPE, SIG_DFL); }, {}, {}, {}});
  Connection connection = rig.begin();
  remote.write("x");
  CHECK(connection.receive().bulk == "x");
  connection.ack(1, true);
  const auto broken = [&] {
    try {
      remote.write("y");
    } catch (const std::exception&) {
      return true;
    }
    return false;
  };
  CHECK(eventually(broken));
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}

TEST_CASE("run: a reader that goes away closes the job's stdout, and the run goes on") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin_without_input();
  remote.close_output();
  connection.data(pb::STDOUT, 0, "nobody reads this");
  const pb::Envelope ack = connection.receive().envelope;
  CHECK(ack.ack().stream() == pb::STDOUT);
  CHECK(ack.ack().closed());
  connection.exited(SIGPIPE);
  CHECK(died_of(remote.finish(), SIGPIPE));
  CHECK(remote.error().empty());
}

TEST_CASE("run: output that cannot be written is not a success") {
  RunRig rig;
  const Fd full = open_file("/dev/full", O_WRONLY).value();
  Process::Setup setup;
  setup.out = full.get();
  Process remote = rig.start({"-n", "cmd"}, setup);
  Connection connection = rig.begin();
  connection.data(pb::STDOUT, 0, "lost");
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 125));
  CHECK(remote.error() == "remote: write stdout: No space left on device\n");
}

TEST_CASE("run: our stdout stays blocking for those who share it") {
  RunRig rig;
  Process remote = rig.start({"-n", "cmd"});
  Connection connection = rig.begin();
  connection.data(pb::STDOUT, 0, "x");
  CHECK(remote.read_output() == "x");
  const std::string flags =
      read_file("/proc/" + std::to_string(remote.pid()) + "/fdinfo/1").value();
  CHECK(flags.find("flags:\t01\n") != std::string::npos);
  connection.exited(0);
  CHECK(exited_with(remote.finish(), 0));
}
