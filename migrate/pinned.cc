#include "migrate/pinned.h"

namespace hob::migrate {

Pinned::Pinned()
    : processor_(::sched_getcpu()), known_(::sched_getaffinity(0, sizeof before_, &before_) == 0) {
  if (known_) bring(Tid{0});
}

Pinned::~Pinned() {
  if (known_) free(Tid{0});
}

void Pinned::bring(Tid thread) const {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(processor_), &one);
  ::sched_setaffinity(thread.value, sizeof one, &one);
}

void Pinned::free(Tid thread) const {
  if (known_) ::sched_setaffinity(thread.value, sizeof before_, &before_);
}

}  // namespace hob::migrate
