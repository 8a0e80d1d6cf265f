#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "migrate/change_tracker.h"
#include "migrate/page_source.h"
#include "migrate/strategy.h"

namespace hob::migrate {

/// Copies the memory of a guest while it runs, in rounds, and what has changed since when it is
/// stopped (DESIGN.md section 5, strategy pre-copy).
///
/// Errors of rounds() leave the guest running. Nothing here decides anything about which copy
/// lives.
class PreCopy {
 public:
  /// Both must outlive it.
  static Result<PreCopy> begin(Guest& guest, const Platform& platform, Connection& bulk,
                               ChangeTracker::Means means);

  /// While the guest runs: as many rounds as are worth it (strategy.h), or until `hurry` says so.
  /// It is asked after each record that was sent.
  Result<void> rounds(const std::function<bool()>& hurry);
  /// With everything stopped: the maps, what the rounds have not sent as it is now, and the end.
  Result<void> finish(const LivePages& pages, const std::vector<CaptiveProcess>& processes);

  uint64_t pages() const { return pages_; }
  const std::vector<Round>& done() const { return done_; }

 private:
  /// Memory of running processes: what cannot be read any more reads as zeros, and is no longer
  /// populated when the guest is stopped.
  class Running;
  PreCopy(Guest& guest, Connection& bulk, std::unique_ptr<ChangeTracker> tracker);
  void leave(uint32_t process, const Ranges& changed);
  Result<bool> round(const std::function<bool()>& hurry);

  Guest& guest_;
  Connection& bulk_;
  std::unique_ptr<ChangeTracker> tracker_;
  // By process: what the target has something of, and what of that is outdated for sure.
  std::map<uint32_t, Ranges> sent_, outdated_;
  std::vector<Round> done_;
  uint64_t pages_ = 0;
};

}  // namespace hob::migrate
