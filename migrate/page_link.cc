#include "migrate/page_link.h"

#include <poll.h>

#include <iterator>

namespace hob::migrate {

PageLink::PageLink(Connection demand, Connection bulk, Duration patience, Duration silence)
    : patience_(patience),
      silence_(silence),
      pair_(std::make_shared<Pair>(Pair{std::move(demand), std::move(bulk)})) {
  pair_->bulk.set_patience(silence_);
}

PageLink::Held PageLink::current() const {
  std::lock_guard guard(lock_);
  return pair_;
}

bool PageLink::is_broken() const {
  std::lock_guard guard(lock_);
  // Nobody receives yet, perhaps.
  pollfd p[] = {{pair_->bulk.fd(), POLLRDHUP, 0}, {pair_->demand.fd(), POLLRDHUP, 0}};
  return broken_ || over_ || ::poll(p, std::size(p), 0) > 0;
}

PageLink::Held PageLink::wait_for_next(std::unique_lock<std::mutex>& guard, const Held& broken) {
  changed_.wait_for(guard, patience_, [&] { return over_ || pair_ != broken; });
  if (pair_ == broken) over_ = true;
  if (over_) changed_.notify_all();
  return over_ ? nullptr : pair_;
}

PageLink::Held PageLink::after_bulk(const Held& broken, const Error& why) {
  std::unique_lock guard(lock_);
  if (over_) return nullptr;
  if (pair_ != broken) return pair_;
  broken_ = true;
  changed_.notify_all();
  if (patience_ == Duration{0} || (why.code == EPIPE && !ended_here_)) {
    over_ = true;
    return nullptr;
  }
  // The source is to hear of it, too.
  broken->demand.shut();
  broken->bulk.shut();
  return wait_for_next(guard, broken);
}

PageLink::Held PageLink::after_demand(const Held& broken) {
  constexpr Duration kMoment = seconds(1);  // the other connection usually breaks with it
  std::unique_lock guard(lock_);
  if (patience_ == Duration{0}) return nullptr;
  changed_.wait_for(guard, kMoment, [&] { return over_ || broken_ || pair_ != broken; });
  if (over_) return nullptr;
  if (pair_ != broken) return pair_;
  if (!broken_) {
    ended_here_ = true;
    broken->bulk.shut();
  }
  return wait_for_next(guard, broken);
}

void PageLink::renew(Connection demand, Connection bulk) {
  bulk.set_patience(silence_);
  auto next = std::make_shared<Pair>(Pair{std::move(demand), std::move(bulk)});
  std::lock_guard guard(lock_);
  if (over_) return;
  pair_->demand.shut();
  pair_->bulk.shut();
  pair_ = std::move(next);
  broken_ = ended_here_ = false;
  changed_.notify_all();
}

void PageLink::stop() {
  std::lock_guard guard(lock_);
  over_ = true;
  pair_->demand.shut();
  pair_->bulk.shut();
  changed_.notify_all();
}

void ReceivedPages::add(uint32_t process, Range range) {
  auto& known = ranges_[process];
  auto at = known.upper_bound(range.start);
  if (at != known.begin() && std::prev(at)->second >= range.start) --at;
  while (at != known.end() && at->first <= range.end) {
    range.start = std::min(range.start, at->first);
    range.end = std::max(range.end, at->second);
    at = known.erase(at);
  }
  known.emplace(range.start, range.end);
}

std::vector<uint32_t> ReceivedPages::processes() const {
  std::vector<uint32_t> all;
  for (const auto& [process, ranges] : ranges_) all.push_back(process);
  return all;
}

Ranges ReceivedPages::of(uint32_t process) const {
  Ranges all;
  const auto found = ranges_.find(process);
  if (found == ranges_.end()) return all;
  for (const auto& [start, end] : found->second) all.push_back({start, end});
  return all;
}

}  // namespace hob::migrate
