#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace hob {
namespace {

/// What epoll says for the timerfd; watches count from 1.
constexpr uint64_t kTimerId = 0;

/// How long epoll_wait(2) may take for `limit`: rounded up, so that the limit is not cut short.
int wait_milliseconds(Duration limit) {
  if (limit <= Duration::zero()) return 0;
  const auto rounded = std::chrono::ceil<milliseconds>(std::min<Duration>(limit, hours(1)));
  return static_cast<int>(rounded.count());
}

}  // namespace

struct EventLoop::Watch {
  int fd = -1;
  std::function<void(uint32_t)> callback;
  Fd owned;  // signalfd, pidfd: closed with the watch
};

struct EventLoop::Timer {
  std::function<void()> callback;
  Duration period{0};
  TimerKey key{};
  bool live = true;
};

/// What a Handle holds: enough to take one callback out of the loop.
class EventLoop::Registration {
 public:
  Registration(EventLoop& loop, uint64_t watch_id) : loop_(loop), watch_id_(watch_id) {}
  Registration(EventLoop& loop, std::shared_ptr<Timer> timer)
      : loop_(loop), timer_(std::move(timer)) {}
  ~Registration() {
    if (timer_) {
      timer_->live = false;
      loop_.timers_.erase(timer_->key);  // not there if it has run
      return;
    }
    auto it = loop_.watches_.find(watch_id_);
    if (it == loop_.watches_.end()) return;
    ::epoll_ctl(loop_.epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
    loop_.watches_.erase(it);
  }
  uint64_t watch_id() const { return watch_id_; }

 private:
  EventLoop& loop_;
  uint64_t watch_id_ = 0;
  std::shared_ptr<Timer> timer_;
};

EventLoop::Handle::Handle() = default;
EventLoop::Handle::Handle(std::unique_ptr<Registration> r) : registration_(std::move(r)) {}
EventLoop::Handle::Handle(Handle&&) noexcept = default;
EventLoop::Handle& EventLoop::Handle::operator=(Handle&&) noexcept = default;
EventLoop::Handle::~Handle() = default;
void EventLoop::Handle::reset() {
  registration_.reset();
}

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::sys("create", "the event loop's epoll descriptor");
  Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return Error::sys("create", "the event loop's timerfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kTimerId;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, timer.get(), &event) < 0)
    return Error::sys("watch", "the event loop's timerfd");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(timer)));
}

EventLoop::~EventLoop() = default;

Result<EventLoop::Handle> EventLoop::watch(int fd, uint32_t events,
                                           std::function<void(uint32_t)> callback) {
  const uint64_t id = next_id_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0)
    return Error::sys("watch", "descriptor " + std::to_string(fd));
  watches_.emplace(id, std::make_shared<Watch>(Watch{fd, std::move(callback), Fd()}));
  return Handle(std::make_unique<Registration>(*this, id));
}

Result<void> EventLoop::change(const Handle& handle, uint32_t events) {
  CHECK(handle.registration_ != nullptr);
  auto it = watches_.find(handle.registration_->watch_id());
  CHECK(it != watches_.end());
  epoll_event event{};
  event.events = events;
  event.data.u64 = it->first;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, it->second->fd, &event) < 0)
    return Error::sys("change the watch of", "descriptor " + std::to_string(it->second->fd));
  return {};
}

EventLoop::Handle EventLoop::at(Time when, std::function<void()> callback) {
  return add_timer(when, std::make_shared<Timer>(Timer{std::move(callback)}));
}

EventLoop::Handle EventLoop::every(Duration period, std::function<void()> callback) {
  CHECK(period > Duration::zero());
  return add_timer(Clock::now() + period,
                   std::make_shared<Timer>(Timer{std::move(callback), period}));
}

EventLoop::Handle EventLoop::add_timer(Time when, std::shared_ptr<Timer> timer) {
  timer->key = {when, next_id_++};
  timers_.emplace(timer->key, timer);
  return Handle(std::make_unique<Registration>(*this, std::move(timer)));
}

