#include "migrate/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/check.h"

namespace hob::migrate {

Arena::Arena(size_t ready) {
  void* at = ::mmap(nullptr, ready, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  CHECK(at != MAP_FAILED);
  all_ = {static_cast<std::byte*>(at), ready};
}

Arena::~Arena() {
  ::munmap(all_.data(), all_.size());
}

std::span<std::byte> Arena::take(size_t size) {
  if (size > all_.size() - used_) return beyond_.emplace_back(size);
  const size_t start = used_;
  used_ += (size + 63) & ~size_t{63};
  used_ = std::min(used_, all_.size());
  return all_.subspan(start, size);
}

}  // namespace hob::migrate
