#include "config/keys.h"

#include "base/memory_strategy.h"

namespace hob::keys {
namespace {

template <class M>
Result<M> unsigned_number(const TomlEntry& entry, int64_t least, int64_t most) {
  return static_cast<M>(TRY(to_integer(entry, least, most)));
}

Result<std::string> to_coordinator(const TomlEntry& entry) {
  return to_endpoint(entry, 7717);
}

Result<std::string> to_optional_path(const TomlEntry& entry) {
  const std::string text = TRY(to_text(entry));
  return text.empty() ? Result<std::string>(text) : to_path(entry);
}

Result<std::vector<std::string>> to_sources(const TomlEntry& entry) {
  std::vector<std::string> sources = TRY(to_texts(entry));
  for (const std::string& source : sources)
    if (source != "evdev" && source != "tty" && !source.starts_with("file:/"))
      return Error{"'" + source +
                   "' is no input source; there are \"evdev\", \"tty\" and \"file:/PATH\""};
  return sources;
}

Result<std::string> to_strategy(const TomlEntry& entry) {
  std::string name = TRY(to_text(entry));
  if (strategy_named(name)) return name;
  return Error{"'" + name + "' is no memory strategy; there are " + strategies_for_people()};
}

Result<std::string> to_cgroup(const TomlEntry& entry) {
  std::string path = TRY(to_path(entry));
  if (path == "/" || path.ends_with('/') || path.find("/..") != std::string::npos)
    return Error{"'" + path +
                 "' cannot hold guests; write a cgroup below the root, as in \"/hob\""};
  return path;
}

}  // namespace

std::vector<Key<HostdConfig>> hostd() {
  using C = HostdConfig;
  const auto port = [](const TomlEntry& e) { return unsigned_number<uint16_t>(e, 1, 65535); };
  const auto guests = [](const TomlEntry& e) { return unsigned_number<uint32_t>(e, 0, 4096); };
  const auto uid = [](const TomlEntry& e) { return unsigned_number<uint32_t>(e, 1, 0xfffffffe); };
  const auto idle = [](const TomlEntry& e) { return to_duration(e, milliseconds(100), hours(24)); };
  const auto lost = [](const TomlEntry& e) { return to_duration(e, seconds(1), hours(24 * 365)); };

  std::vector<Key<C>> keys = {
      key("run_dir", &C::run_dir, to_path),
      key("state_dir", &C::state_dir, to_path),
      key("cgroup", &C::cgroup, to_cgroup),
      key("host.name", &C::host_name, to_text),
      key("host.address", &C::host_address, to_text),
      key("host.port", &C::host_port, port),
      key("host.key", &C::host_key, to_path),
      key("cell.coordinator", &C::cell_coordinator, to_coordinator),
      key("cell.coordinator_key", &C::cell_coordinator_key, to_public_key),
      key("idle.input", &C::idle_input, idle),
      key("idle.sources", &C::idle_sources, to_sources),
      key("idle.load_open", &C::idle_load_open, to_marks),
      key("idle.load_close", &C::idle_load_close, to_marks),
      key("owner.hours", &C::owner_hours, to_hours),
      key("owner.max_guests", &C::owner_max_guests, guests),
      key("owner.guest_memory", &C::owner_guest_memory, to_size),
      key("owner.import", &C::owner_import, to_host_list),
      key("owner.export", &C::owner_export, to_host_list),
      key("owner.on_battery", &C::owner_on_battery, to_bool),
      key("owner.min_uid", &C::owner_min_uid, uid),
      key("load.cgroup", &C::load_cgroup, to_optional_path),
      key("home.lost_after", &C::home_lost_after, lost),
      key("job.memory", &C::job_memory, to_strategy),
      key("log.level", &C::log_level, to_level),
  };
  for (Key<C>& each : keys)
    if (each.name == "owner.guest_memory")
      each.show = [](const C& config) { return show_size(config.owner_guest_memory); };
  return keys;
}

}  // namespace hob::keys