Result<EventLoop::Handle> EventLoop::on_signals(std::vector<int> signals,
                                                std::function<void(int)> callback) {
  return on_signals_from(std::move(signals),
                         [callback = std::move(callback)](int signal, bool) { callback(signal); });
}

Result<EventLoop::Handle> EventLoop::on_signals_from(std::vector<int> signals, OnSignal callback) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  if (int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0)
    return Error::sys("block", "signals", code);
  Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return Error::sys("create", "a signalfd");
  const int raw = fd.get();
  Handle handle = TRY(watch(raw, EPOLLIN, [raw, callback = std::move(callback)](uint32_t) {
    signalfd_siginfo info;
    if (::read(raw, &info, sizeof info) == sizeof info)
      callback(static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL);
  }));
  watches_.at(handle.registration_->watch_id())->owned = std::move(fd);
  return handle;
}

Result<EventLoop::Handle> EventLoop::on_child_exit(pid_t pid, std::function<void(int)> callback) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return Error::sys("watch", "process " + std::to_string(pid));
  const int raw = fd.get();
  const uint64_t id = next_id_;
  Handle handle =
      TRY(watch(raw, EPOLLIN, [this, pid, id, callback = std::move(callback)](uint32_t) {
        int status = 0;
        const pid_t ended = ::waitpid(pid, &status, WNOHANG);
        CHECK(ended >= 0);       // somebody else has waited for it
        if (ended == 0) return;  // a tracer of it has to let go first
        auto it = watches_.find(id);
        CHECK(it != watches_.end());
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
        callback(status);
      }));
  watches_.at(id)->owned = std::move(fd);
  return handle;
}

void EventLoop::defer(std::function<void()> call) {
  deferred_.push_back(std::move(call));
}

void EventLoop::arm_timer() {
  const Time first = timers_.empty() ? Time::max() : timers_.begin()->first.first;
  if (first == armed_) return;
  armed_ = first;
  itimerspec spec{};  // all zero: disarmed
  if (!timers_.empty()) {
    // Clock is CLOCK_MONOTONIC and counts from the same zero; what lies before it is due as well.
    const Duration when = std::max<Duration>(first.time_since_epoch(), nanoseconds(1));
    spec.it_value.tv_sec = std::chrono::duration_cast<seconds>(when).count();
    spec.it_value.tv_nsec = (when % seconds(1)).count();
  }
  // Setting also takes back an expiry that was reported, so the timerfd is never read.
  CHECK(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
}

void EventLoop::run_timers() {
  const Time now = Clock::now();
  if (timers_.empty() || timers_.begin()->first.first > now) return;
  std::vector<std::shared_ptr<Timer>> due;
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    std::shared_ptr<Timer> timer = std::move(timers_.extract(timers_.begin()).mapped());
    if (timer->period > Duration::zero()) {
      const Time when = timer->key.first;
      timer->key.first = when + timer->period * ((now - when) / timer->period + 1);
      timers_.emplace(timer->key, timer);
    }
    due.push_back(std::move(timer));
  }
  for (const std::shared_ptr<Timer>& timer : due)
    if (timer->live) timer->callback();  // else dropped by an earlier callback of this round
}

void EventLoop::run_deferred() {
  std::vector<std::function<void()>> calls;
  calls.swap(deferred_);
  for (auto& call : calls) call();
}

void EventLoop::run_once(Duration limit) {
  epoll_event events[64];
  arm_timer();
  const int wait = deferred_.empty() ? wait_milliseconds(limit) : 0;
  const int n = ::epoll_wait(epoll_.get(), events, 64, wait);
  CHECK(n >= 0 || errno == EINTR);
  for (int i = 0; i < n; ++i) {
    auto it = watches_.find(events[i].data.u64);
    if (it == watches_.end()) continue;  // the timerfd, or dropped in this round
    std::shared_ptr<Watch> watch = it->second;
    watch->callback(events[i].events);
  }
  run_timers();
  run_deferred();
}

void EventLoop::run() {
  while (!stopping_) run_once(hours(1));
  stopping_ = false;
}

}  // namespace hob
