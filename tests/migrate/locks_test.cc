#include "migrate/locks.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include <catch2/catch.hpp>

#include "rig.h"

using namespace hob;
using namespace hob::test;
using migrate::Fault;
using migrate::fault::Act;

/// A lock of a guest's in a file that others use, too: nobody comes in while the guest moves, and
/// whatever fails, somebody has the lock.
namespace {

struct SharedFile {
  std::string path = "/tmp/hob-locks." + std::to_string(::getpid());
  SharedFile() {
    Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666));
    REQUIRE(fd);
    REQUIRE(::fchmod(fd.get(), 0666) == 0);
  }
  ~SharedFile() { ::unlink(path.c_str()); }
};

// Locks for writing, whatever kind; gives it back. Without waiting, unless told so.
bool lock(int fd, const std::string& kind, bool wait = false) {
  if (kind == "flock") {
    if (::flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0) return false;
    return ::flock(fd, LOCK_UN) == 0;
  }
  struct flock range = {};
  range.l_type = F_WRLCK;
  if (::fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range) < 0) return false;
  range.l_type = F_UNLCK;
  return ::fcntl(fd, F_OFD_SETLK, &range) == 0;
}

/// Another program that wants the lock, again and again, for as long as this lives.
class Stranger {
 public:
  Stranger(const std::string& path, const std::string& kind, bool waits) {
    void* at =
        ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    seen_ = new (at) Seen;
    pid_ = ::fork();
    if (pid_ == 0) {
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      for (; fd >= 0;) {
        seen_->tries++;
        if (lock(fd, kind, waits)) seen_->got++;
      }
      ::_exit(1);
    }
    while (seen_->tries == 0) ::usleep(1000);
  }
  ~Stranger() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(seen_, sizeof(Seen));
  }
  int got() const { return seen_->got; }
  int tries() const { return seen_->tries; }

 private:
  struct Seen {
    std::atomic<int> tries{0}, got{0};
  };
  Seen* seen_ = nullptr;
  pid_t pid_ = -1;
};

struct Attempt {
  SharedFile file;
  std::string kind;
  Collector collector;
  std::unique_ptr<Host> source = std::make_unique<Host>(collector.write_end());
  std::unique_ptr<Host> target = std::make_unique<Host>(collector.write_end());
  Host::Outcome outcome;
  Result<void> received = Error{"never began"};

  explicit Attempt(const std::string& what) : kind(what) {
    Home::get().reset();
    REQUIRE(source->start({victim("locks"), file.path, kind}).ok());
    REQUIRE(collector.wait_for("ready"));
  }
  void move() {
    auto port = target->listen();
    REQUIRE(port.ok());
    outcome = source->send(*port, *target);
    received = target->received();
  }
  bool locked() {
    Fd fd(::open(file.path.c_str(), O_RDWR | O_CLOEXEC));
    return !lock(fd.get(), kind);
  }
  void finishes_on(Host& host) {
    CHECK(locked());
    host.write_input("go\n");
    auto status = host.wait_exit(15000);
    INFO("output: " << collector.drain());
    REQUIRE(status);
    CHECK(*status == 0);
    CHECK(collector.wait_for("ok\n"));
    CHECK_FALSE(locked());
  }
};

}  // namespace

TEST_CASE("nobody gets a lock for writing while its owner moves") {
  for (const char* kind : {"flock", "posix", "ofd"}) {
    INFO(kind);
    Attempt a(kind);
    auto stranger = std::make_unique<Stranger>(a.file.path, kind, false);
    for (int move = 0; move < 4; move++) {
      a.move();
      INFO(a.outcome.text);
      REQUIRE(a.outcome.moved);
      REQUIRE(a.received.ok());
      std::swap(a.source, a.target);
      a.target = std::make_unique<Host>(a.collector.write_end());
    }
    CHECK(stranger->got() == 0);
    CHECK(stranger->tries() > 1);
    stranger.reset();
    a.finishes_on(*a.source);
  }
}

TEST_CASE("who waits for a guest's lock keeps it here") {
  for (const char* kind : {"flock", "posix", "ofd"}) {
    INFO(kind);
    Attempt a(kind);
    {
      Stranger stranger(a.file.path, kind, true);
      ::usleep(50000);  // it has said that it is about to wait
      a.move();
      CHECK_FALSE(a.outcome.moved);
      CHECK(a.outcome.text.find("waits for it; cannot be moved yet") != std::string::npos);
      CHECK(stranger.got() == 0);
    }
    a.finishes_on(*a.source);
  }
}

TEST_CASE("a lock is still there after every failure") {
  for (const char* kind : {"flock", "posix"}) {
    for (Fault where : {Fault::seized, Fault::captured, Fault::image_sending}) {
      INFO(kind << " source " << static_cast<int>(where));
      Attempt a(kind);
      a.source->arm(where, Act::error);
      a.move();
      CHECK_FALSE(a.outcome.moved);
      a.finishes_on(*a.source);
    }
    for (Fault where : {Fault::adopted, Fault::threads, Fault::restored})
      for (Act act : {Act::error, Act::die}) {
        INFO(kind << " target " << static_cast<int>(where) << " act " << static_cast<int>(act));
        Attempt a(kind);
        a.target->arm(where, act);
        a.move();
        CHECK_FALSE(a.outcome.moved);
        CHECK(a.locked());
        a.target = std::make_unique<Host>(a.collector.write_end());
        a.move();
        INFO(a.outcome.text);
        REQUIRE(a.outcome.moved);
        a.finishes_on(*a.target);
      }
  }
}

TEST_CASE("a lock ends with the guest when an end dies after the commit") {
  for (Act act : {Act::error, Act::die}) {
    {
      Attempt a("posix");
      a.source->arm(Fault::let_go, act);
      a.move();
      ::usleep(200000);
      CHECK(a.source->alive() == (act == Act::error));
      if (a.source->alive()) CHECK(a.source->guests().empty());
    }
    Attempt a("posix");
    a.target->arm(Fault::taken_over, act);
    a.move();
    CHECK_FALSE(a.received.ok());
    if (a.source->alive()) CHECK(a.source->guests().empty());
  }
}

TEST_CASE("the kernel's list of locks tells who waits") {
  const std::string text =
      "1: POSIX  ADVISORY  WRITE 693 fe:01:1234 0 EOF\n"
      "1: -> POSIX  ADVISORY  WRITE 700 fe:01:1234 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 701 fe:01:77 0 EOF\n";
  const std::string first[] = {"fe:01:1234"}, second[] = {"fe:01:77"};
  CHECK(migrate::waiter(text, first) == 700);
  CHECK(migrate::waiter(text, second) == 0);
  CHECK(migrate::waiter("", first) == 0);
}
