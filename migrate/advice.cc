#include "migrate/advice.h"

#include <sys/mman.h>

#include <algorithm>
#include <charconv>

#include "migrate/proc.h"

namespace hob::migrate {
namespace {

struct Name {
  std::string_view flag;  // in VmFlags
  Advice advice;
};
constexpr Name kNames[] = {
    {"dc", Advice::dont_fork},  {"wf", Advice::wipe_on_fork},  {"dd", Advice::dont_dump},
    {"hg", Advice::huge_pages}, {"nh", Advice::no_huge_pages}, {"mg", Advice::mergeable},
    {"lo", Advice::locked},     {"gd", Advice::grows_down},
};

/// "55d0-55d1 r--p ..."; empty if the line is none of these.
Range range_of(std::string_view line) {
  Range range;
  const char* const end = line.data() + line.size();
  const auto first = std::from_chars(line.data(), end, range.start, 16);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return {};
  const auto second = std::from_chars(first.ptr + 1, end, range.end, 16);
  if (second.ec != std::errc() || second.ptr == end || *second.ptr != ' ') return {};
  return range;
}

uint8_t advice_in(std::string_view flags) {
  uint8_t advice = 0;
  for (const Name& name : kNames)
    for (size_t at = flags.find(name.flag); at != flags.npos; at = flags.find(name.flag, at + 1))
      if (at > 0 && flags[at - 1] == ' ') advice |= static_cast<uint8_t>(name.advice);
  return advice;
}

}  // namespace

std::vector<AdvisedRange> parse_smaps(std::string_view text) {
  std::vector<AdvisedRange> found;
  Range range;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = text.substr(start, end - start);
    start = end + 1;
    constexpr std::string_view kFlags = "VmFlags:";
    if (line.starts_with(kFlags)) {
      const uint8_t advice = advice_in(line.substr(kFlags.size()));
      if (advice != 0 && !range.empty()) found.push_back({range, advice});
    } else if (const Range head = range_of(line); !head.empty()) {
      range = head;
    }
  }
  return found;
}

void Advices::read(Tid process) {
  const auto text = proc::read(process, "smaps");
  if (text.ok()) known_[process] = parse_smaps(*text);
}

uint8_t Advices::of(Tid process, Range range) const {
  const auto at = known_.find(process);
  if (at == known_.end()) return 0;
  const auto& ranges = at->second;
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), range.start,
                       [](uint64_t start, const AdvisedRange& r) { return start < r.range.start; });
  constexpr auto kGrows = static_cast<uint8_t>(Advice::grows_down);
  if (after != ranges.end() && after->advice & kGrows && after->range.end == range.end)
    return after->advice;  // it has grown since
  if (after == ranges.begin()) return 0;
  const AdvisedRange& candidate = *std::prev(after);
  return range.end <= candidate.range.end ? candidate.advice : 0;
}

int madvise_of(Advice advice) {
  switch (advice) {
    case Advice::dont_fork:
      return MADV_DONTFORK;
    case Advice::wipe_on_fork:
      return MADV_WIPEONFORK;
    case Advice::dont_dump:
      return MADV_DONTDUMP;
    case Advice::huge_pages:
      return MADV_HUGEPAGE;
    case Advice::no_huge_pages:
      return MADV_NOHUGEPAGE;
    case Advice::mergeable:
      return MADV_MERGEABLE;
    case Advice::locked:
    case Advice::grows_down:
      break;
  }
  return -1;
}

}  // namespace hob::migrate
