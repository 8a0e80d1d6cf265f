// hob-hostd: one workstation's daemon. See hostd/hostd.h.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "base/log.h"
#include "base/log_spdlog.h"
#include "config/config.h"
#include "config/daemon_options.h"
#include "hostd/hostd.h"
#include "hostd/priority.h"

namespace {

/// How long guests have to go home when hostd is asked to end; systemd's own patience is 90 s.
constexpr auto kLeaveLimit = hob::seconds(20);

int fail(const hob::Error& error) {
  std::fprintf(stderr, "hob-hostd: %s\n", error.text.c_str());
  return 1;
}

/// The starter lies beside this program.
std::string starter_path() {
  hob::Result<std::string> own = hob::read_link("/proc/self/exe");
  const std::string path = own.ok() ? *own : "/usr/sbin/hob-hostd";
  return path.substr(0, path.rfind('/') + 1) + "hob-starter";
}

int run(const std::string& config_path, bool check_only) {
  using namespace hob;
  Result<HostdConfig> config = load_hostd_config(config_path);
  if (!config.ok() && config.error().code == ENOENT)
    return fail(
        Error{config.error().text + "; `remote cell join` makes one, --config FILE names another"});
  if (!config.ok()) return fail(config.error());
  if (check_only) {
    for (const auto& [key, value] : show_config(*config)) fmt::print("{} = {}\n", key, value);
    return 0;
  }
  if (::geteuid() != 0)
    return fail(Error{"start: must run as root, to freeze and to move processes"});
  log::use_spdlog("hostd");
  log::set_level(config->log_level);
  std::signal(SIGPIPE, SIG_IGN);
  // Before ZeroMQ's thread starts, so that it has the same.
  if (auto preferred = hostd::prefer_this_thread(); !preferred.ok())
    log::warning("{}; guests may be frozen late", preferred.error().text);
  auto loop = EventLoop::create();
  if (!loop.ok()) return fail(loop.error());
  // Before ZeroMQ's thread starts, so that signals come to the loop.
  std::unique_ptr<hostd::Hostd> hostd;
  auto signals = (*loop)->on_signals({SIGTERM, SIGINT}, [&](int signal) {
    log::info("signal {}: sending guests home, then ending", signal);
    hostd->leave(kLeaveLimit, [&] { (*loop)->stop(); });
  });
  if (!signals.ok()) return fail(signals.error());
  auto created = hostd::Hostd::create(**loop, *config, starter_path());
  if (!created.ok()) return fail(created.error());
  hostd = std::move(*created);
  log::info("ready on {}:{}", config->host_address, config->host_port);
  (*loop)->run();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const auto options = hob::daemon_options(
      "hob-hostd",
      "Watches this workstation's owner, and runs other people's jobs while he is away.",
      "/etc/hob/hostd.toml", count, arguments);
  if (const int* status = std::get_if<int>(&options)) return *status;
  const auto& [config, check_only] = std::get<hob::DaemonOptions>(options);
  return run(config, check_only);
}
