#include "hostd/load.h"

#include "base/fd.h"

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace hob;

namespace {

/// A made-up /proc, cgroup tree and power supplies.
class Tree {
 public:
  Tree() {
    char path[] = "/tmp/hob-load-XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    root = path;
  }
  ~Tree() { std::filesystem::remove_all(root); }
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(root) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void thread(int tid, char state, const std::string& name = "a) R (b") const {
    write("proc/" + std::to_string(tid) + "/stat",
          std::to_string(tid) + " (" + name + ") " + state + " 1 1 1 0");
  }
  std::string root;
};

/// A process that does nothing but run, for the length of a test.
class Spinner {
 public:
  Spinner() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;) std::atomic_signal_fence(std::memory_order_seq_cst);
    REQUIRE(pid_ > 0);
  }
  ~Spinner() { ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0); }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

}  // namespace

TEST_CASE("the running tasks stand before the slash") {
  CHECK(parse_running("0.00 0.01 0.05 2/86 5951\n").value() == 2);
  CHECK(parse_running("12.00 0.01 0.05 1234/8600 5951\n").value() == 1234);
  for (const char* wrong :
       {"", "/", "2/86", "0.1 x/86", "0.1 /86", "0.1 -2/86", "0.1 99999999999/1"})
    CHECK_FALSE(parse_running(wrong).ok());
}

TEST_CASE("the whole machine's load is what runs, less ourselves and the guests") {
  const Tree tree;
  tree.write("proc/loadavg", "0 0 0 6/100 77\n");
  tree.write("guests/cgroup.threads", "");
  tree.write("guests/job.1/cgroup.threads", "10\n11\n12\n13\n");
  tree.thread(10, 'R');
  tree.thread(11, 'S');
  tree.thread(12, 'R', "x");
  const LoadMeter alone({"", {}, tree.root + "/proc"});
  CHECK(alone.sample().value() == 5);
  const LoadMeter meter({"", {tree.root + "/guests", tree.root + "/none"}, tree.root + "/proc"});
  CHECK(meter.sample().value() == 3);
  tree.write("proc/self/task/20/stat", "");
  tree.thread(20, 'R');
  CHECK(meter.sample().value() == 2);
  tree.write("proc/loadavg", "0 0 0 1/100 77\n");
  CHECK(meter.sample().value() == 0);
  tree.write("proc/loadavg", "0 0 0 2/100 77\n");
  CHECK(meter.sample().value() == 0);
}

TEST_CASE("the load of a cgroup is what runs in it and below, guests left out") {
  const Tree tree;
  tree.write("h3/tasks", "1\n2\n6\n");
  tree.write("h3/desk/tasks", "3\n");
  tree.write("h3/guests/tasks", "4\n");
  tree.write("h3/guests/job.1/tasks", "5\n");
  tree.write("proc/self/task/6/stat", "");
  for (const int tid : {1, 3, 4, 5, 6}) tree.thread(tid, 'R');
  tree.thread(2, 'D');
  const LoadMeter meter({tree.root + "/h3", {tree.root + "/h3/guests"}, tree.root + "/proc"});
  CHECK(meter.sample().value() == 2);
}

TEST_CASE("a cgroup that is not there is an error that names the key") {
  const LoadMeter meter({"/sys/fs/cgroup/none-such", {}});
  CHECK(meter.sample().error().text ==
        "find /sys/fs/cgroup/none-such: No such file or directory; see load.cgroup in the config");
}

TEST_CASE("a process that runs in a real cgroup is seen") {
  const std::string cgroup = "/sys/fs/cgroup/unified/hob-load-test-" + std::to_string(::getpid());
  if (::mkdir(cgroup.c_str(), 0755) != 0) {
    WARN("SKIP: needs root and cgroup v2 at /sys/fs/cgroup/unified");
    return;
  }
  unsigned running = 99, after = 99;
  {
    const Spinner spinner;
    const Result<void> moved =
        write_control(cgroup + "/cgroup.procs", std::to_string(spinner.pid()));
    if (moved.ok()) running = LoadMeter({cgroup, {}}).sample().value();
  }
  after = LoadMeter({cgroup, {}}).sample().value();
  ::rmdir(cgroup.c_str());
  CHECK(running == 1);
  CHECK(after == 0);
}

TEST_CASE("the real machine has a load") {
  CHECK(LoadMeter({"", {}}).sample().ok());
}

TEST_CASE("a machine is on battery when one discharges and no plug is in") {
  const Tree tree;
  const std::string supplies = tree.root + "/power_supply";
  CHECK_FALSE(on_battery(supplies).value());
  tree.write("power_supply/hid-mouse/type", "Battery\n");
  tree.write("power_supply/hid-mouse/scope", "Device\n");
  tree.write("power_supply/hid-mouse/status", "Discharging\n");
  CHECK_FALSE(on_battery(supplies).value());
  tree.write("power_supply/BAT0/type", "Battery\n");
  tree.write("power_supply/BAT0/status", "Discharging\n");
  CHECK(on_battery(supplies).value());
  tree.write("power_supply/AC/type", "Mains\n");
  tree.write("power_supply/AC/online", "1\n");
  CHECK_FALSE(on_battery(supplies).value());
  tree.write("power_supply/AC/online", "0\n");
  CHECK(on_battery(supplies).value());
}
