#include "migrate/parts.h"

namespace hob::migrate {

std::span<const Part* const> parts() {
  // Identity first: a new process must have the user's groups before it opens files. Threads before
  // memory: their registers say which pages are hot.
  static const Part* const table[] = {&kIdentity, &kThreads, &kMemory, &kVdso,
                                      &kFiles,    &kSignals, &kTimers};
  return table;
}

Error obstacle(const std::string& subject, std::string_view why) {
  return Error{subject + ": " + std::string(why) + "; cannot be moved yet", kObstacle};
}

void Inspection::object(std::string_view what, std::string_view why) {
  const std::string process = "process " + std::to_string(inside) + " (" + status.name + ")";
  obstacles.push_back(
      {obstacle(what.empty() ? process : std::string(what) + " of " + process, why).text});
}

}  // namespace hob::migrate
