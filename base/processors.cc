#include "base/processors.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "base/fd.h"

namespace hob {
namespace {

constexpr double kUnlimited = HUGE_VAL;

std::string text_of(const std::string& path) {
  Result<std::string> text = read_file(path, 4096);
  return text.ok() ? std::move(text).value() : "";
}

/// Processors that the group at `directory` may use, by itself (v2: "MAX PERIOD", or "max PERIOD";
/// v1: two files, -1 for no limit). All in microseconds.
double quota_at(const std::string& directory) {
  long long quota = -1, period = 0;
  const std::string max = text_of(directory + "/cpu.max");
  if (max.empty()) {
    const std::string v1 =
        text_of(directory + "/cpu.cfs_quota_us") + " " + text_of(directory + "/cpu.cfs_period_us");
    if (std::sscanf(v1.c_str(), "%lld %lld", &quota, &period) != 2) return kUnlimited;
  } else if (std::sscanf(max.c_str(), "%lld %lld", &quota, &period) != 2) {
    return kUnlimited;
  }
  if (quota <= 0 || period <= 0) return kUnlimited;
  return static_cast<double>(quota) / static_cast<double>(period);
}

/// The least of a group's own quota and those above it.
double quota_of(const std::string& hierarchy, std::string group) {
  double least = kUnlimited;
  for (;;) {
    least = std::min(least, quota_at(hierarchy + group));
    const size_t slash = group.rfind('/');
    if (slash == group.npos) return least;
    group.resize(slash);
  }
}

double quota_of_line(std::string_view line, const std::string& group, const GroupFiles& files) {
  // "ID:CONTROLLER[,CONTROLLER...]:PATH"; the unified hierarchy has no controllers there.
  const size_t first = line.find(':');
  const size_t second = line.find(':', first + 1);
  if (first == line.npos || second == line.npos) return kUnlimited;
  const std::string_view controllers = line.substr(first + 1, second - first - 1);
  std::string path(line.substr(second + 1));
  if (path == "/") path.clear();
  if (controllers.empty()) {
    // Hybrid machines have it beside the hierarchies of v1.
    const std::string beside = files.root + "/unified";
    const bool hybrid = ::access((beside + "/cgroup.procs").c_str(), F_OK) == 0;
    return quota_of(hybrid ? beside : files.root, group.empty() ? path : group);
  }
  const std::string names = "," + std::string(controllers) + ",";
  if (names.find(",cpu,") == names.npos) return kUnlimited;
  return quota_of(files.root + "/cpu", path);
}

}  // namespace

unsigned usable_processors(const std::string& group, const GroupFiles& files) {
  cpu_set_t set;
  const int allowed = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  double least = std::max(1, allowed);
  const std::string groups = text_of(files.own);
  for (size_t start = 0; start < groups.size();) {
    const size_t end = std::min(groups.find('\n', start), groups.size());
    least = std::min(
        least, quota_of_line(std::string_view(groups).substr(start, end - start), group, files));
    start = end + 1;
  }
  return static_cast<unsigned>(std::max(1.0, std::ceil(least)));
}

}  // namespace hob
