#include "migrate/territory.h"

#include <algorithm>

#include "base/check.h"

namespace hob::migrate {

void Territory::add(Range target, uint64_t source) {
  if (target.empty()) return;
  auto next = pieces_.lower_bound(target.start);
  CHECK(next == pieces_.end() || next->first >= target.end);
  CHECK(next == pieces_.begin() || std::prev(next)->second.end <= target.start);
  pieces_.emplace(target.start, Piece{target.end, source});
  if (source != target.start) moved_++;
}

void Territory::remove(Range target) {
  if (target.empty()) return;
  auto at = pieces_.upper_bound(target.start);
  if (at != pieces_.begin()) --at;
  while (at != pieces_.end() && at->first < target.end) {
    const Range range{at->first, at->second.end};
    const uint64_t source = at->second.source;
    if (!range.overlaps(target)) {
      ++at;
      continue;
    }
    if (source != range.start) moved_--;
    at = pieces_.erase(at);
    if (range.start < target.start) add({range.start, target.start}, source);
    if (target.end < range.end) {
      add({target.end, range.end}, source + (target.end - range.start));
      break;
    }
  }
}

void Territory::move(uint64_t from, uint64_t to, uint64_t length) {
  const Range source_range{from, from + length};
  std::vector<std::pair<Range, uint64_t>> taken;
  auto at = pieces_.upper_bound(from);
  if (at != pieces_.begin()) --at;
  for (; at != pieces_.end() && at->first < source_range.end; ++at) {
    const Range part{std::max(at->first, from), std::min(at->second.end, source_range.end)};
    if (!part.empty()) taken.push_back({part, at->second.source + (part.start - at->first)});
  }
  remove(source_range);
  remove({to, to + length});
  for (const auto& [part, source] : taken)
    add({part.start - from + to, part.end - from + to}, source);
}

std::optional<uint64_t> Territory::source_of(uint64_t target) const {
  auto at = pieces_.upper_bound(target);
  if (at == pieces_.begin()) return std::nullopt;
  --at;
  if (target >= at->second.end) return std::nullopt;
  return at->second.source + (target - at->first);
}

void Territory::each_target_of(Range source,
                               const std::function<void(Range, uint64_t)>& call) const {
  auto visit = [&](uint64_t start, const Piece& piece) {
    const Range covers{piece.source, piece.source + (piece.end - start)};
    const Range part{std::max(covers.start, source.start), std::min(covers.end, source.end)};
    if (!part.empty())
      call({start + (part.start - covers.start), start + (part.end - covers.start)}, part.start);
  };
  if (moved_ > 0) {  // rare: then all are looked at
    for (const auto& [start, piece] : pieces_) visit(start, piece);
    return;
  }
  auto at = pieces_.upper_bound(source.start);
  if (at != pieces_.begin()) --at;
  for (; at != pieces_.end() && at->first < source.end; ++at) visit(at->first, at->second);
}

}  // namespace hob::migrate
