#include "config/keys.h"

namespace hob::keys {

std::vector<Key<CoordinatorConfig>> coordinator() {
  using C = CoordinatorConfig;
  const auto port = [](const TomlEntry& e) -> Result<uint16_t> {
    return static_cast<uint16_t>(TRY(to_integer(e, 1, 65535)));
  };
  const auto period = [](const TomlEntry& e) {
    return to_duration(e, milliseconds(100), hours(1));
  };
  return {
      key("run_dir", &C::run_dir, to_path),
      key("listen.address", &C::listen_address, to_text),
      key("listen.port", &C::listen_port, port),
      key("cell.key", &C::cell_key, to_path),
      key("cell.ledger", &C::cell_ledger, to_path),
      key("lease.duration", &C::lease_duration, period),
      key("heartbeat.interval", &C::heartbeat_interval, period),
      key("heartbeat.lost_after", &C::heartbeat_lost_after, period),
      key("log.level", &C::log_level, to_level),
  };
}

}  // namespace hob::keys
