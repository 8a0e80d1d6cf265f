#include "base/event_loop.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

namespace hob {
namespace {

struct Rig {
  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  Pipe pipe = make_pipe(O_NONBLOCK).value();

  void fill() const { REQUIRE(::write(pipe.write_end.get(), "x", 1) == 1); }
  void empty() const {
    char byte;
    REQUIRE(::read(pipe.read_end.get(), &byte, 1) == 1);
  }
  /// One round that takes what is ready and does not wait.
  void round() const { loop->run_once(Duration::zero()); }
};

pid_t child_that_exits(int status) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) ::_exit(status);
  return pid;
}

TEST_CASE("a watch calls as long as its descriptor is ready and its handle lives") {
  Rig rig;
  int calls = 0;
  auto handle = rig.loop
                    ->watch(rig.pipe.read_end.get(), EPOLLIN,
                            [&](uint32_t events) {
                              CHECK(events == EPOLLIN);
                              ++calls;
                            })
                    .value();
  rig.round();
  CHECK(calls == 0);
  rig.fill();
  rig.round();
  rig.round();  // level-triggered: nobody has read
  CHECK(calls == 2);
  rig.empty();
  rig.round();
  CHECK(calls == 2);
  rig.fill();
  handle.reset();
  CHECK_FALSE(handle);
  rig.round();
  CHECK(calls == 2);
}

TEST_CASE("change() says what a watch waits for from now on") {
  Rig rig;
  uint32_t seen = 0;
  auto handle =
      rig.loop->watch(rig.pipe.write_end.get(), 0, [&](uint32_t events) { seen |= events; })
          .value();
  rig.round();
  CHECK(seen == 0);
  REQUIRE(rig.loop->change(handle, EPOLLOUT).ok());
  rig.round();
  CHECK(seen == EPOLLOUT);
  seen = 0;
  REQUIRE(rig.loop->change(handle, 0).ok());
  rig.round();
  CHECK(seen == 0);
  rig.pipe.read_end.reset();
  rig.round();
  CHECK(seen == EPOLLERR);  // told without being asked
}

TEST_CASE("what cannot be watched is an Error") {
  Rig rig;
  CHECK(rig.loop->watch(-1, EPOLLIN, [](uint32_t) {}).error().code == EBADF);
  auto first = rig.loop->watch(rig.pipe.read_end.get(), EPOLLIN, [](uint32_t) {}).value();
  CHECK(rig.loop->watch(rig.pipe.read_end.get(), EPOLLIN, [](uint32_t) {}).error().code == EEXIST);
}

TEST_CASE("a callback may drop its own handle, and what it holds lives until it returns") {
  Rig rig;
  EventLoop::Handle handle;
  std::string seen;
  const std::string held = "held by the callback, too long for the small buffer of a string";
  SECTION("a watch") {
    handle = rig.loop
                 ->watch(rig.pipe.read_end.get(), EPOLLIN,
                         [&, held](uint32_t) {
                           handle.reset();
                           seen += held;
                         })
                 .value();
    rig.fill();
  }
  SECTION("a timer") {
    handle = rig.loop->at(Time{}, [&, held] {
      handle.reset();
      seen += held;
    });
  }
  SECTION("a repeated timer") {
    handle = rig.loop->every(nanoseconds(1), [&, held] {
      handle.reset();
      seen += held;
    });
  }
  rig.round();
  rig.round();
  CHECK(seen == held);
}

TEST_CASE("a handle dropped by another callback of the round never calls, though it was due") {
  Rig rig;
  Pipe other = make_pipe().value();
  REQUIRE(::write(other.write_end.get(), "x", 1) == 1);
  rig.fill();
  int calls = 0;
  EventLoop::Handle one, two;
  SECTION("watches") {
    auto first = [&](uint32_t) { ++calls, two.reset(); };
    auto second = [&](uint32_t) { ++calls, one.reset(); };
    one = rig.loop->watch(rig.pipe.read_end.get(), EPOLLIN, first).value();
    two = rig.loop->watch(other.read_end.get(), EPOLLIN, second).value();
  }
  SECTION("timers") {
    one = rig.loop->at(Time{}, [&] { ++calls, two.reset(); });
    two = rig.loop->at(Time{}, [&] { ++calls, one.reset(); });
  }
  SECTION("a timer, by a watch") {
    one = rig.loop->at(Time{}, [&] { calls += 10; });
    two = rig.loop->watch(rig.pipe.read_end.get(), EPOLLIN, [&](uint32_t) { ++calls, one.reset(); })
              .value();
  }
  rig.round();
  CHECK(calls == 1);
}

