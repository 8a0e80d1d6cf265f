#pragma once

#include <string_view>

namespace hob::log {

/// Sends the project's log through spdlog (time stamps, levels, flushing on warnings) to stderr.
/// For the daemons; call once, before threads start.
void use_spdlog(std::string_view name);

}  // namespace hob::log
