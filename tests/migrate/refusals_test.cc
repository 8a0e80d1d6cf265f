#include "rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

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

TEST_CASE("a socket is named") {
  refused({victim("refused"), "socket"}, "fd 3 of process 2 (refused): a network connection");
}
TEST_CASE("an empty message in a socket's queue is named") {
  refused({victim("refused"), "empty"}, "an empty message on its way between processes");
}
TEST_CASE("inotify is named") {
  refused({victim("refused"), "inotify"}, "fd 3 of process 2 (refused): inotify");
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
TEST_CASE("a lease is named") {
  refused({victim("refused"), "lease"}, "fd 3 of process 2 (refused): a lease");
}
