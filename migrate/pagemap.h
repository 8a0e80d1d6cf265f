#pragma once

#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/types.h"

namespace hob::migrate {

/// Which pages of a process hold something of its own: anonymous pages and changed copies of
/// private file pages, in memory or in swap; not the shared zero page, not pages of the page cache.
///
/// PAGEMAP_SCAN where the kernel has it (6.7), /proc/PID/pagemap before; the latter cannot tell the
/// zero page, so that such pages count as populated.
class PageMap {
 public:
  static Result<PageMap> open(Tid process);
  /// Appends the populated ranges inside `range`, ascending.
  Result<void> scan(Range range, std::vector<Range>& out) const;

 private:
  PageMap(Fd fd, bool scans) : fd_(std::move(fd)), scans_(scans) {}
  Result<void> read_entries(Range range, std::vector<Range>& out) const;
  Fd fd_;
  bool scans_;
};

}  // namespace hob::migrate
