#include "base/fd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/kit/scratch.h"

namespace hob {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}
bool closes_on_exec(int fd) {
  return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

TEST_CASE("an Fd closes its descriptor, once, whoever owns it last") {
  Pipe pipe = make_pipe().value();
  const int raw = pipe.read_end.get();
  CHECK(closes_on_exec(raw));
  {
    Fd owner = std::move(pipe.read_end);
    CHECK_FALSE(pipe.read_end);
    CHECK(is_open(raw));
    Fd* same = &owner;
    owner = std::move(*same);  // to itself
    CHECK(is_open(raw));
  }
  CHECK_FALSE(is_open(raw));

  Fd writer = std::move(pipe.write_end);
  const int kept = writer.get();
  CHECK(writer.release() == kept);
  CHECK_FALSE(writer);
  CHECK(is_open(kept));
  writer.reset(kept);
  writer.reset();
  CHECK_FALSE(is_open(kept));
}

TEST_CASE("a duplicate is another descriptor of the same file, close-on-exec") {
  Scratch dir;
  Fd one = open_file(dir / "file", O_RDWR | O_CREAT, 0600).value();
  Fd two = one.duplicate().value();
  CHECK(two.get() != one.get());
  CHECK(closes_on_exec(two.get()));
  REQUIRE(::lseek(one.get(), 5, SEEK_SET) == 5);
  CHECK(::lseek(two.get(), 0, SEEK_CUR) == 5);
}

TEST_CASE("opening what is not there names the path") {
  CHECK(open_file("/nowhere/at/all", O_RDONLY).error().text ==
        "open /nowhere/at/all: No such file or directory");
}

TEST_CASE("files are read whole, also those without a size, and no further than the limit") {
  Scratch dir;
  const std::string big(100'000, 'x');
  REQUIRE(replace_file(dir / "big", big).ok());
  CHECK(*read_file(dir / "big") == big);
  CHECK(*read_file(dir / "big", big.size()) == big);
  CHECK(read_file(dir / "big", big.size() - 1).error().code == EFBIG);
  CHECK(read_file("/proc/self/status")->find("Pid:") != std::string::npos);
}

TEST_CASE("replace_file leaves the whole new content, the mode, and nothing else") {
  Scratch dir;
  for (bool durable : {false, true}) {
    REQUIRE(replace_file(dir / "f", "old", 0600, durable).ok());
    REQUIRE(replace_file(dir / "f", "new and longer", 0600, durable).ok());
    CHECK(*read_file(dir / "f") == "new and longer");
    CHECK(mode_of(dir / "f") == 0600);
    CHECK(::access((dir / "f.new").c_str(), F_OK) < 0);
  }
}

TEST_CASE("replace_file gives a leftover of a crash no say over mode or place") {
  Scratch dir;
  REQUIRE(replace_file(dir / "victim", "untouched").ok());
  SECTION("a readable one") {
    REQUIRE(::close(::creat((dir / "key.new").c_str(), 0644)) == 0);
  }
  SECTION("a link") {
    REQUIRE(::symlink((dir / "victim").c_str(), (dir / "key.new").c_str()) == 0);
  }
  REQUIRE(replace_file(dir / "key", "secret", 0600).ok());
  CHECK(mode_of(dir / "key") == 0600);
  CHECK(*read_file(dir / "key") == "secret");
  CHECK(*read_file(dir / "victim") == "untouched");
}

TEST_CASE("a replace_file that fails keeps the old file and leaves no part of the new one") {
  Scratch dir;
  REQUIRE(make_directories(dir / "taken/inside").ok());  // a full directory cannot be replaced
  CHECK(replace_file(dir / "taken", "data").error().code == EISDIR);
  CHECK(::access((dir / "taken.new").c_str(), F_OK) < 0);

  Fd full = open_file("/dev/full", O_WRONLY).value();
  const std::string data = "data";
  CHECK(write_all(full.get(), std::as_bytes(std::span(data)), "the disk").error().text ==
        "write the disk: No space left on device");
}

TEST_CASE("directories are made with their parents, and what is no directory is an Error") {
  Scratch dir;
  CHECK(make_directories(dir / "a/b/c").ok());
  CHECK(make_directories(dir / "a/b/c").ok());
  CHECK(make_directories(dir / "a//d/").ok());
  CHECK(::access((dir / "a/d").c_str(), F_OK) == 0);
  REQUIRE(replace_file(dir / "file", "").ok());
  CHECK(make_directories(dir / "file").error().code == ENOTDIR);
  CHECK(make_directories(dir / "file/below").error().code == ENOTDIR);
}

TEST_CASE("write_control writes to what exists, and names value and path when it cannot") {
  Scratch dir;
  CHECK(write_control(dir / "cgroup.freeze", "1").error().code == ENOENT);
  CHECK(write_control("/dev/full", "1").error().text ==
        "write '1' to /dev/full: No space left on device");
  CHECK(write_control("/dev/null", "1").ok());
}

TEST_CASE("a link is read as it stands") {
  Scratch dir;
  REQUIRE(::symlink("some where", (dir / "link").c_str()) == 0);
  CHECK(*read_link(dir / "link") == "some where");
  CHECK(read_link(dir / "none").error().code == ENOENT);
}

TEST_CASE("a socket pair blocks or not, as asked") {
  char byte;
  auto [a, b] = make_socket_pair(true).value();
  CHECK(::read(a.get(), &byte, 1) == -1);
  CHECK(errno == EAGAIN);
  auto [c, d] = make_socket_pair(false).value();
  CHECK((::fcntl(c.get(), F_GETFL) & O_NONBLOCK) == 0);
  REQUIRE(set_nonblocking(c.get()).ok());
  CHECK((::fcntl(c.get(), F_GETFL) & O_NONBLOCK) != 0);
}

}  // namespace
}  // namespace hob
