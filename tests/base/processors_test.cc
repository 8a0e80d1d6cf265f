// base/processors.h against control groups made of plain files, v1 and v2, quotas at every level.
#include "base/processors.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>

#include "base/fd.h"  // before Catch's, whose CHECK is the one here

#include <catch2/catch.hpp>

#include "tests/kit/scratch.h"

namespace hob {
namespace {

class Machine {
 public:
  GroupFiles files() const { return {scratch_ / "own", scratch_ / "groups"}; }
  void own(const std::string& text) { write("own", text); }
  void group(const std::string& file, const std::string& text) { write("groups/" + file, text); }

 private:
  void write(const std::string& name, const std::string& text) {
    const std::string path = scratch_ / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    REQUIRE(replace_file(path, text, 0644).ok());
  }
  Scratch scratch_;
};

unsigned allowed() {
  cpu_set_t set;
  REQUIRE(::sched_getaffinity(0, sizeof set, &set) == 0);
  return static_cast<unsigned>(CPU_COUNT(&set));
}

TEST_CASE("without a quota all processors that we may run on are of use") {
  Machine machine;
  CHECK(usable_processors({}, machine.files()) == allowed());  // no control groups at all
  machine.own("0::/a/b\n");
  machine.group("a/b/cpu.max", "max 100000\n");
  machine.group("a/cpu.max", "6400000 100000\n");
  CHECK(usable_processors({}, machine.files()) == std::min(allowed(), 64u));
}

TEST_CASE("a quota counts wherever it stands above us, and a part of a processor as a whole") {
  Machine machine;
  machine.own("0::/a/b\n");
  machine.group("a/b/cpu.max", "max 100000\n");
  machine.group("a/cpu.max", "20000 100000\n");
  CHECK(usable_processors({}, machine.files()) == 1);
  machine.group("a/cpu.max", "120000 100000\n");
  CHECK(usable_processors({}, machine.files()) == std::min(allowed(), 2u));
  machine.group("a/cpu.max", "max 100000\n");
  machine.group("cpu.max", "50000 100000\n");  // a container's own root
  CHECK(usable_processors({}, machine.files()) == 1);
}

TEST_CASE("the quota of another group of the unified hierarchy") {
  Machine machine;
  machine.own("0::/service\n");
  machine.group("service/cpu.max", "max 100000\n");
  machine.group("hob/guests/cpu.max", "max 100000\n");
  machine.group("hob/cpu.max", "10000 100000\n");
  CHECK(usable_processors({}, machine.files()) == allowed());
  CHECK(usable_processors("/hob/guests", machine.files()) == 1);
}

TEST_CASE("hierarchies of v1, beside a unified one without the controller") {
  Machine machine;
  machine.own("3:cpu,cpuacct:/host\n2:cpuset:/\n0::/host\n");
  machine.group("unified/cgroup.procs", "");
  machine.group("cpu/host/cpu.cfs_period_us", "100000\n");
  machine.group("cpu/host/cpu.cfs_quota_us", "-1\n");
  CHECK(usable_processors("/host/guests", machine.files()) == allowed());
  machine.group("cpu/host/cpu.cfs_quota_us", "20000\n");
  CHECK(usable_processors("/host/guests", machine.files()) == 1);
  machine.own("2:cpuset,cpuacct:/host\n");
  CHECK(usable_processors({}, machine.files()) == allowed());
}

TEST_CASE("what makes no sense is no quota") {
  Machine machine;
  machine.own("nonsense\n0::/a\n");
  for (const char* text : {"", "max\n", "0 100000\n", "20000 0\n", "20000\n", "-5 100000\n"}) {
    machine.group("a/cpu.max", text);
    CHECK(usable_processors({}, machine.files()) == allowed());
  }
}

}  // namespace
}  // namespace hob
