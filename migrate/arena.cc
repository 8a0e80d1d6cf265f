#include "migrate/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/check.h"
#include "migrate/types.h"

namespace hob::migrate {

void touch(std::span<std::byte> memory, size_t start, size_t size) {
  const size_t end = start + std::min(size, memory.size() - std::min(start, memory.size()));
  start &= ~(kPage - 1);
  if (start < end) ::madvise(memory.data() + start, end - start, MADV_POPULATE_WRITE);
}

Arena::Arena(size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  all_ = {static_cast<std::byte*>(at), size};
}

Arena::~Arena() {
  ::munmap(all_.data(), all_.size());
}

void Arena::prepare(size_t size) {
  touch(all_, used_, size);
}

std::span<std::byte> Arena::take(size_t size) {
  if (size > all_.size() - used_) return beyond_.emplace_back(size);
  const size_t start = used_;
  used_ += (size + 63) & ~size_t{63};
  used_ = std::min(used_, all_.size());
  return all_.subspan(start, size);
}

}  // namespace hob::migrate
