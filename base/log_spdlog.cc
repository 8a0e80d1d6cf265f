#include "base/log_spdlog.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/log.h"

namespace hob::log {
namespace {

void to_spdlog(Level level, std::string_view line) {
  static constexpr spdlog::level::level_enum kLevel[] = {spdlog::level::debug, spdlog::level::info,
                                                         spdlog::level::warn, spdlog::level::err};
  spdlog::log(kLevel[static_cast<int>(level)], fmt::string_view(line.data(), line.size()));
}

}  // namespace

void use_spdlog(std::string_view name) {
  auto logger = spdlog::stderr_logger_mt(std::string(name));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %n: %v");
  logger->set_level(spdlog::level::debug);  // base/log.h filters
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  set_sink(to_spdlog);
}

}  // namespace hob::log
