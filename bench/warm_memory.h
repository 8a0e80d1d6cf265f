#pragma once

#include <cstddef>

namespace hob::bench {

/// Memory that the machine really has, for what is measured while this lives.
///
/// On a virtual machine, pages that the hypervisor has never backed come at a tenth of the speed of
/// others, and pages that were freed do again a few seconds later: the kernel tells the hypervisor
/// of free blocks of 2 MiB, which takes them back (free page reporting; meanwhile whole processors
/// stand still, for up to 40 ms). So all of it is touched once and freed but for one page of each
/// MiB: no block of 2 MiB is ever free, nothing is reported, and what is allocated is warm.
class WarmMemory {
 public:
  /// As much as there is of `size` bytes, a fifth of what is free left out.
  explicit WarmMemory(size_t size);
  ~WarmMemory();
  WarmMemory(const WarmMemory&) = delete;
  WarmMemory& operator=(const WarmMemory&) = delete;

 private:
  void* at_;
  size_t size_;
};

}  // namespace hob::bench