TEST_CASE("a handle that takes the place of another drops it") {
  Rig rig;
  std::string calls;
  EventLoop::Handle handle = rig.loop->at(Time{}, [&] { calls += "a"; });
  handle = rig.loop->at(Time{}, [&] { calls += "b"; });
  EventLoop::Handle moved = std::move(handle);
  CHECK_FALSE(handle);
  rig.round();
  CHECK(calls == "b");
}

TEST_CASE("an event that was due for a dropped watch does not go to its successor") {
  Rig rig;
  Pipe trigger = make_pipe().value();
  REQUIRE(::write(trigger.write_end.get(), "x", 1) == 1);
  rig.fill();
  const int fd = rig.pipe.read_end.get();
  std::string calls;
  EventLoop::Handle first, old, successor;
  first = rig.loop
              ->watch(trigger.read_end.get(), EPOLLIN,
                      [&](uint32_t) {
                        calls += "a";
                        first.reset();
                        old.reset();
                        successor =
                            rig.loop->watch(fd, EPOLLIN, [&](uint32_t) { calls += "b"; }).value();
                      })
              .value();
  old = rig.loop->watch(fd, EPOLLIN, [&](uint32_t) { calls += "c"; }).value();
  rig.round();
  CHECK(calls == "a");
  rig.round();
  CHECK(calls == "ab");
}

TEST_CASE("a timer calls once, never early, and the loop wakes for nothing else") {
  Rig rig;
  for (Duration delay : {Duration(nanoseconds(1)), Duration(microseconds(300)),
                         Duration(milliseconds(1)), Duration(microseconds(2700))}) {
    const Time when = Clock::now() + delay;
    Time called{};
    auto timer = rig.loop->at(when, [&] {
      CHECK(called == Time{});
      called = Clock::now();
    });
    rig.loop->run_once(hours(1));  // one round is enough: it did not wake before the timer was due
    CHECK(called >= when);
    rig.round();
  }
}

TEST_CASE("a round without anything to do ends at its limit, not before") {
  Rig rig;
  auto far = rig.loop->after(hours(1), [] { FAIL("an hour has passed"); });
  const Time start = Clock::now();
  rig.loop->run_once(microseconds(1500));
  CHECK(Clock::now() - start >= microseconds(1500));
}

TEST_CASE("timers run in the order of their times, then of their making") {
  Rig rig;
  std::string order;
  const Time now = Clock::now();
  auto c = rig.loop->at(now + nanoseconds(2), [&] { order += "c"; });
  auto a = rig.loop->at(now, [&] { order += "a"; });
  auto b = rig.loop->at(now, [&] { order += "b"; });
  auto none = rig.loop->at(now + nanoseconds(1), [&] { order += "dropped"; });
  none.reset();
  while (Clock::now() <= now + nanoseconds(2)) continue;
  rig.round();
  CHECK(order == "abc");
}

TEST_CASE("an earlier timer than the one the loop waits for is not kept waiting") {
  Rig rig;
  bool called = false;
  auto late = rig.loop->after(hours(1), [] { FAIL("an hour has passed"); });
  rig.round();  // armed for the hour
  auto soon = rig.loop->after(milliseconds(1), [&] { called = true; });
  rig.loop->run_once(hours(1));
  CHECK(called);
  // Nor does the one that has passed wake the loop again.
  bool other = false;
  auto next = rig.loop->after(milliseconds(2), [&] { other = true; });
  rig.loop->run_once(hours(1));
  CHECK(other);
}

TEST_CASE("a timer made by a timer waits for the next round, so that descriptors have their turn") {
  Rig rig;
  int calls = 0;
  EventLoop::Handle handle;
  std::function<void()> again = [&] {
    ++calls;
    handle = rig.loop->at(Time{}, again);
  };
  handle = rig.loop->at(Time{}, again);
  rig.round();
  CHECK(calls == 1);
  rig.round();
  CHECK(calls == 2);
}

