#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace hob {

/// One thread's event loop: descriptors, timers, signals, children and deferred calls.
///
/// epoll underneath; every source is a descriptor (timerfd, signalfd, pidfd). What is registered
/// lives as long as the object that registering returned: drop it and the callback never runs
/// again, also when it was already due in the current round. Callbacks may register and drop
/// anything, themselves included. Everything happens on the thread that calls run(); nothing here
/// is thread-safe.
class EventLoop {
 public:
  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  class Registration;
  /// A registered callback. Move-only; dropping it unregisters. Must not outlive its loop.
  class [[nodiscard]] Handle {
   public:
    Handle();
    explicit Handle(std::unique_ptr<Registration> registration);
    Handle(Handle&&) noexcept;
    Handle& operator=(Handle&&) noexcept;
    ~Handle();
    explicit operator bool() const { return registration_ != nullptr; }
    void reset();

   private:
    friend class EventLoop;
    std::unique_ptr<Registration> registration_;
  };

  /// Calls back with the ready epoll events (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR),
  /// level-triggered. The descriptor stays the caller's, and must live longer than the Handle.
  Result<Handle> watch(int fd, uint32_t events, std::function<void(uint32_t events)> callback);
  /// Changes the events a watch() waits for.
  Result<void> change(const Handle& handle, uint32_t events);

  /// Calls back once, not before `when`. Timers that are due together run in the order of their
  /// times, then of their making; one made while timers run has its turn in the next round.
  Handle at(Time when, std::function<void()> callback);
  Handle after(Duration delay, std::function<void()> callback) {
    return at(Clock::now() + delay, std::move(callback));
  }
  /// Calls back every `period`, the first time one period from now. Rounds that were missed are
  /// skipped, not made up for.
  Handle every(Duration period, std::function<void()> callback);

  /// Blocks the signals in this thread and calls back when one arrives. Call before threads start.
  /// They stay blocked when the Handle goes, and children inherit that: reset the mask before an
  /// exec.
  Result<Handle> on_signals(std::vector<int> signals, std::function<void(int signal)> callback);
  /// The same, with whether it is from the kernel, as a terminal's are (SI_KERNEL, sigaction(2)).
  using OnSignal = std::function<void(int signal, bool from_kernel)>;
  Result<Handle> on_signals_from(std::vector<int> signals, OnSignal callback);

  /// Calls back once when process `pid`, a child of ours, has ended, with the status of waitpid(2);
  /// the child is reaped. Nobody else may wait for it, and SIGCHLD must not be ignored.
  Result<Handle> on_child_exit(pid_t pid, std::function<void(int status)> callback);

  /// Runs `call` in this loop, after the callback that is running now. Cannot be taken back.
  void defer(std::function<void()> call);

  /// Until stop(), also one that was called before.
  void run();
  /// One round: waits at most `limit` for something to do, does it, and returns.
  void run_once(Duration limit);
  void stop() { stopping_ = true; }

 private:
  struct Watch;
  struct Timer;
  /// In the order they run. The number tells timers of the same time apart.
  using TimerKey = std::pair<Time, uint64_t>;
  EventLoop(Fd epoll, Fd timer) : epoll_(std::move(epoll)), timer_(std::move(timer)) {}
  Handle add_timer(Time when, std::shared_ptr<Timer> timer);
  void arm_timer();
  void run_timers();
  void run_deferred();

  Fd epoll_;
  Fd timer_;  // timerfd: readable from the time of the first of timers_ on
  Time armed_ = Time::max();
  bool stopping_ = false;
  uint64_t next_id_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Watch>> watches_;
  std::map<TimerKey, std::shared_ptr<Timer>> timers_;
  std::vector<std::function<void()>> deferred_;
};

}  // namespace hob
