#include "hostd/load.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <set>

#include "base/fd.h"

namespace hob {
namespace {

using Directory = std::filesystem::recursive_directory_iterator;

/// Calls back with each thread in the cgroup at `directory` and below. Groups that go meanwhile are
/// empty.
Result<void> for_each_thread(const std::string& directory,
                             const std::vector<std::string>& leave_out,
                             const std::function<void(const std::string& tid)>& call) {
  const auto visit = [&](const std::string& group) -> Result<void> {
    // v1 lists threads in "tasks", v2 in "cgroup.threads".
    Result<std::string> text = read_file(group + "/tasks");
    if (!text.ok() && text.error().code == ENOENT) text = read_file(group + "/cgroup.threads");
    if (!text.ok())
      return text.error().code == ENOENT || text.error().code == ENODEV ? Result<void>()
                                                                        : std::move(text).error();
    for (size_t at = 0; at < text->size();) {
      const size_t end = std::min(text->find('\n', at), text->size());
      call(text->substr(at, end - at));
      at = end + 1;
    }
    return {};
  };
  TRY(visit(directory));
  std::error_code problem;
  for (Directory it(directory, problem); !problem && it != Directory(); it.increment(problem)) {
    std::error_code gone;
    if (!it->is_directory(gone)) continue;
    if (std::find(leave_out.begin(), leave_out.end(), it->path()) != leave_out.end()) {
      it.disable_recursion_pending();
      continue;
    }
    TRY(visit(it->path().string()));
  }
  if (problem && problem != std::errc::no_such_file_or_directory)
    return Error::sys("list the cgroups below", directory, problem.value());
  return {};
}

/// Runs or waits for a processor. A thread that has gone does not.
bool runnable(const std::string& proc, const std::string& tid) {
  const Result<std::string> stat = read_file(proc + "/" + tid + "/stat");
  if (!stat.ok()) return false;
  // The name in parentheses may hold anything, the state is the letter after the last of them.
  const size_t end = stat->rfind(')');
  return end != std::string::npos && end + 2 < stat->size() && (*stat)[end + 2] == 'R';
}

/// Of this process, by their ids.
std::set<std::string> own_threads(const std::string& proc) {
  std::set<std::string> all = {std::to_string(::gettid())};
  std::error_code none;
  for (std::filesystem::directory_iterator it(proc + "/self/task", none), end; !none && it != end;
       it.increment(none))
    all.insert(it->path().filename());
  return all;
}

Result<unsigned> count_runnable(const std::string& proc, const std::string& directory,
                                const std::vector<std::string>& leave_out,
                                const std::set<std::string>& own = {}) {
  unsigned count = 0;
  TRY(for_each_thread(directory, leave_out, [&](const std::string& tid) {
    if (!own.contains(tid) && runnable(proc, tid)) ++count;
  }));
  return count;
}

std::string first_line(const std::string& path) {
  const Result<std::string> text = read_file(path);
  return text.ok() ? text->substr(0, text->find('\n')) : "";
}

}  // namespace

Result<unsigned> parse_running(std::string_view loadavg) {
  const size_t slash = loadavg.find('/');
  const size_t space = loadavg.rfind(' ', slash);
  unsigned running = 0;
  if (slash != std::string_view::npos && space != std::string_view::npos) {
    const std::string_view digits = loadavg.substr(space + 1, slash - space - 1);
    const auto [end, problem] = std::from_chars(digits.begin(), digits.end(), running);
    if (problem == std::errc() && end == digits.end()) return running;
  }
  return Error{"read /proc/loadavg: '" + std::string(loadavg) + "' has no count of running tasks"};
}

Result<unsigned> LoadMeter::sample() const {
  if (!options_.owners.empty()) {
    if (::access(options_.owners.c_str(), F_OK) != 0)
      return Error::sys("find", options_.owners, errno, "see load.cgroup in the config");
    return count_runnable(options_.proc, options_.owners, options_.not_the_owners,
                          own_threads(options_.proc));
  }
  const unsigned running = TRY(parse_running(TRY(read_file(options_.proc + "/loadavg"))));
  // We run while we look.
  const unsigned others = running > 0 ? running - 1 : 0;
  if (others == 0) return 0;
  unsigned not_the_owners = 0;
  for (const std::string& tid : own_threads(options_.proc))
    if (tid != std::to_string(::gettid()) && runnable(options_.proc, tid)) ++not_the_owners;
  for (const std::string& directory : options_.not_the_owners)
    not_the_owners += TRY(count_runnable(options_.proc, directory, {}));
  return others > not_the_owners ? others - not_the_owners : 0;
}

Result<bool> on_battery(const std::string& power_supplies) {
  std::error_code problem;
  std::filesystem::directory_iterator it(power_supplies, problem);
  if (problem == std::errc::no_such_file_or_directory) return false;
  bool discharging = false;
  for (; !problem && it != std::filesystem::directory_iterator(); it.increment(problem)) {
    const std::string supply = it->path().string();
    const std::string type = first_line(supply + "/type");
    // Power from a plug settles it: a battery may show "Discharging" for moments beside it.
    if (type != "Battery" && first_line(supply + "/online") == "1") return false;
    if (type == "Battery" && first_line(supply + "/scope") != "Device" &&
        first_line(supply + "/status") == "Discharging")
      discharging = true;
  }
  if (problem) return Error::sys("read", power_supplies, problem.value());
  return discharging;
}

}  // namespace hob
