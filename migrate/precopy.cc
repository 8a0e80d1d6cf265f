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

PreCopy::PreCopy(Guest& guest, Connection& bulk, std::unique_ptr<ChangeTracker> tracker)
    : guest_(guest), bulk_(bulk), tracker_(std::move(tracker)) {}

Result<PreCopy> PreCopy::begin(Guest& guest, const Platform& platform, Connection& bulk,
                               ChangeTracker::Means means) {
  return PreCopy(guest, bulk, TRY(ChangeTracker::begin(guest, platform, means)));
}

Result<void> PreCopy::rounds() {
  while (TRY(round())) TRY(fault::point(Fault::round));
  return {};
}

// False: it was not worth it; what has changed is left for finish().
Result<bool> PreCopy::round() {
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
    changed.emplace(process, std::move(*ranges));
  }
  // Stopped by its owner's return: nothing changes any more, and somebody waits.
  const bool stopped = TRY(guest_.sandbox->cgroup().freezing());
  const uint64_t expected = tracker_->exact() || done_.empty() ? size : done_.back().bytes;
  if (!done_.empty() && (stopped || !another_round(done_, expected))) {
    for (auto& [process, ranges] : changed)
      if (tracker_->exact()) sent_[process] = without(sent_[process], ranges);
    return false;
  }
  Pusher pusher(memory, bulk_);
  pusher.only([this](uint32_t process, uint64_t address, const std::byte* page) {
    return tracker_->differs(process, address, page);
  });
  const Time start = Clock::now();
  for (const auto& [process, ranges] : changed) {
    TRY(pusher.push(process, ranges, sent_[process]));
    sent_[process] = united(sent_[process], ranges);
  }
  done_.push_back({pusher.pages() * kPage, Clock::now() - start});
  pages_ += pusher.pages();
  return true;
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
    const Ranges same = common(TRY(tracker_->unchanged(p.pid)), sent);
    TRY(pusher.push(process, without(TRY(pages.populated(process)), same), sent));
  }
  TRY(pusher.push(stream::kObjects, TRY(pages.populated(stream::kObjects))));
  pages_ += pusher.pages();
  return pusher.end();
}

}  // namespace hob::migrate
