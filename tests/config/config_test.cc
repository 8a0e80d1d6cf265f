#include "config/config.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace hob;

namespace {

const std::string kCell =
    "[cell]\n"
    "coordinator = \"10.77.0.1\"\n"
    "coordinator_key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"\n";

std::string hostd_error(const std::string& text) {
  const Result<HostdConfig> config = parse_hostd_config(text, "/etc/hob/hostd.toml");
  return config.ok() ? "" : config.error().text;
}

std::string coordinator_error(const std::string& text) {
  const Result<CoordinatorConfig> config = parse_coordinator_config(text, "c.toml");
  return config.ok() ? "" : config.error().text;
}

/// A directory that goes with the test.
class Directory {
 public:
  Directory() {
    char path[] = "/tmp/hob-config-XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("a minimal hostd config leaves everything else at its default") {
  const Result<HostdConfig> config = parse_hostd_config(kCell, "f");
  REQUIRE(config.ok());
  HostdConfig expected;
  expected.cell_coordinator = "tcp://10.77.0.1:7717";
  expected.cell_coordinator_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
  CHECK(show_config(*config) == show_config(expected));
}

TEST_CASE("every key of hostd is read into its own member") {
  const Result<HostdConfig> read = parse_hostd_config(R"(
run_dir = "/run/h3"
state_dir = "/var/lib/h3"
cgroup = "/hob/h3"
host = { name = "h3", address = "10.77.0.3", port = 9000, key = "/k" }
cell.coordinator = "tcp://[fd00::1]:99"
cell.coordinator_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
load.cgroup = "/sys/fs/cgroup/cpu/h3"
home.lost_after = "90s"
job.memory = "pre-copy"
log.level = "debug"
[idle]
input = "5min"
sources = ["file:/run/h3/input"]
load_open = [1, 2.5, 3]
load_close = [4, 5, 6.5]
[owner]
hours = "20:00-07:00"
max_guests = 3
guest_memory = "2GiB"
import = ["h1", "h2"]
export = "none"
on_battery = true
min_uid = 500
)",
                                                      "f");
  REQUIRE(read.ok());
  CHECK(show_config(*read) ==
        std::map<std::string, std::string>{
            {"run_dir", "\"/run/h3\""},
            {"state_dir", "\"/var/lib/h3\""},
            {"cgroup", "\"/hob/h3\""},
            {"host.name", "\"h3\""},
            {"host.address", "\"10.77.0.3\""},
            {"host.port", "9000"},
            {"host.key", "\"/k\""},
            {"cell.coordinator", "\"tcp://[fd00::1]:99\""},
            {"cell.coordinator_key", "\"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\""},
            {"load.cgroup", "\"/sys/fs/cgroup/cpu/h3\""},
            {"home.lost_after", "\"1min 30s\""},
            {"job.memory", "\"pre-copy\""},
            {"log.level", "\"debug\""},
            {"idle.input", "\"5min\""},
            {"idle.sources", "[\"file:/run/h3/input\"]"},
            {"idle.load_open", "[1, 2.5, 3]"},
            {"idle.load_close", "[4, 5, 6.5]"},
            {"owner.hours", "\"20:00-07:00\""},
            {"owner.max_guests", "3"},
            {"owner.guest_memory", "\"2GiB\""},
            {"owner.import", "[\"h1\", \"h2\"]"},
            {"owner.export", "\"none\""},
            {"owner.on_battery", "true"},
            {"owner.min_uid", "500"},
        });
  CHECK(read->owner_import.contains("h2"));
  CHECK_FALSE(read->owner_import.contains("h3"));
  CHECK_FALSE(read->owner_export.contains("h1"));
  CHECK(HostdConfig{}.owner_import.contains("anybody"));
}

TEST_CASE("an unknown key is an error with file, line and what was meant") {
  CHECK(hostd_error(kCell + "[idle]\ninptu = \"30s\"\n") ==
        "/etc/hob/hostd.toml:5: unknown key 'idle.inptu'; did you mean 'idle.input'?");
  CHECK(hostd_error("input = \"30s\"") ==
        "/etc/hob/hostd.toml:1: unknown key 'input'; did you mean 'idle.input'?");
  CHECK(hostd_error("[weather]\nforecast = 1") ==
        "/etc/hob/hostd.toml:2: unknown key 'weather.forecast'; the sample file lists every key");
  CHECK(coordinator_error("[listen]\nprot = 1") ==
        "c.toml:2: unknown key 'listen.prot'; did you mean 'listen.port'?");
}

TEST_CASE("a wrong value is an error with file, line, key and the expected form") {
  const auto wrong = [](const std::string& section, const std::string& line) {
    return hostd_error("[" + section + "]\n" + line)
        .substr(std::string("/etc/hob/hostd.toml:2: ").size());
  };
  CHECK(wrong("idle", "input = 30") ==
        "idle.input: expected a duration in quotes, as in \"30s\" or \"5min\"");
  CHECK(wrong("idle", "input = \"30\"") ==
        "idle.input: '30' is no duration; write whole numbers with ms, s, min, h or d, as in "
        "\"30s\"");
  CHECK(wrong("idle", "input = \"0\"") == "idle.input: expected a duration from 100ms to 1d");
  CHECK(wrong("host", "port = 70000") == "host.port: expected a whole number from 1 to 65535");
  CHECK(wrong("host", "port = \"7718\"") == "host.port: expected a whole number from 1 to 65535");
  CHECK(wrong("host", "key = \"host.key\"") == "host.key: expected a path that begins with '/'");
  CHECK(wrong("owner", "on_battery = 1") == "owner.on_battery: expected true or false");
  CHECK(wrong("owner", "import = \"some\"") ==
        "owner.import: expected \"none\", \"all\", or a list of host names");
  std::string names = "\"h\"";
  for (size_t i = 1; i < HostList::kMostHosts; ++i) names += ", \"h\"";
  CHECK(wrong("owner", "export = [" + names + ", \"h\"]") ==
        "owner.export: 1025 host names; at most 1024 are allowed; write \"all\", or shorten it");
  CHECK(wrong("owner", "min_uid = 0") ==
        "owner.min_uid: expected a whole number from 1 to 4294967294");
  CHECK(wrong("log", "level = \"loud\"") ==
        "log.level: expected \"debug\", \"info\", \"warning\" or \"error\"");
  CHECK(wrong("idle", "load_open = [1, 2]") ==
        "idle.load_open: expected three numbers, for 1, 5 and 15 minutes, as in [0.75, 1.0, 1.5]");
  CHECK(wrong("idle", "load_open = [1, 2, nan]") ==
        "idle.load_open: expected three numbers, for 1, 5 and 15 minutes, as in [0.75, 1.0, 1.5]");
  CHECK(
      wrong("idle", "sources = [\"mouse\"]") ==
      "idle.sources: 'mouse' is no input source; there are \"evdev\", \"tty\" and \"file:/PATH\"");
  CHECK(wrong("cell", "coordinator_key = \"short\"") ==
        "cell.coordinator_key: expected a public key, 40 characters of Z85, as `remote cell init` "
        "prints it");
  for (const char* endpoint :
       {"", "tcp://", ":7717", "h:0", "h:65536", "h:port", "h 1", "udp://h:1", "h:1:2"})
    CHECK(wrong("cell", "coordinator = \"" + std::string(endpoint) + "\"")
              .starts_with("cell.coordinator: expected"));
  CHECK(hostd_error("cgroup = \"/\"").ends_with("write a cgroup below the root, as in \"/hob\""));
}

TEST_CASE("what is no TOML, or no value of ours, is an error with file and line") {
  CHECK(hostd_error("\n[idle\n").starts_with("/etc/hob/hostd.toml:2: not TOML: "));
  CHECK(hostd_error("a = 1\na = 2\n").starts_with("/etc/hob/hostd.toml:2: not TOML: "));
  CHECK(hostd_error("\nrun_dir = 1979-05-27\n")
            .starts_with("/etc/hob/hostd.toml:2: 'run_dir' has a kind of value"));
  CHECK(hostd_error("[[idle]]\ninput = 1\n")
            .starts_with("/etc/hob/hostd.toml:1: 'idle' has a kind of value"));
  CHECK(hostd_error("run_dir = [\"a\", 1]")
            .starts_with("/etc/hob/hostd.toml:1: 'run_dir' has a kind of value"));
  CHECK(hostd_error("run_dir = \"/a\\u0000b\"").ends_with("a text must not hold a null byte"));
  CHECK(hostd_error(std::string("run_dir = \"\xff\""))
            .starts_with("/etc/hob/hostd.toml:1: not TOML: "));
}

TEST_CASE("keys that are right alone must be right together") {
  CHECK(hostd_error("") ==
        "/etc/hob/hostd.toml: cell.coordinator is missing; write coordinator = \"HOST:7717\" under "
        "[cell]");
  CHECK(hostd_error("cell.coordinator = \"h\"") ==
        "/etc/hob/hostd.toml: cell.coordinator_key is missing; `remote cell join` writes it");
  CHECK(hostd_error(kCell + "[idle]\nload_open = [1, 1, 3]\n") ==
        "/etc/hob/hostd.toml: idle.load_open ([1, 1, 3]) must be below idle.load_close ([2.5, "
        "2.75, 3]) in "
        "each place, or the host would open and close at once");
  CHECK(hostd_error(kCell + "[idle]\nsources = [\"tty\", \"tty\"]\n") ==
        "/etc/hob/hostd.toml: idle.sources names a source twice");
  CHECK(coordinator_error("heartbeat.lost_after = \"9s\"") ==
        "c.toml: heartbeat.lost_after (9s) must be at least twice heartbeat.interval (5s), or one "
        "late "
        "heartbeat loses a host");
}

TEST_CASE("additions are merged in the order of their names, and later wins") {
  const Directory directory;
  const std::string file =
      directory.write("hostd.toml", kCell + "[host]\nname = \"base\"\nport = 1\n");
  directory.write("hostd.conf.d/10-a.toml", "[host]\nname = \"ten\"\nport = 10\n");
  directory.write("hostd.conf.d/20-b.toml", "host.name = \"twenty\"\n");
  directory.write("hostd.conf.d/30-c.toml.bak", "nonsense");
  const Result<HostdConfig> config = load_hostd_config(file);
  REQUIRE(config.ok());
  CHECK(config->host_name == "twenty");
  CHECK(config->host_port == 10);
}

TEST_CASE("a mistake in an addition names the addition") {
  const Directory directory;
  const std::string file = directory.write("coordinator.toml", "");
  const std::string addition =
      directory.write("coordinator.conf.d/a.toml", "\n\nlisten.port = 0\n");
  CHECK(load_coordinator_config(file).error().text ==
        addition + ":3: listen.port: expected a whole number from 1 to 65535");
}

TEST_CASE("a config file that is not there is an error") {
  const Directory directory;
  const Result<CoordinatorConfig> config =
      load_coordinator_config(directory.path() + "/coordinator.toml");
  REQUIRE_FALSE(config.ok());
  CHECK(config.error().code == ENOENT);
}