TEST_CASE("every() keeps its beat and skips the rounds it missed") {
  Rig rig;
  constexpr auto kPeriod = milliseconds(2);
  const Time start = Clock::now();
  std::vector<Time> calls;
  auto handle = rig.loop->every(kPeriod, [&] { calls.push_back(Clock::now()); });
  const Time made = Clock::now();
  rig.loop->run_once(hours(1));
  REQUIRE(calls.size() == 1);
  CHECK(calls[0] >= start + kPeriod);

  while (Clock::now() < made + 5 * kPeriod) continue;
  rig.round();  // four rounds late: one call
  REQUIRE(calls.size() == 2);
  const auto beats = (calls[1] - made) / kPeriod;
  rig.loop->run_once(hours(1));
  REQUIRE(calls.size() == 3);
  CHECK(calls[2] >=
        start + kPeriod * (beats + 1));  // on the beat, not one period after the last call
}

TEST_CASE(
    "deferred calls run after the callback that asked, in order, new ones in the next round") {
  Rig rig;
  std::string order;
  auto timer = rig.loop->at(Time{}, [&] {
    rig.loop->defer([&] {
      order += "b";
      rig.loop->defer([&] { order += "d"; });
    });
    rig.loop->defer([&] { order += "c"; });
    order += "a";
  });
  rig.loop->run_once(hours(1));
  CHECK(order == "abc");
  rig.loop->run_once(hours(1));  // does not wait while something is deferred
  CHECK(order == "abcd");
}

TEST_CASE("run() goes on until stop(), also one from before or from a deferred call") {
  Rig rig;
  rig.loop->stop();
  rig.loop->run();
  int calls = 0;
  auto timer = rig.loop->every(microseconds(100), [&] {
    if (++calls == 3) rig.loop->stop();
  });
  rig.loop->run();
  CHECK(calls == 3);
  rig.loop->defer([&] { rig.loop->stop(); });
  rig.loop->run();
}

TEST_CASE("signals arrive as callbacks, while their handle lives") {
  sigset_t before;
  REQUIRE(::pthread_sigmask(SIG_SETMASK, nullptr, &before) == 0);
  {
    Rig rig;
    std::vector<int> seen;
    auto handle =
        rig.loop->on_signals({SIGUSR1, SIGUSR2}, [&](int s) { seen.push_back(s); }).value();
    REQUIRE(::raise(SIGUSR2) == 0);
    REQUIRE(::raise(SIGUSR1) == 0);
    rig.round();
    rig.round();
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector{SIGUSR1, SIGUSR2});
    rig.round();
    CHECK(seen.size() == 2);
    REQUIRE(::raise(SIGUSR1) == 0);
    handle.reset();
    rig.round();
    CHECK(seen.size() == 2);
    const timespec at_once{};
    sigset_t pending;
    sigemptyset(&pending);
    sigaddset(&pending, SIGUSR1);
    CHECK(::sigtimedwait(&pending, nullptr, &at_once) ==
          SIGUSR1);  // still blocked: nobody died of it
  }
  REQUIRE(::pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

TEST_CASE("the end of a child calls once, with its status, and the child is reaped") {
  Rig rig;
  std::vector<int> ends;
  const pid_t pid = child_that_exits(7);
  auto handle = rig.loop->on_child_exit(pid, [&](int status) { ends.push_back(status); }).value();
  while (ends.empty()) rig.loop->run_once(hours(1));
  REQUIRE(WIFEXITED(ends[0]));
  CHECK(WEXITSTATUS(ends[0]) == 7);
  CHECK(::waitpid(pid, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
  rig.round();
  CHECK(ends.size() == 1);
}

TEST_CASE("a child's death by a signal is told as such, and its handle may go in the callback") {
  Rig rig;
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    for (;;) ::pause();
  }
  int seen = 0;
  EventLoop::Handle handle;
  handle = rig.loop
               ->on_child_exit(pid,
                               [&](int status) {
                                 handle.reset();
                                 seen = status;
                               })
               .value();
  rig.round();
  CHECK(seen == 0);
  REQUIRE(::kill(pid, SIGKILL) == 0);
  while (seen == 0) rig.loop->run_once(hours(1));
  CHECK(WIFSIGNALED(seen));
  CHECK(WTERMSIG(seen) == SIGKILL);
}

TEST_CASE("a child whose handle was dropped is left to be waited for by others") {
  Rig rig;
  const pid_t pid = child_that_exits(0);
  auto handle = rig.loop->on_child_exit(pid, [](int) { FAIL("dropped"); }).value();
  handle.reset();
  CHECK(::waitpid(pid, nullptr, 0) == pid);
  rig.round();
}

}  // namespace
}  // namespace hob
