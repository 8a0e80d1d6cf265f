#include "migrate/thread_priority.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "migrate/kernel.h"

namespace hob::migrate {
namespace {

constexpr int kBulkNice = 5;
constexpr uint64_t kBulkSlice = 20'000'000;  // ns
constexpr Duration kBetweenPauses = milliseconds(1);
// Where all processors are busy, who sleeps for a moment has his next turn only when all others
// have had theirs: tens of milliseconds. The scheduler sees to the others there; so pauses are to
// be a third of the time at most.
constexpr int kWorkPerPause = 2;
// Shorter, and the timer has fired before the processor has been given away.
constexpr long kPause = 20'000;           // ns
constexpr unsigned long kUsualSlack = 0;  // what the process has

// Slice 0: the kernel's own. Kernels before 6.12 take no notice of it.
void be_ordinary(int nice, uint64_t slice) {
  kernel::SchedulingAttributes attributes = {};
  attributes.size = sizeof attributes;
  attributes.policy = SCHED_OTHER;
  attributes.nice = nice;
  attributes.runtime = slice;
  ::syscall(SYS_sched_setattr, 0, &attributes, 0u);
}

}  // namespace

void go_first() {
  const sched_param first = {1};
  ::sched_setscheduler(0, SCHED_FIFO, &first);
}

BulkPriority::BulkPriority() {
  be_ordinary(kBulkNice, kBulkSlice);
  ::prctl(PR_SET_TIMERSLACK, 1ul);  // pauses shall be as short as they can be
  slept_ = Clock::now();
  between_ = kBetweenPauses;
}
BulkPriority::~BulkPriority() {
  be_ordinary(0, 0);
  ::prctl(PR_SET_TIMERSLACK, kUsualSlack);
}

void BulkPriority::pause() {
  const Time now = Clock::now();
  if (now - slept_ < between_) return;
  rusage usage = {};
  ::getrusage(RUSAGE_THREAD, &usage);
  if (usage.ru_nvcsw == sleeps_) {
    // To sleep, however short: sched_yield(2) asks none but the thread's own group.
    const timespec moment = {0, kPause};
    ::nanosleep(&moment, nullptr);
    usage.ru_nvcsw++;
    between_ = std::max<Duration>(kBetweenPauses, kWorkPerPause * (Clock::now() - now));
  }
  sleeps_ = usage.ru_nvcsw;
  slept_ = Clock::now();
}

}  // namespace hob::migrate
