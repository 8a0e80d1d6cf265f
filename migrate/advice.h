#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "migrate/types.h"

/// What programs have asked of their memory with madvise(2) and mlock(2).
///
/// Only /proc/PID/smaps tells (VmFlags, proc_pid_smaps(5)), and to print it the kernel walks every
/// page: 17 ms per GiB. So it is read beforehand, while the program runs. What it asks for in
/// between is lost, which is what advice may be; the flags that change what a program sees
/// (DONTFORK, WIPEONFORK) are set where memory is made, early.
namespace hob::migrate {

/// A set of these is in MappingImage::advice.
enum class Advice : uint8_t {
  dont_fork = 1,
  wipe_on_fork = 2,
  dont_dump = 4,
  huge_pages = 8,
  no_huge_pages = 16,
  mergeable = 32,
  locked = 64,
  grows_down = 128,  ///< MAP_GROWSDOWN, of mmap(2)
};

struct AdvisedRange {
  Range range;
  uint8_t advice;  ///< never 0
};
/// Ascending. Pure.
std::vector<AdvisedRange> parse_smaps(std::string_view text);

/// For the processes of a tree, by the host's numbers.
class Advices {
 public:
  /// Does not fail for a process that is gone.
  void read(Tid process);
  bool knows(Tid process) const { return known_.count(process) > 0; }
  void clear() { known_.clear(); }
  /// What was asked for all of `range`.
  uint8_t of(Tid process, Range range) const;

 private:
  std::map<Tid, std::vector<AdvisedRange>> known_;
};

/// The madvise(2) argument of one flag; `locked` and `grows_down` have none.
int madvise_of(Advice advice);

}  // namespace hob::migrate
