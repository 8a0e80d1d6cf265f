#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

namespace hob::log {
namespace {

std::atomic<Level> level_limit{Level::info};
std::atomic<Sink> current_sink{nullptr};

std::string& name() {
  static std::string value = "hob";
  return value;
}

}  // namespace

void set_level(Level level) {
  level_limit = level;
}
bool enabled(Level level) {
  return level >= level_limit.load(std::memory_order_relaxed);
}
void set_name(std::string_view value) {
  name() = value;
}
void set_sink(Sink sink) {
  current_sink = sink;
}

void write(Level level, std::string_view line) {
  if (!enabled(level)) return;
  if (Sink sink = current_sink.load()) return sink(level, line);
  static constexpr const char* kWord[] = {"debug: ", "", "warning: ", "error: "};
  std::string text = name() + ": " + kWord[static_cast<int>(level)] + std::string(line) + "\n";
  // One write, so that lines of several processes do not mix; a closed stderr is nobody's problem
  // here.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace hob::log
