// pmake/timeline.h: a build as Chrome's trace events. The format: "Trace Event Format", Google,
// docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
#include <map>

#include "base/json.h"
#include "pmake/timeline.h"

namespace hob::pmake {
namespace {

double to_microseconds(Duration d) {
  return static_cast<double>(d.count()) / 1000;
}

class Trace {
 public:
  Trace(const Timeline& timeline, Duration wall) : timeline_(timeline), wall_(wall) {
    const std::vector<std::string> hosts = hosts_of(timeline);
    for (uint64_t i = 0; i < hosts.size(); ++i) processes_[hosts[i]] = i + 1;
  }

  std::string text() && {
    json_.member("displayTimeUnit", "ms").array("traceEvents");
    for (const auto& [host, process] : processes_) name_host(host, process);
    for (const RecipeRun& recipe : timeline_.recipes()) {
      for (size_t i = 0; i < recipe.stays.size(); ++i) {
        bar(recipe, recipe.stays[i]);
        if (i > 0) arrow(recipe, recipe.stays[i - 1], recipe.stays[i]);
      }
    }
    return std::move(json_).document();
  }

 private:
  /// Opens an event of phase `phase`; the caller ends it.
  JsonWriter& event(const char* phase, std::string_view name, uint64_t process, uint64_t thread) {
    return json_.object()
        .member("ph", phase)
        .member("name", valid_utf8(name))
        .member("pid", process)
        .member("tid", thread);
  }

  /// What is shown for a process or a thread: its name, and its place among the others.
  void label(const char* what, uint64_t process, uint64_t thread, std::string_view name,
             uint64_t place) {
    event("M", std::string(what) + "_name", process, thread)
        .object("args")
        .member("name", valid_utf8(name))
        .end()
        .end();
    event("M", std::string(what) + "_sort_index", process, thread)
        .object("args")
        .member("sort_index", place)
        .end()
        .end();
  }

  void name_host(const std::string& host, uint64_t process) {
    label("process", process, 1, host == timeline_.home() ? host + " (home)" : host, process);
    uint32_t slots = 0;
    for (const RecipeRun& recipe : timeline_.recipes())
      for (const Stay& stay : recipe.stays)
        if (stay.host == host) slots = std::max(slots, stay.slot + 1);
    for (uint32_t slot = 0; slot < slots; ++slot)
      label("thread", process, thread_of(slot), "slot " + std::to_string(slot + 1), slot);
  }

  void bar(const RecipeRun& recipe, const Stay& stay) {
    const std::string& name = recipe.target.empty() ? recipe.command : recipe.target;
    event("X", name, processes_.at(stay.host), thread_of(stay.slot))
        .member("cat", to_string(kind_of(timeline_, recipe, stay)))
        .member("ts", to_microseconds(stay.from))
        .member("dur", to_microseconds(stay.length(wall_)))
        .object("args")
        .member("recipe", recipe.number)
        .member("target", valid_utf8(recipe.target))
        .member("command", valid_utf8(recipe.command));
    if (!stay.why.empty()) json_.member("reason", valid_utf8(stay.why));
    if (!recipe.why_home.empty()) json_.member("why_home", valid_utf8(recipe.why_home));
    json_.end().end();
  }

  /// An arrow belongs to the bars that enclose its ends: so it begins a little before the first one
  /// ends.
  void arrow(const RecipeRun& recipe, const Stay& from, const Stay& to) {
    const Duration before = std::min<Duration>(microseconds(1), from.length(wall_) / 2);
    const char* name = from.lost ? "rerun" : "move";
    const uint64_t id = ++arrows_;
    event("s", name, processes_.at(from.host), thread_of(from.slot))
        .member("cat", "move")
        .member("id", id)
        .member("ts", to_microseconds(to.from - before))
        .object("args")
        .member("recipe", recipe.number)
        .member("reason", valid_utf8(to.why))
        .end()
        .end();
    event("f", name, processes_.at(to.host), thread_of(to.slot))
        .member("cat", "move")
        .member("id", id)
        .member("ts", to_microseconds(to.from))
        .member("bp", "e")
        .end();
  }

  /// 0 stands for "no thread" in some viewers.
  static uint64_t thread_of(uint32_t slot) { return slot + 1ull; }

  const Timeline& timeline_;
  const Duration wall_;
  std::map<std::string, uint64_t> processes_;  // by host
  uint64_t arrows_ = 0;
  JsonWriter json_;
};

}  // namespace

std::string chrome_trace(const Timeline& timeline, Duration wall) {
  return Trace(timeline, wall).text();
}

}  // namespace hob::pmake
