#include "migrate/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/check.h"
#include "migrate/types.h"

namespace hob::migrate {

Arena::Arena(size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  all_ = {static_cast<std::byte*>(at), size};
}

Arena::~Arena() {
  ::munmap(all_.data(), all_.size());
}

void Arena::prepare(size_t size) {
  const size_t start = used_ & ~(kPage - 1);
  // Where that fails, later will do.
  ::madvise(all_.data() + start, std::min(used_ - start + size, all_.size() - start),
            MADV_POPULATE_WRITE);
}

std::span<std::byte> Arena::take(size_t size) {
  if (size > all_.size() - used_) return beyond_.emplace_back(size);
  const size_t start = used_;
  used_ += (size + 63) & ~size_t{63};
  used_ = std::min(used_, all_.size());
  return all_.subspan(start, size);
}

}  // namespace hob::migrate
