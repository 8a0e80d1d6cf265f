#include "migrate/parts.h"

namespace hob::migrate {

std::span<const Part* const> parts() {
  // Identity first: a new process must have the user's groups before it opens files. Threads before
  // memory: their registers say which pages are hot.
  static const Part* const table[] = {&kIdentity, &kThreads, &kMemory, &kVdso,     &kSegments,
                                      &kFiles,    &kSignals, &kTimers, &kSettings, &kJobControl};
  return table;
}

Error obstacle(const std::string& subject, std::string_view why) {
  return Error{subject + ": " + std::string(why) + "; cannot be moved yet", kObstacle};
}

void Inspection::object(std::string_view what, std::string_view why) {
  if (table && !what.empty()) {
    // A row that a part has taken for movable, before the whole tree was seen, is set right.
    auto row = std::find_if(table->begin(), table->end(), [&](const Resource& r) {
      return r.process == inside && r.place == what;
    });
    if (row == table->end())
      row = table->insert(row, {inside, status.name, std::string(what), {}, {}, {}, {}});
    row->kind.clear();
    row->binding = Binding::refused;
    row->reason = why;
  }
  const std::string process = "process " + std::to_string(inside) + " (" + status.name + ")";
  std::string text =
      obstacle(what.empty() ? process : std::string(what) + " of " + process, why).text;
  // Looked at from two sides, it may be found twice.
  const bool known = std::any_of(obstacles.begin(), obstacles.end(),
                                 [&](const Obstacle& o) { return o.text == text; });
  if (!known) obstacles.push_back({std::move(text)});
}

void Inspection::object(const Error& why) {
  const std::string_view text = why.text;
  const size_t colon = text.find(": "), end = text.rfind("; cannot");
  object(text.substr(0, colon), text.substr(colon + 2, end - colon - 2));
}

void Inspection::follows(std::string_view what, std::string_view name, const Rule& rule) {
  if (table)
    table->push_back({inside, status.name, std::string(what), std::string(name),
                      std::string(rule.kind), rule.binding, std::string(rule.reason)});
}

}  // namespace hob::migrate
