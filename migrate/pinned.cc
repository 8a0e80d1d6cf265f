#include "migrate/pinned.h"

namespace hob::migrate {

Pinned::Pinned(int processor)
    : processor_(processor), known_(::sched_getaffinity(0, sizeof before_, &before_) == 0) {
  if (!known_ || bring(Tid{0})) return;
  processor_ = ::sched_getcpu();
  bring(Tid{0});
}

Pinned::~Pinned() {
  if (known_) free(Tid{0});
}

bool Pinned::bring(Tid thread) const {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(processor_), &one);
  return ::sched_setaffinity(thread.value, sizeof one, &one) == 0;
}

void Pinned::free(Tid thread) const {
  if (known_) ::sched_setaffinity(thread.value, sizeof before_, &before_);
}

void keep_off(int processor) {
  cpu_set_t others;
  if (::sched_getaffinity(0, sizeof others, &others) < 0) return;
  CPU_CLR(static_cast<size_t>(processor), &others);
  ::sched_setaffinity(0, sizeof others, &others);  // refused where there is no other one
}

KeptOff::KeptOff(int processor) : known_(::sched_getaffinity(0, sizeof before_, &before_) == 0) {
  keep_off(processor);
}

KeptOff::~KeptOff() {
  if (known_) ::sched_setaffinity(0, sizeof before_, &before_);
}

}  // namespace hob::migrate
