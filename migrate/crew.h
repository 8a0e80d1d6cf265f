#pragma once

#include <atomic>
#include <functional>
#include <latch>
#include <thread>
#include <vector>

namespace hob::migrate {

/// Threads that have been made before there is anything to do. Making the three of a page sink
/// takes 0.3 ms, with their stacks and first page faults: too long while a guest stands still.
class Crew {
 public:
  /// `ready`: what each, by its number, does at first, before it waits.
  explicit Crew(
      size_t threads, std::function<void(size_t)> ready = [](size_t) {});
  ~Crew();  ///< joins those that have nothing to do; the others must have been joined

  size_t size() const { return threads_.size(); }
  /// Until all are, and wait. Whose guest runs meanwhile waits for that: at their first turn they
  /// would stand in its way when it is to stop.
  void await_ready() { ready_.wait(); }
  /// One thing to do for each thread. Once.
  void begin(std::vector<std::function<void()>> work);
  void join();

 private:
  enum State : int { waiting, working, dismissed };
  void wait_and_work(size_t index);
  std::latch ready_;
  std::atomic<int> state_{waiting};
  std::vector<std::function<void()>> work_;
  std::vector<std::thread> threads_;
};

}  // namespace hob::migrate
