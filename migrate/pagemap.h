#pragma once

#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/kernel.h"
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

  // Of memory registered for asynchronous write protection (userfaultfd(2), UFFD_WP_ASYNC), and of
  // that only. All append ascending ranges.

  /// Does this kernel have it (6.7)?
  static bool can_watch();
  /// Pages written since they were protected; they are protected again at the same moment.
  Result<void> take_written(Range range, std::vector<Range>& out) const;
  /// Pages not written since they were protected.
  Result<void> scan_unwritten(Range range, std::vector<Range>& out) const;

 private:
  PageMap(Fd fd, bool scans) : fd_(std::move(fd)), scans_(scans) {}
  /// Categories that a page must have, must not have, and of which it must have one.
  struct Question {
    uint64_t all = 0, none = 0, any = 0, flags = 0;
  };
  static long ask(int fd, Range range, const Question& question,
                  std::span<kernel::PageRegion> regions, uint64_t& walked);
  Result<void> ask_all(Range range, const Question& question, std::vector<Range>& out) const;
  static const Question kPopulated;
  Result<void> read_entries(Range range, std::vector<Range>& out) const;
  Fd fd_;
  bool scans_;
};

}  // namespace hob::migrate
