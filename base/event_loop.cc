#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace hob {

struct EventLoop::Watch {
  int fd = -1;
  std::function<void(uint32_t)> callback;
  Fd owned;  // signalfd, pidfd: closed with the watch
};

struct EventLoop::Timer {
  std::function<void()> callback;
  Duration period{0};
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
      std::erase_if(loop_.timers_, [this](const auto& entry) { return entry.second == timer_; });
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
void EventLoop::Handle::reset() { registration_.reset(); }

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::sys("create", "the event loop's epoll descriptor");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll)));
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
  auto timer = std::make_shared<Timer>(Timer{std::move(callback)});
  timers_.emplace(when, timer);
  return Handle(std::make_unique<Registration>(*this, std::move(timer)));
}

EventLoop::Handle EventLoop::every(Duration period, std::function<void()> callback) {
  CHECK(period > Duration::zero());
  auto timer = std::make_shared<Timer>(Timer{std::move(callback), period});
  timers_.emplace(Clock::now() + period, timer);
  return Handle(std::make_unique<Registration>(*this, std::move(timer)));
}

Result<EventLoop::Handle> EventLoop::on_signals(std::vector<int> signals,
                                                std::function<void(int)> callback) {
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
      callback(static_cast<int>(info.ssi_signo));
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
        if (::waitpid(pid, &status, WNOHANG) != pid) return;
        auto it = watches_.find(id);
        CHECK(it != watches_.end());
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
        callback(status);
      }));
  watches_.at(id)->owned = std::move(fd);
  return handle;
}

void EventLoop::defer(std::function<void()> call) { deferred_.push_back(std::move(call)); }

int EventLoop::wait_milliseconds(Duration limit) const {
  if (!deferred_.empty()) return 0;
  if (!timers_.empty())
    limit = std::min<Duration>(limit, timers_.begin()->first - Clock::now());
  if (limit <= Duration::zero()) return 0;
  // Rounded up: waking early would spin until the timer is due.
  constexpr auto kLongest = std::chrono::duration_cast<Duration>(hours(1));
  return static_cast<int>(
      std::chrono::ceil<milliseconds>(std::min<Duration>(limit, kLongest)).count());
}

void EventLoop::run_timers() {
  const Time now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto due = timers_.begin();
    std::shared_ptr<Timer> timer = due->second;
    const Time when = due->first;
    timers_.erase(due);
    if (timer->period > Duration::zero()) {
      const auto missed = (now - when) / timer->period;
      timers_.emplace(when + timer->period * (missed + 1), timer);
    }
    if (timer->live) timer->callback();
  }
}

void EventLoop::run_deferred() {
  std::vector<std::function<void()>> calls;
  calls.swap(deferred_);
  for (auto& call : calls) call();
}

void EventLoop::run_once(Duration limit) {
  epoll_event events[64];
  const int n = ::epoll_wait(epoll_.get(), events, 64, wait_milliseconds(limit));
  CHECK(n >= 0 || errno == EINTR);
  for (int i = 0; i < n; ++i) {
    auto it = watches_.find(events[i].data.u64);
    if (it == watches_.end()) continue;  // dropped by an earlier callback of this round
    std::shared_ptr<Watch> watch = it->second;
    watch->callback(events[i].events);
  }
  run_timers();
  run_deferred();
}

void EventLoop::run() {
  stopping_ = false;
  while (!stopping_) run_once(hours(1));
}

}  // namespace hob
