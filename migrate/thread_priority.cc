#include "migrate/thread_priority.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "migrate/kernel.h"

namespace hob::migrate {
namespace {

constexpr int kBulkNice = 5;
constexpr uint64_t kBulkSlice = 20'000'000, kLongestSlice = 100'000'000;  // ns
constexpr Duration kTurn = milliseconds(1), kShortTurn = std::chrono::microseconds(250);
constexpr Duration kBetweenLooks = milliseconds(20);
// Where all processors are busy, who sleeps for a moment has his next turn only when all others
// have had theirs: tens of milliseconds. The scheduler sees to the others there; so pauses are to
// be a third of the time at most.
constexpr int kWorkPerPause = 2;
// Shorter, and the timer has fired before the processor has been given away.
constexpr long kPause = 20'000;           // ns
constexpr unsigned long kUsualSlack = 0;  // what the process has

// Slice 0: the kernel's own. Kernels before 6.12 take no notice of it.
void be_ordinary(int nice, uint64_t slice, pid_t thread = 0) {
  kernel::SchedulingAttributes attributes = {};
  attributes.size = sizeof attributes;
  attributes.policy = SCHED_OTHER;
  attributes.nice = nice;
  attributes.runtime = slice;
  ::syscall(SYS_sched_setattr, thread, &attributes, 0u);
}

uint64_t slice() {
  kernel::SchedulingAttributes attributes = {};
  return ::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0u) == 0
             ? attributes.runtime
             : 0;
}

// 1024 and 110 (sched(7)).
constexpr std::string_view kUsual = "0", kLight = "10";
/// What the kernel prints of the least weight there is, 15.
constexpr std::string_view kLeast = "nice 19";

/// The session of a process.
void weigh(const std::string& process, std::string_view nice) {
  const Fd group(::open(("/proc/" + process + "/autogroup").c_str(), O_WRONLY | O_CLOEXEC));
  if (group && ::write(group.get(), nice.data(), nice.size()) < 0)
    log::debug("set the autogroup's nice value to {}: {}", nice, ::strerror(errno));
}

/// The weight of the session of this process, which is the starter's own (hostd starts it so).
/// There is none on kernels without autogroups, and without CAP_SYS_ADMIN the kernel takes one
/// change in 100 ms: what fails costs others a little time.
class SessionWeight {
 public:
  void enter() { change(1, 0); }
  void leave(bool crowded) { change(-1, crowded ? -1 : 0); }
  void find(bool crowded) { change(0, crowded ? 1 : -1); }

 private:
  void change(int light, int crowded) {
    const std::lock_guard guard(lock_);
    light_ += light;
    crowded_ += crowded;
    const std::string_view nice = light_ > 0 && crowded_ == 0 ? kLight : kUsual;
    if (nice == nice_) return;
    nice_ = nice;
    weigh("self", nice);
  }

  std::mutex lock_;
  int light_ = 0, crowded_ = 0;  // who wants it so, who finds that it must not be
  std::string_view nice_ = kUsual;
};

SessionWeight& session() {
  static SessionWeight weight;
  return weight;
}

}  // namespace

LightSession::LightSession() {
  session().enter();
  be_ordinary(0, kLongestSlice);
}
LightSession::~LightSession() {
  be_ordinary(0, 0);
  session().leave(false);
}

void LightSession::for_good() {
  session().enter();
  be_ordinary(0, kLongestSlice);
}

bool Crowding::after(Duration ran, Duration waited) {
  if (waited > 4 * ran)
    crowded_ = true;
  else if (waited < ran)
    crowded_ = false;
  return crowded_;
}

void go_first() {
  const sched_param first = {kEngineFirst};
  ::sched_setscheduler(0, SCHED_FIFO, &first);
}

void go_first(std::thread& thread) {
  const sched_param first = {kEngineFirst};
  ::pthread_setschedparam(thread.native_handle(), SCHED_FIFO, &first);
}

void yield_to_all(pid_t thread) {
  be_ordinary(kBulkNice, kBulkSlice, thread);
  weigh(std::to_string(thread), kLight);
}

void weigh_as_usual(pid_t process) {
  const std::string id = std::to_string(process);
  const auto now = read_file("/proc/" + id + "/autogroup");
  if (now && now->find(kLeast) != std::string::npos) weigh(id, kUsual);
}

BulkPriority::BulkPriority(bool light)
    : load_(::open("/proc/loadavg", O_RDONLY | O_CLOEXEC)),
      processors_(std::thread::hardware_concurrency()),
      light_(light),
      crowded_(!light),
      slice_before_(slice()) {
  if (light) session().enter();
  be_ordinary(kBulkNice, kBulkSlice);
  ::prctl(PR_SET_TIMERSLACK, 1ul);  // pauses shall be as short as they can be
  slept_ = looked_ = Clock::now();
  before_ = spent();
}
BulkPriority::~BulkPriority() {
  be_ordinary(0, slice_before_);
  ::prctl(PR_SET_TIMERSLACK, kUsualSlack);
  if (light_) session().leave(crowded_);
}

// "running waiting times", ns: Documentation/scheduler/sched-stats.rst. Zeros without it.
BulkPriority::Spent BulkPriority::spent() {
  char text[96] = {};
  const Fd file(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  long long ran = 0, waited = 0;
  if (!file || ::read(file.get(), text, sizeof text - 1) <= 0 ||
      std::sscanf(text, "%lld %lld", &ran, &waited) != 2)
    return {};
  return {Duration(ran), Duration(waited)};
}

// proc(5), loadavg: "... running/all ...", threads of the whole machine.
unsigned BulkPriority::running() const {
  char text[96] = {};
  unsigned n = 0;
  if (!load_ || ::pread(load_.get(), text, sizeof text - 1, 0) <= 0 ||
      std::sscanf(text, "%*s %*s %*s %u/", &n) != 1)
    return 1;
  return n;
}

void BulkPriority::look_around(Time now) {
  if (!light_ || now - looked_ < kBetweenLooks) return;
  looked_ = now;
  const Spent all = spent();
  const bool crowded = crowding_.after(all.ran - before_.ran, all.waited - before_.waited);
  before_ = all;
  if (crowded == crowded_) return;
  crowded_ = crowded;
  session().find(crowded);
}

Duration BulkPriority::turn() const {
  if (crowded_) return kTurn;
  const unsigned now = running();
  return now > processors_ ? Duration(0) : now > 1 ? kShortTurn : kTurn;
}

void BulkPriority::pause() {
  const Time now = Clock::now();
  look_around(now);
  const Duration worked = now - slept_;
  // A nap may have been long once by chance.
  const Duration due =
      crowded_ ? kWorkPerPause * nap_ : std::min<Duration>(kWorkPerPause * nap_, kTurn);
  if (worked < due || (worked < kTurn && worked < turn())) return;
  rusage usage = {};
  ::getrusage(RUSAGE_THREAD, &usage);
  if (worked < kTurn || usage.ru_nvcsw == sleeps_) {
    // To sleep, however short: sched_yield(2) asks none but the thread's own group.
    const timespec moment = {0, kPause};
    ::nanosleep(&moment, nullptr);
    usage.ru_nvcsw++;
    nap_ = Clock::now() - now;
  }
  sleeps_ = usage.ru_nvcsw;
  slept_ = Clock::now();
}

}  // namespace hob::migrate
