#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <csignal>

#include "migrate/parts.h"

/// Interval timers and POSIX timers, with the time they have left.
namespace hob::migrate {
namespace {

// timer_create(2) with an id of our choice: asked of the kernel, or, before 6.15, by counting,
// since a new process's ids start at 0 and go up by one.
bool kernel_takes_ids() {
  if (::prctl(kernel::kPrTimerCreateRestoreIds, 1, 0, 0, 0) != 0) return false;
  ::prctl(kernel::kPrTimerCreateRestoreIds, 0, 0, 0, 0);
  return true;
}

Result<uint8_t> notification(const proc::Timer& timer) {
  if (timer.notify == "none") return static_cast<uint8_t>(SIGEV_NONE);
  if (timer.notify == "signal")
    return static_cast<uint8_t>(timer.by_tid ? SIGEV_THREAD_ID : SIGEV_SIGNAL);
  return Error{"timer " + std::to_string(timer.id) + ": unknown notification " + timer.notify,
               EPROTO};
}

Result<pid_t> number_inside(Tid process, pid_t thread) {
  const auto status = TRY(
      proc::parse_status(TRY(proc::read(process, "task/" + std::to_string(thread) + "/status"))));
  return status.inside.empty() ? thread : status.inside.back();
}

Result<void> capture_posix_timers(ProcessCapture& c) {
  auto timers = TRY(proc::parse_timers(TRY(proc::read(c.process.pid, "timers"))));
  c.out.timers.reserve(timers.size());  // the callbacks below keep references
  for (const proc::Timer& timer : timers) {
    TimerImage& out = c.out.timers.emplace_back();
    out.id = timer.id;
    out.clock = timer.clock;
    out.signal = timer.signal;
    out.value = timer.value;
    out.notify = TRY(notification(timer));
    if (out.notify == SIGEV_THREAD_ID) {
      // The timer of a thread that has ended rings for nobody.
      if (auto inside = number_inside(c.process.pid, timer.target)) out.thread = *inside;
    }
    const RemoteAddress left = c.workspace.reserve(sizeof(itimerspec));
    Workspace& ws = c.workspace;
    c.leader.then(SYS_timer_gettime, {static_cast<uint64_t>(timer.id), left.value},
                  [&ws, &out, left](int64_t result) -> Result<void> {
                    if (result < 0)
                      return Error::sys("read timer", std::to_string(out.id),
                                        static_cast<int>(-result));
                    auto spec = ws.get<itimerspec>(left);
                    out.interval_s = spec.it_interval.tv_sec;
                    out.interval_ns = spec.it_interval.tv_nsec;
                    out.left_s = spec.it_value.tv_sec;
                    out.left_ns = spec.it_value.tv_nsec;
                    return {};
                  });
  }
  return {};
}

Result<void> capture(ProcessCapture& c) {
  for (size_t which = 0; which < 3; which++) {
    const RemoteAddress value = c.workspace.reserve(sizeof(itimerval));
    c.leader.then(SYS_getitimer, {which, value.value}, [&c, which, value](int64_t) -> Result<void> {
      auto timer = c.workspace.get<itimerval>(value);
      c.out.interval_timers[which] = {timer.it_interval.tv_sec, timer.it_interval.tv_usec,
                                      timer.it_value.tv_sec, timer.it_value.tv_usec};
      return {};
    });
  }
  return capture_posix_timers(c);
}

void create_with_id(Rebuild& r, Batch& batch, const TimerImage& timer, int& next_id,
                    bool takes_ids) {
  sigevent event = {};
  event.sigev_notify = timer.notify;
  event.sigev_signo = timer.signal;
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(timer.value);
  event._sigev_un._tid = timer.thread;
  const uint64_t description = r.workspace.put(event).value;
  const uint64_t clock = static_cast<uint64_t>(static_cast<int64_t>(timer.clock));
  if (!takes_ids) {
    for (; next_id < timer.id; next_id++) {
      batch.must("count timer ids up", SYS_timer_create,
                 {CLOCK_MONOTONIC, 0, r.workspace.reserve(8).value});
      batch.must("count timer ids up", SYS_timer_delete, {static_cast<uint64_t>(next_id)});
    }
    next_id++;
  }
  batch.must("create a timer", SYS_timer_create,
             {clock, description, r.workspace.put(static_cast<int64_t>(timer.id)).value});
  itimerspec spec = {{timer.interval_s, timer.interval_ns}, {timer.left_s, timer.left_ns}};
  if (timer.left_s || timer.left_ns)
    batch.must("arm a timer", SYS_timer_settime,
               {static_cast<uint64_t>(timer.id), 0, r.workspace.put(spec).value, 0});
}

Result<void> rebuild(Rebuild& r) {
  Batch& batch = r.threads[0];
  if (!r.process.timers.empty()) {
    const bool takes_ids = kernel_takes_ids();
    // Where ids are counted up, a hostile image must not make us count to two thousand million.
    constexpr int kMaxCounted = 4096;
    int next_id = 0;
    if (takes_ids) batch.must("choose timer ids", SYS_prctl, {kernel::kPrTimerCreateRestoreIds, 1});
    for (const TimerImage& timer : r.process.timers) {
      if (!takes_ids && (timer.id > kMaxCounted || timer.id < next_id))
        return Error{"create timer " + std::to_string(timer.id) +
                         ": this kernel cannot choose timer ids; it needs Linux 6.15",
                     EOPNOTSUPP};
      create_with_id(r, batch, timer, next_id, takes_ids);
    }
    if (takes_ids) batch.must("choose timer ids", SYS_prctl, {kernel::kPrTimerCreateRestoreIds, 0});
  }
  for (size_t which = 0; which < 3; which++) {
    IntervalTimer timer = r.process.interval_timers[which];
    // A periodic one that has expired shows no time left until its signal is taken, and goes on
    // then.
    if (!timer.left_s && !timer.left_us && (timer.interval_s || timer.interval_us))
      timer.left_us = 1;
    if (!timer.left_s && !timer.left_us) continue;
    itimerval value = {{timer.interval_s, timer.interval_us}, {timer.left_s, timer.left_us}};
    batch.must("set an interval timer", SYS_setitimer, {which, r.workspace.put(value).value, 0});
  }
  return {};
}

}  // namespace

const Part kTimers = {"timers", nullptr, capture, nullptr, rebuild};

}  // namespace hob::migrate
