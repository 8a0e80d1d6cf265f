#include "rig.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

/// What cannot be moved is named, and the guest goes on as if nobody had asked.
static void refused(const std::vector<std::string>& arguments, const std::string& because) {
  Plan plan;
  plan.moves = 1;
  Verdict v = run_and_move(arguments, plan);
  INFO("output: " << v.output);
  CHECK_FALSE(v.moved);
  CHECK(v.problem.find(because) != std::string::npos);
  CHECK(v.problem.find("cannot be moved yet") != std::string::npos);
  INFO("problem: " << v.problem);
  CHECK(v.status == 0);
  CHECK(v.output.find("ok\n") != std::string::npos);
}

namespace {

/// A server on loopback, as sockaddr_in.
struct Server {
  Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  Server() {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(socket.get(), any, size) == 0);
    REQUIRE(::listen(socket.get(), 8) == 0);
    REQUIRE(::getsockname(socket.get(), any, &size) == 0);
  }
  std::string port() const { return std::to_string(ntohs(address.sin_port)); }
};

}  // namespace

TEST_CASE("a connection to a server outside is named") {
  Server server;
  refused({victim("refused"), "connection", server.port()},
          "fd 3 of process 2 (refused): a connection to 127.0.0.1:" + server.port() +
              " that nobody has accepted yet");
  Fd accepted(::accept(server.socket.get(), nullptr, nullptr));  // the first one's
  std::thread accepting =
      std::thread([&] { accepted.reset(::accept(server.socket.get(), nullptr, nullptr)); });
  refused({victim("refused"), "connection", server.port()},
          "fd 3 of process 2 (refused): a network connection to 127.0.0.1:" + server.port());
  accepting.join();
}
TEST_CASE("a server's own troubles are named") {
  refused(
      {victim("refused"), "unaccepted"},
      "fd 3 of process 2 (refused): a TCP socket with connections that nobody has accepted yet");
  refused({victim("refused"), "address"},
          "fd 3 of process 2 (refused): a network socket at 192.0.2.1:");
  refused({victim("refused"), "urgent"}, "urgent data on its way (MSG_OOB)");
  refused({victim("refused"), "datagram"}, "a UDP socket with messages that nobody has read yet");
}
TEST_CASE("an empty message in a socket's queue is named") {
  refused({victim("refused"), "empty"}, "an empty message on its way between processes");
}
TEST_CASE("inotify events that nobody has read are named") {
  refused({victim("refused"), "inotify"},
          "fd 3 of process 2 (refused): an inotify instance with events that are not read yet");
}
TEST_CASE("a part of System V shared memory is named") {
  refused({victim("refused"), "sysv"}, "it has unmapped a part of shared memory");
}
TEST_CASE("a named pipe that others have open is named") {
  const std::string path = "/tmp/hob-fifo." + std::to_string(::getpid());
  REQUIRE(::mkfifo(path.c_str(), 0666) == 0);
  REQUIRE(::chmod(path.c_str(), 0666) == 0);
  Fd mine(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(mine);
  refused({victim("refused"), "fifo", path}, "fd 3 of process 2 (refused): the named pipe " + path +
                                                 ", which process " + std::to_string(::getpid()));
  ::unlink(path.c_str());
}
TEST_CASE("what is on its way to a socket is named") {
  refused({victim("refused"), "waiting"},
          "a unix socket with connections that nobody has accepted");
  refused({victim("refused"), "descriptors"}, "descriptors on their way between processes");
  refused({victim("refused"), "credentials"}, "messages with credentials on their way");
}
TEST_CASE("a connection to a socket outside is named") {
  const std::string path = "/tmp/hob-socket." + std::to_string(::getpid());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::chmod(path.c_str(), 0666) == 0);
  REQUIRE(::listen(listener.get(), 8) == 0);
  refused({victim("refused"), "outside", path},
          "fd 3 of process 2 (refused): a unix socket whose connection nobody has accepted yet");
  Fd accepted;
  accepted.reset(::accept(listener.get(), nullptr, nullptr));  // the first one's
  REQUIRE(accepted);
  accepted.reset();
  std::thread server =
      std::thread([&] { accepted.reset(::accept(listener.get(), nullptr, nullptr)); });
  refused({victim("refused"), "outside", path},
          "fd 3 of process 2 (refused): a unix socket whose other end is outside the job");
  server.join();
  ::unlink(path.c_str());
}
TEST_CASE("sockets of other families are named") {
  refused({victim("refused"), "netlink"}, "fd 3 of process 2 (refused): a netlink socket");
}
TEST_CASE("a device is named") {
  const std::string path = "/tmp/hob-device." + std::to_string(::getpid());
  const bool made = ::mknod(path.c_str(), S_IFCHR, makedev(10, 229)) == 0 &&  // fuse
                    ::chmod(path.c_str(), 0666) == 0 && Fd(::open(path.c_str(), O_RDWR));
  if (!made) {
    WARN("SKIP: needs a device to open (fuse)");
    return;
  }
  refused({victim("refused"), "device", path}, "fd 3 of process 2 (refused): the device " + path);
  ::unlink(path.c_str());
}
TEST_CASE("a private file of /proc is named") {
  refused({victim("refused"), "environment"},
          "fd 3 of process 2 (refused): the file /proc/2/environ");
}
TEST_CASE("a deleted directory is named") {
  refused({victim("refused"), "directory"},
          "fd 3 of process 2 (refused): the deleted directory /tmp/");
  refused({victim("refused"), "directory"},
          "working directory of process 2 (refused): it has been deleted");
}
TEST_CASE("a shared table of descriptors is named") {
  refused({victim("refused"), "table"}, "it shares its descriptors with process 2 (refused)");
}
TEST_CASE("a filter that asks another process is named") {
  refused({victim("refused"), "filter"},
          "process 2 (refused): it has a seccomp filter that asks another process");
}
TEST_CASE("a lease is named") {
  refused({victim("refused"), "lease"}, "fd 3 of process 2 (refused): a lease");
}
