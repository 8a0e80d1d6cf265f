#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/fifos.h"
#include "migrate/here.h"

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::migrate;

/// What the victims cannot show, because both their hosts are one machine.
namespace {

const Credentials kUser{65534, 65534, {65534}};

std::string read_some(const Fd& fd) {
  char buffer[64];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  return n < 0 ? "nothing" : std::string(buffer, static_cast<size_t>(n));
}

}  // namespace

TEST_CASE("a named pipe is filled on another machine, and found full on the same") {
  const std::string path = "/tmp/hob-fifo." + std::to_string(::getpid());
  REQUIRE(::mkfifo(path.c_str(), 0666) == 0);
  REQUIRE(::chmod(path.c_str(), 0666) == 0);
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  PipeImage image;
  image.path = path;
  image.device = st.st_dev;
  image.inode = st.st_ino;
  image.capacity = 8192;
  image.content = {std::byte{'a'}, std::byte{'b'}};
  {
    auto fd = open_fifo(image, true, "another kernel", kUser);
    REQUIRE(fd.ok());
    CHECK(::fcntl(fd->get(), F_GETPIPE_SZ) == 8192);
    CHECK(read_some(*fd) == "ab");
    REQUIRE(::write(fd->get(), "cd", 2) == 2);
    auto same = open_fifo(image, true, this_machine().value(), kUser);
    REQUIRE(same.ok());
    CHECK(read_some(*same) == "cd");
    CHECK(read_some(*same) == "nothing");
  }
  ::unlink(path.c_str());
  CHECK_FALSE(open_fifo(image, true, "another kernel", kUser).ok());
  Fd file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666));
  REQUIRE(::fchmod(file.get(), 0666) == 0);
  auto wrong = open_fifo(image, true, "another kernel", kUser);
  REQUIRE_FALSE(wrong.ok());
  CHECK(wrong.error().text == "open " + path + ": it is not what it was at the source");
  ::unlink(path.c_str());
}
