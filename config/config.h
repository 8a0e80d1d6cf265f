#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "config/hours.h"

/// The config files of the two daemons. What each key means, its unit, and why its default is what
/// it is stands in hostd.toml.sample and coordinator.toml.sample, which list every key (a test
/// proves it).
namespace hob {

/// "none", "all", or a list of host names.
struct HostList {
  /// A longer list belongs into the cell, not into a host's policy: each entry costs the
  /// coordinator one of its own for as long as the host is free.
  static constexpr size_t kMostHosts = 1024;

  enum class Kind { none, all, listed };
  Kind kind = Kind::all;
  std::vector<std::string> hosts;  // for Kind::listed, at most kMostHosts

  bool contains(std::string_view host) const;
  bool operator==(const HostList&) const = default;
};

/// Thresholds for the averages over 1, 5 and 15 minutes of runnable processes.
using LoadMarks = std::array<double, 3>;

struct HostdConfig {
  std::string host_name;  // empty: the machine's own name
  std::string host_address = "0.0.0.0";
  uint16_t host_port = 7718;
  std::string host_key = "/etc/hob/host.key";  // path of the secret key
  std::string cell_coordinator;                // "tcp://HOST:PORT"; required
  std::string cell_coordinator_key;            // its public key, 40 characters of Z85; required
  std::string run_dir = "/run/hob";
  std::string state_dir = "/var/lib/hob";
  std::string cgroup = "/hob";
  Duration idle_input = seconds(30);
  std::vector<std::string> idle_sources = {"evdev", "tty"};
  LoadMarks idle_load_open = {0.75, 1.0, 1.5};
  LoadMarks idle_load_close = {2.5, 2.75, 3.0};
  Hours owner_hours;
  uint32_t owner_max_guests = 0;    // 0: as many as usable_processors()
  uint64_t owner_guest_memory = 0;  // bytes for each guest; 0: no limit
  HostList owner_import;
  HostList owner_export;
  bool owner_on_battery = false;
  uint32_t owner_min_uid = 1000;
  std::string load_cgroup;  // empty: the whole machine's processes
  Duration home_lost_after = minutes(10);
  std::string job_memory = "swap-out";
  log::Level log_level = log::Level::info;
};

struct CoordinatorConfig {
  std::string listen_address = "0.0.0.0";
  uint16_t listen_port = 7717;
  std::string cell_key = "/etc/hob/coordinator.key";  // path of the secret key
  std::string cell_ledger = "/var/lib/hob/ledger.sqlite";
  std::string run_dir = "/run/hob";
  Duration lease_duration = seconds(60);
  Duration heartbeat_interval = seconds(5);
  Duration heartbeat_lost_after = seconds(15);
  log::Level log_level = log::Level::info;
};

/// Reads FILE, then FILE's directory of additions ("hostd.toml" has "hostd.conf.d/*.toml") in the
/// order of their names: later wins, key by key. FILE must exist, the directory need not.
///
/// An unknown key, a value of the wrong form or out of its range is an Error with file and line; so
/// is a required key that is missing and a set of values that contradict each other.
Result<HostdConfig> load_hostd_config(const std::string& file);
Result<CoordinatorConfig> load_coordinator_config(const std::string& file);

/// The same from a text; `name` stands for the file in errors.
Result<HostdConfig> parse_hostd_config(std::string_view text, const std::string& name);
Result<CoordinatorConfig> parse_coordinator_config(std::string_view text, const std::string& name);

/// What the keys have in common: each is right by itself, do they make sense together? Done by all
/// of the above; for configs put together by other means.
Result<void> check_config(const HostdConfig& config);
Result<void> check_config(const CoordinatorConfig& config);

/// Every key with its value as TOML writes it, for --check-config and tests.
std::map<std::string, std::string> show_config(const HostdConfig& config);
std::map<std::string, std::string> show_config(const CoordinatorConfig& config);

}  // namespace hob
