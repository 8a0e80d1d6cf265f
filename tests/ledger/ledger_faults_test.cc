#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "base/fd.h"
#include "tests/ledger/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;
using Catch::Matchers::Contains;

namespace {

/// A small file system on a directory, unmounted with the object.
class SmallDisk {
 public:
  explicit SmallDisk(const Scratch& at) : at_(at / ".") {
    mounted_ = ::mount("hob-test", at_.c_str(), "tmpfs", 0, "size=2m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  explicit operator bool() const { return mounted_; }

  void fill() {
    const std::string path = at_ + "/filler";
    const Fd file = get(open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600));
    const std::string block(4096, 'x');
    ssize_t written = 0;
    do {
      written = ::write(file.get(), block.data(), block.size());
    } while (written > 0);
    REQUIRE(errno == ENOSPC);
  }
  void empty() { REQUIRE(::unlink((at_ + "/filler").c_str()) == 0); }

 private:
  std::string at_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("a full disk is reported, loses nothing, and is got over") {
  Scratch scratch;
  SmallDisk disk(scratch);
  if (!disk) {
    std::puts("SKIP: needs the right to mount a tmpfs");
    return;
  }
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  const HostId a = get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
  get(ledger.record(job_row("before", a)));
  get(ledger.commit());

  disk.fill();
  constexpr size_t rows = 300;
  for (size_t i = 0; i < rows; ++i) {
    JobRow row = job_row("a-" + std::to_string(i), a, static_cast<int64_t>(i));
    row.command = std::string(1000, 'c');
    get(ledger.record(row));
  }
  for (int attempt = 0; attempt < 3; ++attempt) {
    const Error error = fail(ledger.commit());
    CHECK_THAT(error.text, Contains("ledger " + (scratch / "ledger")));
    CHECK_THAT(error.text, Contains("free space there, nothing accepted so far is lost"));
    CHECK(ledger.unwritten() == rows);
  }
  CHECK(get(ledger.job("before")).has_value());
  CHECK(get(ledger.hosts()).size() == 1);

  disk.empty();
  get(ledger.commit());
  CHECK(ledger.unwritten() == 0);
  CHECK(get(ledger.jobs(true)).size() == rows + 1);
  get(ledger.add_host(host_row("b"), std::nullopt, at(1)));
  CHECK(get(ledger.hosts()).size() == 2);
}

TEST_CASE("a host is not registered on a full disk") {
  Scratch scratch;
  SmallDisk disk(scratch);
  if (!disk) {
    std::puts("SKIP: needs the right to mount a tmpfs");
    return;
  }
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  disk.fill();
  HostRow large = host_row("a");
  large.endpoint = std::string(200'000, 'e');  // more than the log file has room for
  CHECK_THAT(fail(ledger.add_host(large, std::nullopt, at(0))).text, Contains("free space"));
  disk.empty();
  CHECK(get(ledger.hosts()).empty());
  get(ledger.add_host(large, std::nullopt, at(0)));
}

TEST_CASE("what waits to be written is bounded") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  for (size_t i = 0; i < Ledger::max_unwritten; ++i) {
    if (!ledger.record(GrantEnded{LeaseId{i}, "released", at(0)})) FAIL("refused row " << i);
  }
  CHECK_THAT(fail(ledger.record(GrantEnded{LeaseId{1}, "released", at(0)})).text,
             Contains("no more are kept"));
  get(ledger.commit());
  get(ledger.record(GrantEnded{LeaseId{1}, "released", at(0)}));
}

TEST_CASE("a row that contradicts the ledger does not hold up the others") {
  Scratch scratch;
  Ledger ledger = get(Ledger::open(scratch / "ledger", at(0)));
  const HostId a = get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
  get(ledger.record(job_row("stray", HostId{99})));
  get(ledger.record(GrantBegan{LeaseId{1}, HostId{98}, a, "ann", at(0)}));
  get(ledger.record(job_row("good", a)));
  get(ledger.commit());
  CHECK(ledger.unwritten() == 0);
  CHECK(get(ledger.job("good")).has_value());
  CHECK_FALSE(get(ledger.job("stray")).has_value());
}

TEST_CASE("a file that is no ledger, or a damaged one, is refused and left alone") {
  Scratch scratch;
  const std::string path = scratch / "ledger";
  SECTION("something else") {
    std::ofstream(path) << std::string(10'000, 'n');
    CHECK_THAT(fail(Ledger::open(path, at(0))).text,
               Contains("ledger " + path) && Contains("put back a backup"));
    CHECK(std::filesystem::file_size(path) == 10'000);
  }
  SECTION("damaged in the middle") {
    {
      Ledger ledger = get(Ledger::open(path, at(0)));
      const HostId a = get(ledger.add_host(host_row("a"), std::nullopt, at(0)));
      for (int i = 0; i < 500; ++i) get(ledger.record(job_row(std::to_string(i), a)));
      get(ledger.commit());
    }
    const auto size = std::filesystem::file_size(path);
    REQUIRE(size > 20 * 4096);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(static_cast<size_t>(size) - 2 * 4096, '\xa5');
    file.close();
    CHECK_THAT(fail(Ledger::open(path, at(0))).text, Contains("put back a backup"));
  }
  SECTION("of a later version") {
    get(Ledger::open(path, at(0)));
    auto database = get(sqlite::Database::open("ledger", path));
    get(database->execute("PRAGMA user_version=1000"));
    database.reset();
    CHECK_THAT(fail(Ledger::open(path, at(0))).text, Contains("update hob-coordinator"));
  }
  SECTION("in no directory") {
    CHECK_THAT(fail(Ledger::open(scratch / "none/ledger", at(0))).text,
               Contains("must be able to write there"));
  }
}

TEST_CASE("what was committed is there after a kill") {
  Scratch scratch;
  const std::string path = scratch / "ledger";
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto ledger = Ledger::open(path, at(0));
    if (!ledger) ::_exit(1);
    const auto a = ledger->add_host(host_row("a"), std::nullopt, at(0));
    if (!a || !ledger->record(job_row("written", *a)) || !ledger->commit()) ::_exit(2);
    if (!ledger->record(job_row("unwritten", *a))) ::_exit(3);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  Ledger ledger = get(Ledger::open(path, at(1)));
  CHECK(ledger.epoch() == 2);
  CHECK(get(ledger.hosts()).size() == 1);
  CHECK(get(ledger.job("written")).has_value());
  CHECK_FALSE(get(ledger.job("unwritten")).has_value());
}
