#include "hostd/evictions.h"

#include <fmt/core.h>

namespace hob::hostd {

void Evictions::begin(std::set<std::string> jobs, OnEnd on_end) {
  if (jobs.empty()) return on_end(wire::done());
  const auto at = evictions_.insert(evictions_.end(), {std::move(jobs), {}, std::move(on_end), {}});
  at->limit = loop_.after(limit_, [this, at] {
    for (const std::string& job : at->open)
      at->stayed += fmt::format("{}{} has not left within {:.0f} s; it is asked for again",
                                at->stayed.empty() ? "" : "; ", job, to_seconds(limit_));
    end(at);
  });
}

void Evictions::settle(const std::string& job, const std::string& why) {
  for (auto at = evictions_.begin(); at != evictions_.end();) {
    const auto next = std::next(at);
    if (at->open.erase(job) > 0 && !why.empty())
      at->stayed += fmt::format("{}{} stays: {}", at->stayed.empty() ? "" : "; ", job, why);
    if (at->open.empty()) end(at);
    at = next;
  }
}

void Evictions::end(std::list<Eviction>::iterator at) {
  Eviction over = std::move(*at);
  evictions_.erase(at);
  over.on_end(over.stayed.empty() ? wire::done()
                                  : wire::failure(pb::Failure::INTERNAL, "evict: " + over.stayed));
}

}  // namespace hob::hostd
