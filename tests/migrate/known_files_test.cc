// What is known of open files, and when it is no longer (migrate/known_files.h). The process looked
// at is this one.
#include "migrate/known_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::migrate;

namespace {

class Directory {
 public:
  Directory() { REQUIRE(::mkdtemp(path_.data())); }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/hob-known-files.XXXXXX";
};

Tid self() {
  return Tid{::getpid()};
}

Fd open_new(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(fd);
  return fd;
}

/// As describe() says of a regular file.
Described as_described(const Fd& fd, const std::string& path) {
  struct stat st;
  REQUIRE(::fstat(fd.get(), &st) == 0);
  Described d;
  d.description.kind = DescriptionKind::regular;
  d.description.path = path;
  d.description.flags = static_cast<uint32_t>(::fcntl(fd.get(), F_GETFL));
  d.device = st.st_dev;
  d.inode = st.st_ino;
  d.close_on_exec = true;
  return d;
}

/// `fd` leads to another description from now on.
void replace(const Fd& fd, const std::string& path, int flags = O_RDWR) {
  const Fd other(::open(path.c_str(), flags));
  REQUIRE(other);
  REQUIRE(::dup3(other.get(), fd.get(), O_CLOEXEC) == fd.get());
}

}  // namespace

TEST_CASE("a file is still what it was, or not") {
  const Directory directory;
  const std::string path = directory.file("one");
  const Fd fd = open_new(path);
  REQUIRE(::write(fd.get(), "0123456789", 10) == 10);
  KnownFiles known;
  known.learn(self(), fd.get(), as_described(fd, path));
  const auto now = [&] { return known.still(self(), fd.get()); };
  REQUIRE(now());
  CHECK(now()->description.position == 10);

  SECTION("its position is the present one") {
    REQUIRE(::lseek(fd.get(), 3, SEEK_SET) == 3);
    CHECK(now()->description.position == 3);
  }
  SECTION("opened anew it is the same, from where it stands now") {
    replace(fd, path);
    REQUIRE(now());
    CHECK(now()->description.position == 0);
    CHECK(now()->description.path == path);
  }
  SECTION("another file") {
    open_new(directory.file("two"));
    replace(fd, directory.file("two"));
    CHECK_FALSE(now());
  }
  SECTION("opened for something else") {
    replace(fd, path, O_RDONLY);
    CHECK_FALSE(now());
  }
  SECTION("closed on exec no more") {
    REQUIRE(::fcntl(fd.get(), F_SETFD, 0) == 0);
    CHECK_FALSE(now());
  }
  SECTION("under another name") {
    REQUIRE(::rename(path.c_str(), directory.file("moved").c_str()) == 0);
    CHECK_FALSE(now());
  }
  SECTION("without a name") {
    REQUIRE(::unlink(path.c_str()) == 0);
    CHECK_FALSE(now());
  }
  SECTION("locked") {
    flock lock = {};
    lock.l_type = F_WRLCK;
    REQUIRE(::fcntl(fd.get(), F_SETLK, &lock) == 0);
    CHECK_FALSE(now());
  }
  SECTION("never seen") {
    CHECK_FALSE(known.still(self(), fd.get() + 1000));
  }
}

TEST_CASE("a file with two names is asked for by itself, not by its number") {
  const Directory directory;
  const std::string path = directory.file("one");
  const Fd fd = open_new(path);
  REQUIRE(::link(path.c_str(), directory.file("two").c_str()) == 0);
  KnownFiles known;
  known.learn(self(), fd.get(), as_described(fd, path));
  CHECK(known.still(self(), fd.get()));
  replace(fd, directory.file("two"));
  CHECK_FALSE(known.still(self(), fd.get()));
}

TEST_CASE("many are looked at by a thread, which says the same") {
  const Directory directory;
  std::vector<Fd> files;
  KnownFiles known;
  for (int i = 0; i < 100; i++) {
    const std::string path = directory.file(std::to_string(i));
    files.push_back(open_new(path));
    REQUIRE(::ftruncate(files.back().get(), 1000) == 0);
    known.learn(self(), files.back().get(), as_described(files.back(), path));
  }
  known.prepare(::sched_getcpu());
  for (int i = 0; i < 100; i++)
    REQUIRE(::lseek(files[static_cast<size_t>(i)].get(), i, SEEK_SET) == i);
  replace(files[7], directory.file("8"));
  SECTION("when it has begun") {
    known.begin();
  }
  SECTION("and the caller, when it never does") {}
  for (int i = 0; i < 100; i++) {
    INFO(i);
    const auto now = known.still(self(), files[static_cast<size_t>(i)].get());
    REQUIRE(now.has_value() == (i != 7));
    if (now) CHECK(now->description.position == static_cast<uint64_t>(i));
  }
}
