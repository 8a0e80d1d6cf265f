#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "base/time.h"
#include "migrate/link.h"
#include "migrate/ranges.h"

namespace hob::migrate {

/// The target's end of the two connections by which pages come, as the threads of a PageSink see
/// it: while pages are owed, a link that has broken is replaced by the one with which the source
/// comes back (relink.h), and the threads go on with that. Any thread.
class PageLink {
 public:
  struct Pair {
    Connection demand, bulk;
  };
  using Held = std::shared_ptr<Pair>;

  /// `patience`: for how long a broken link is waited for; none: it stays broken, as between two
  /// threads of this process. `silence`: for how long nothing need come on `bulk`.
  PageLink(Connection demand, Connection bulk, Duration patience, Duration silence);

  Held current() const;
  /// `broken` has failed and has not been replaced yet.
  bool is_broken() const;
  /// Waits for what comes after `broken`; `why` is the Error that it has shown on `bulk`. Null:
  /// nothing comes any more, because the source has hung up (EPIPE), or has not come back in time,
  /// or this was stopped.
  Held after_bulk(const Held& broken, const Error& why);
  /// The same for who only waits for answers; if `bulk` does not break by itself, it is ended.
  Held after_demand(const Held& broken);
  /// The source has come back. Ends what was before.
  void renew(Connection demand, Connection bulk);
  /// Ends all waiting, now and later.
  void stop();

 private:
  Held wait_for_next(std::unique_lock<std::mutex>& guard, const Held& broken);

  const Duration patience_, silence_;
  mutable std::mutex lock_;
  std::condition_variable changed_;
  Held pair_;
  bool broken_ = false, over_ = false;
  bool ended_here_ = false;  // bulk, because demand had failed
};

/// What has arrived, by process. One thread adds, others may look: the caller locks.
class ReceivedPages {
 public:
  void add(uint32_t process, Range range);
  std::vector<uint32_t> processes() const;
  Ranges of(uint32_t process) const;

 private:
  std::map<uint32_t, std::map<uint64_t, uint64_t>> ranges_;  // start to end
};

}  // namespace hob::migrate
