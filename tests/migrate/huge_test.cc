// Huge pages (hugetlb), of which a host has as many as its administrator has set aside.
#include "rig.h"

#include <sys/file.h>

#include <catch2/catch.hpp>

#include "base/fd.h"

using namespace hob;
using namespace hob::test;

namespace {

constexpr const char* kSetting = "/proc/sys/vm/nr_hugepages";
constexpr int kVictim = 10;  // what tests/victims/huge.c takes; while it moves, twice

/// So many huge pages are there and free while it lives. One test at a time.
class HugePages {
 public:
  explicit HugePages(int wanted) {
    lock_ = Fd(::open("/tmp/hob-huge-pages.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    CHECK(::flock(lock_.get(), LOCK_EX) == 0);
    auto before = read_file(kSetting);
    if (!before) return;
    before_ = std::stoi(*before);
    enough_ =
        write_control(kSetting, std::to_string(wanted)).ok() &&
        std::stoi(read_file(kSetting).value()) == wanted &&
        std::stoi(read_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").value()) ==
            wanted;
  }
  ~HugePages() {
    if (before_ >= 0) CHECK(write_control(kSetting, std::to_string(before_)).ok());
  }
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
  bool enough() const { return enough_; }

 private:
  Fd lock_;
  int before_ = -1;
  bool enough_ = false;
};

#define NEED_HUGE_PAGES(NUMBER)                                                      \
  HugePages there(NUMBER);                                                           \
  if (!there.enough()) {                                                             \
    WARN("SKIP: needs " << NUMBER << " free huge pages of 2 MiB and no one else's"); \
    return;                                                                          \
  }

void moves_by(const char* strategy, const std::string& name = "huge") {
  NEED_HUGE_PAGES(2 * kVictim);
  Plan plan;
  plan.options.strategy = migrate::strategy_named(strategy).value();
  const Verdict v = run_and_move({victim(name)}, plan);
  INFO("output: " << v.output);
  INFO("problem: " << v.problem);
  CHECK(v.problem == "");
  CHECK(v.status == 0);
  CHECK(v.output.find("ok\n") != std::string::npos);
}

}  // namespace

TEST_CASE("huge pages move there and back, swap-out") {
  moves_by("swap-out");
}
TEST_CASE("huge pages move there and back, flush") {
  moves_by("flush");
}
TEST_CASE("huge pages move there and back, freeze-copy") {
  moves_by("freeze-copy");
}
TEST_CASE("huge pages move there and back, pre-copy") {
  moves_by("pre-copy");
}
TEST_CASE("huge pages move there and back, demand") {
  moves_by("demand");
}
TEST_CASE("huge pages move there and back, static") {
  moves_by("swap-out", "huge_static");
}

TEST_CASE("a host that lacks huge pages says so before anything is frozen") {
  NEED_HUGE_PAGES(2 * kVictim - 1);
  Home::get().reset();
  Collector collector;
  Host source(collector.write_end()), target(collector.write_end());
  REQUIRE(source.start({victim("huge")}).ok());
  REQUIRE(collector.wait_for("ready"));
  // Should it freeze the guest after all, this would be told instead.
  source.arm(migrate::Fault::seized, migrate::fault::Act::error);
  const auto port = target.listen();
  REQUIRE(port.ok());
  const auto outcome = source.send(*port, target);
  CHECK_FALSE(outcome.moved);
  CHECK(outcome.text.find("receive a guest with 10 huge pages of 2 MiB: this host has 9 to give") !=
        std::string::npos);
  CHECK_FALSE(target.received().ok());
  source.write_input("go\n");
  CHECK(source.wait_exit(15000) == 0);
  CHECK(collector.wait_for("ok\n"));
}

TEST_CASE("more huge pages than may travel are named") {
  constexpr int kTooMany = 257;
  NEED_HUGE_PAGES(kTooMany);
  Home::get().reset();
  Collector collector;
  Host source(collector.write_end()), target(collector.write_end());
  REQUIRE(source.start({victim("huge"), std::to_string(kTooMany)}).ok());
  REQUIRE(collector.wait_for("ready"));
  const auto outcome = source.send(1, target);
  CHECK_FALSE(outcome.moved);
  CHECK(outcome.text.find("more than 512 MiB of huge pages (hugetlb); cannot be moved yet") !=
        std::string::npos);
  source.write_input("go\n");
  CHECK(source.wait_exit(15000) == 0);
}
