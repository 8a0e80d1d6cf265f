#include "bench/warm_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace hob::bench {

WarmMemory::WarmMemory(size_t size) {
  constexpr size_t kPage = 4096, kHoldOneIn = 1u << 20;
  const size_t free = static_cast<size_t>(::sysconf(_SC_AVPHYS_PAGES)) * kPage;
  size_ = std::min(size, free / 10 * 8) / kHoldOneIn * kHoldOneIn;
  // Small pages: a huge one would be freed in one piece. And not for the programs that are started.
  at_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
               -1, 0);
  CHECK(at_ != MAP_FAILED);
  CHECK(::madvise(at_, size_, MADV_NOHUGEPAGE) == 0 && ::madvise(at_, size_, MADV_DONTFORK) == 0);
  auto* bytes = static_cast<volatile char*>(at_);
  for (size_t i = 0; i < size_; i += kPage) bytes[i] = 1;
  for (size_t i = 0; i < size_; i += kHoldOneIn)
    CHECK(::madvise(static_cast<char*>(at_) + i + kPage, kHoldOneIn - kPage, MADV_DONTNEED) == 0);
}

WarmMemory::~WarmMemory() {
  ::munmap(at_, size_);
}

}  // namespace hob::bench
