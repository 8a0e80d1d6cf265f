#include "migrate/crew.h"

#include "base/check.h"

namespace hob::migrate {

Crew::Crew(size_t threads, std::function<void(size_t)> ready)
    : ready_(static_cast<std::ptrdiff_t>(threads)) {
  for (size_t i = 0; i < threads; i++)
    threads_.emplace_back([this, ready, i] {
      ready(i);
      ready_.count_down();
      wait_and_work(i);
    });
}

Crew::~Crew() {
  if (state_ == waiting) join();
  CHECK(threads_.empty());
}

void Crew::wait_and_work(size_t index) {
  state_.wait(waiting);
  if (state_ == working) work_[index]();
}

void Crew::begin(std::vector<std::function<void()>> work) {
  CHECK(state_ == waiting && work.size() == threads_.size());
  work_ = std::move(work);
  state_ = working;
  state_.notify_all();
}

void Crew::join() {
  if (state_ == waiting) {
    state_ = dismissed;
    state_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace hob::migrate
