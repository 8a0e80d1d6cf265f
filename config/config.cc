#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/fd.h"
#include "config/keys.h"
#include "config/units.h"

namespace hob {
namespace {

/// No config file of ours comes near it; keeps a wrong path (a disk image) from being read whole.
constexpr size_t kMostBytes = 1 << 20;

/// For a key that is like none we know.
constexpr std::string_view kAllKeys = "the sample file lists every key";

template <class C>
Result<C> parse(std::string_view text, const std::string& name,
                const std::vector<keys::Key<C>>& table) {
  C config;
  TRY(keys::apply<C>(TRY(parse_toml(text, name)), table, config, kAllKeys));
  if (Result<void> sound = check_config(config); !sound.ok())
    return std::move(sound).error().in(name);
  return config;
}

/// "/etc/hob/hostd.toml" -> the files of "/etc/hob/hostd.conf.d/", by name.
Result<std::vector<std::string>> additions(const std::string& file) {
  const std::filesystem::path directory = std::filesystem::path(file).replace_extension(".conf.d");
  std::vector<std::string> files;
  std::error_code problem;
  std::filesystem::directory_iterator it(directory, problem);
  if (problem == std::errc::no_such_file_or_directory) return files;
  for (; !problem && it != std::filesystem::directory_iterator(); it.increment(problem))
    if (it->path().extension() == ".toml") files.push_back(it->path().string());
  if (problem) return Error::sys("read", directory.string(), problem.value());
  std::sort(files.begin(), files.end());
  return files;
}

template <class C>
Result<C> load(const std::string& file, const std::vector<keys::Key<C>>& table) {
  std::vector<std::string> files = TRY(additions(file));
  files.insert(files.begin(), file);
  C config;
  for (const std::string& each : files) {
    const std::string text = TRY(read_file(each, kMostBytes));
    TRY(keys::apply<C>(TRY(parse_toml(text, each)), table, config, kAllKeys));
  }
  if (Result<void> sound = check_config(config); !sound.ok())
    return std::move(sound).error().in(file);
  return config;
}

template <class C>
std::map<std::string, std::string> show_all(const C& config,
                                            const std::vector<keys::Key<C>>& table) {
  std::map<std::string, std::string> shown;
  for (const keys::Key<C>& key : table) shown.emplace(key.name, key.show(config));
  return shown;
}

}  // namespace

bool HostList::contains(std::string_view host) const {
  if (kind != Kind::listed) return kind == Kind::all;
  return std::find(hosts.begin(), hosts.end(), host) != hosts.end();
}

Result<HostdConfig> load_hostd_config(const std::string& file) {
  return load<HostdConfig>(file, keys::hostd());
}
Result<CoordinatorConfig> load_coordinator_config(const std::string& file) {
  return load<CoordinatorConfig>(file, keys::coordinator());
}
Result<HostdConfig> parse_hostd_config(std::string_view text, const std::string& name) {
  return parse<HostdConfig>(text, name, keys::hostd());
}
Result<CoordinatorConfig> parse_coordinator_config(std::string_view text, const std::string& name) {
  return parse<CoordinatorConfig>(text, name, keys::coordinator());
}
std::map<std::string, std::string> show_config(const HostdConfig& config) {
  return show_all<HostdConfig>(config, keys::hostd());
}
std::map<std::string, std::string> show_config(const CoordinatorConfig& config) {
  return show_all<CoordinatorConfig>(config, keys::coordinator());
}

Result<void> check_config(const HostdConfig& config) {
  if (config.cell_coordinator.empty())
    return Error{"cell.coordinator is missing; write coordinator = \"HOST:7717\" under [cell]"};
  if (config.cell_coordinator_key.empty())
    return Error{"cell.coordinator_key is missing; `remote cell join` writes it"};
  for (size_t i = 0; i < config.idle_load_open.size(); ++i)
    if (config.idle_load_open[i] >= config.idle_load_close[i])
      return Error{
          fmt::format("idle.load_open ({}) must be below idle.load_close ({}) in each place, "
                      "or the host would open and close at once",
                      keys::show(config.idle_load_open), keys::show(config.idle_load_close))};
  const std::set<std::string> sources(config.idle_sources.begin(), config.idle_sources.end());
  if (sources.size() != config.idle_sources.size())
    return Error{"idle.sources names a source twice"};
  return {};
}

Result<void> check_config(const CoordinatorConfig& config) {
  if (config.heartbeat_lost_after < 2 * config.heartbeat_interval)
    return Error{fmt::format(
        "heartbeat.lost_after ({}) must be at least twice heartbeat.interval ({}), "
        "or one late heartbeat loses a host",
        format_duration(config.heartbeat_lost_after), format_duration(config.heartbeat_interval))};
  return {};
}

}  // namespace hob
