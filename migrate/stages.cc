#include "migrate/stages.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "base/time.h"

namespace hob::migrate::stages {
namespace {

struct Table {
  struct Row {
    const char* stage;
    Duration spent;
  };
  std::array<Row, 64> rows;
  size_t used = 0;
  Time last;
};
thread_local Table current;

}  // namespace

void begin() {
  current.used = 0;
  current.last = Clock::now();
}

void mark(const char* stage) {
  const Time now = Clock::now();
  auto* const end = current.rows.begin() + current.used;
  auto* row =
      std::find_if(current.rows.begin(), end, [=](const auto& r) { return r.stage == stage; });
  if (row == current.rows.end()) return;  // full: a table is a help, not a record
  if (row == end) {
    *row = {stage, Duration(0)};
    current.used++;
  }
  row->spent += now - std::exchange(current.last, now);
}

std::string table() {
  std::string text;
  Duration all(0);
  for (size_t i = 0; i < current.used; i++) {
    const auto us = std::chrono::duration_cast<microseconds>(current.rows[i].spent).count();
    text += (i ? ", " : "") + std::string(current.rows[i].stage) + " " + std::to_string(us);
    all += current.rows[i].spent;
  }
  return text + "; all " + std::to_string(std::chrono::duration_cast<microseconds>(all).count());
}

void tell(const char* where) {
  if (log::enabled(log::Level::debug)) log::debug("stages at the {}, us: {}", where, table());
}

}  // namespace hob::migrate::stages
