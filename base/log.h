#pragma once

#include <fmt/core.h>

#include <string_view>

/// The project's log: one line per event, to stderr.
///
/// Behind this header so that spdlog is compiled once. A program that never calls `log::use_spdlog`
/// writes plain lines with write(2), which is all that starters and the command line need. Safe
/// from any thread; not from signal handlers.
namespace hob::log {

enum class Level { debug, info, warning, error };

/// Lines below this level are dropped. Default: info.
void set_level(Level level);
bool enabled(Level level);

/// Who speaks: the word in front of each line ("hostd h3"). Default: "hob".
void set_name(std::string_view name);

void write(Level level, std::string_view line);

/// Takes over the output of write(), e.g. by spdlog in the daemons (base/log_spdlog.h).
using Sink = void (*)(Level level, std::string_view line);
void set_sink(Sink sink);

template <class... Args>
void line(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::debug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::warning, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::error, format, std::forward<Args>(args)...);
}

}  // namespace hob::log
