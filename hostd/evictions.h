#pragma once

#include <functional>
#include <list>
#include <set>
#include <string>

#include "base/event_loop.h"
#include "wire/message.h"

namespace hob::hostd {

/// What users wait for who have sent guests home by `remote evict`: that each has left, or why it
/// stays. One thread, the loop's.
class Evictions {
 public:
  using OnEnd = std::function<void(pb::Envelope)>;
  Evictions(EventLoop& loop, Duration limit) : loop_(loop), limit_(limit) {}

  /// Calls back once, when something has been said of each of `jobs` or the limit is over: Done, or
  /// Failure with one line that names those that are still here.
  void begin(std::set<std::string> jobs, OnEnd on_end);
  /// It has left, or ended.
  void left(const std::string& job) { settle(job, {}); }
  void stays(const std::string& job, const std::string& why) { settle(job, why); }

 private:
  struct Eviction {
    std::set<std::string> open;
    std::string stayed;  ///< for people
    OnEnd on_end;
    EventLoop::Handle limit;
  };
  void settle(const std::string& job, const std::string& why);
  void end(std::list<Eviction>::iterator at);

  EventLoop& loop_;
  Duration limit_;
  std::list<Eviction> evictions_;
};

}  // namespace hob::hostd
