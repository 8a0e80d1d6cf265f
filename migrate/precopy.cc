#include "migrate/precopy.h"

#include <algorithm>

#include "migrate/fault.h"

namespace hob::migrate {

class PreCopy::Running final : public PageOrigin {
 public:
  void add(uint32_t process, Tid pid) { pids_.emplace(process, pid); }
  std::vector<uint32_t> owners() const override { return {}; }
  Result<Ranges> populated(uint32_t) const override { return Ranges{}; }
  bool has(uint32_t, uint64_t) const override { return false; }
  Result<void> read(uint32_t process, uint64_t address, std::span<std::byte> to) const override {
    const Tid pid = pids_.at(process);
    if (proc::read_memory(pid, {address}, to.data(), to.size())) return {};
    for (size_t at = 0; at < to.size(); at += kPage)
      if (!proc::read_memory(pid, {address + at}, &to[at], kPage))
        std::fill_n(&to[at], kPage, std::byte{});
    return {};
  }

 private:
  std::map<uint32_t, Tid> pids_;
};

namespace {

// How many of the last ranges make about a record of the stream. A range that is longer counts as
// one: it is cut before.
size_t last_piece(const Ranges& ranges) {
  size_t count = 0;
  for (uint64_t size = 0; count < ranges.size() && size < stream::kBatchBytes; count++)
    size += ranges[ranges.size() - 1 - count].size();
  return count;
}

Ranges cut(const Ranges& ranges) {
  Ranges out;
  for (Range r : ranges)
    for (; !r.empty(); r.start = out.back().end)
      out.push_back({r.start, std::min(r.end, r.start + stream::kBatchBytes)});
  return out;
}

}  // namespace

PreCopy::PreCopy(Guest& guest, Connection& bulk, std::unique_ptr<ChangeTracker> tracker)
    : guest_(guest), bulk_(bulk), tracker_(std::move(tracker)) {}

Result<PreCopy> PreCopy::begin(Guest& guest, const Platform& platform, Connection& bulk,
                               ChangeTracker::Means means) {
  return PreCopy(guest, bulk, TRY(ChangeTracker::begin(guest, platform, means)));
}

Result<void> PreCopy::rounds(const std::function<bool()>& hurry) {
  while (TRY(round(hurry))) TRY(fault::point(Fault::round));
  return {};
}

// For finish(). The tracker will not tell it again.
void PreCopy::leave(uint32_t process, const Ranges& changed) {
  outdated_[process] = united(outdated_[process], changed);
}

// False: it was not worth it; what has changed is left for finish().
Result<bool> PreCopy::round(const std::function<bool()>& hurry) {
  const TreeView view = TRY(view_tree(guest_));
  Running memory;
  std::map<uint32_t, Ranges> changed;
  uint64_t size = 0;
  size_t at = 0;
  for (const TreeNode& node : view.tree) {
    if (node.zombie) {
      at++;
      continue;
    }
    const Tid pid = view.pids[at++];
    const auto process = static_cast<uint32_t>(node.pid);
    auto ranges = tracker_->changed(pid);
    if (!ranges) continue;  // it has just ended
    memory.add(process, pid);
    size += total_size(*ranges);
    changed.emplace(process, cut(*ranges));
  }
  // Stopped by its owner's return: nothing changes any more, and somebody waits.
  const bool stopped = TRY(guest_.sandbox->cgroup().freezing());
  const uint64_t expected = tracker_->exact() || done_.empty() ? size : done_.back().bytes;
  if (!done_.empty() && (stopped || !another_round(done_, expected))) {
    for (const auto& [process, ranges] : changed) leave(process, ranges);
    return false;
  }
  Pusher pusher(memory, bulk_);
  pusher.only([this](uint32_t process, uint64_t address, const std::byte* page) {
    return tracker_->differs(process, address, page);
  });
  const Time start = Clock::now();
  bool hurried = false;
  for (auto& [process, ranges] : changed) {
    const Ranges before = sent_[process];
    sent_[process] = united(before, ranges);
    outdated_[process] = without(outdated_[process], ranges);
    // In pieces, so that the owner who comes back does not wait for gigabytes.
    for (; !ranges.empty(); ranges.resize(ranges.size() - last_piece(ranges))) {
      hurried = hurried || hurry();
      if (hurried) break;
      const Ranges piece(ranges.end() - static_cast<std::ptrdiff_t>(last_piece(ranges)),
                         ranges.end());
      TRY(pusher.push(process, piece, before));
    }
    leave(process, ranges);
  }
  done_.push_back({pusher.pages() * kPage, Clock::now() - start});
  pages_ += pusher.pages();
  return !hurried;
}

Result<void> PreCopy::finish(const LivePages& pages, const std::vector<CaptiveProcess>& processes) {
  Pusher pusher(pages, bulk_);
  pusher.only([this](uint32_t process, uint64_t address, const std::byte* page) {
    return process == stream::kObjects || tracker_->differs(process, address, page);
  });
  TRY(pusher.tell_populated());
  for (const CaptiveProcess& p : processes) {
    const auto process = static_cast<uint32_t>(p.node.pid);
    const Ranges& sent = sent_[process];
    const Ranges same = common(TRY(tracker_->unchanged(p.pid)), without(sent, outdated_[process]));
    TRY(pusher.push(process, without(TRY(pages.populated(process)), same), sent));
  }
  TRY(pusher.push(stream::kObjects, TRY(pages.populated(stream::kObjects))));
  pages_ += pusher.pages();
  return pusher.end();
}

}  // namespace hob::migrate
