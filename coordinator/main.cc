// hob-coordinator: the cell's coordinator. See coordinator/coordinator.h.
#include <fmt/core.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "base/log.h"
#include "base/log_spdlog.h"
#include "config/config.h"
#include "config/daemon_options.h"
#include "coordinator/coordinator.h"

namespace {

int fail(const hob::Error& error) {
  std::fprintf(stderr, "hob-coordinator: %s\n", error.text.c_str());
  return 1;
}

int run(const std::string& config_path, bool check_only) {
  using namespace hob;
  Result<CoordinatorConfig> config = load_coordinator_config(config_path);
  if (!config.ok() && config.error().code == ENOENT)
    return fail(
        Error{config.error().text + "; `remote cell init` makes one, --config FILE names another"});
  if (!config.ok()) return fail(config.error());
  if (check_only) {
    for (const auto& [key, value] : show_config(*config)) fmt::print("{} = {}\n", key, value);
    return 0;
  }
  log::use_spdlog("coordinator");
  log::set_level(config->log_level);
  std::signal(SIGPIPE, SIG_IGN);
  auto loop = EventLoop::create();
  if (!loop.ok()) return fail(loop.error());
  // Before ZeroMQ's thread starts, so that signals come to the loop.
  auto signals = (*loop)->on_signals({SIGTERM, SIGINT}, [&](int) { (*loop)->stop(); });
  if (!signals.ok()) return fail(signals.error());
  auto coordinator = coordinator::Coordinator::create(**loop, *config);
  if (!coordinator.ok()) return fail(coordinator.error());
  log::info("ready on {}:{}, ledger {}", config->listen_address, config->listen_port,
            config->cell_ledger);
  (*loop)->run();
  (*coordinator)->flush();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const auto options =
      hob::daemon_options("hob-coordinator", "Hands out the idle workstations of a cell.",
                          "/etc/hob/coordinator.toml", count, arguments);
  if (const int* status = std::get_if<int>(&options)) return *status;
  const auto& [config, check_only] = std::get<hob::DaemonOptions>(options);
  return run(config, check_only);
}
