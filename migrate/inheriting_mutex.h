#pragma once

#include <pthread.h>

#include "base/check.h"

namespace hob::migrate {

/// A mutex whose holder runs with the priority of the most urgent thread that waits for it. A
/// thread of bulk work may be preempted while it holds the lock of a page sink: a thread that
/// serves a fault would then wait behind all that goes before bulk work.
///
/// For std::lock_guard and std::unique_lock; to wait, std::condition_variable_any.
class InheritingMutex {
 public:
  InheritingMutex() {
    pthread_mutexattr_t attributes;
    CHECK(::pthread_mutexattr_init(&attributes) == 0 &&
          ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0 &&
          ::pthread_mutex_init(&mutex_, &attributes) == 0 &&
          ::pthread_mutexattr_destroy(&attributes) == 0);
  }
  ~InheritingMutex() { ::pthread_mutex_destroy(&mutex_); }
  InheritingMutex(const InheritingMutex&) = delete;
  InheritingMutex& operator=(const InheritingMutex&) = delete;

  void lock() { CHECK(::pthread_mutex_lock(&mutex_) == 0); }
  void unlock() { CHECK(::pthread_mutex_unlock(&mutex_) == 0); }

 private:
  pthread_mutex_t mutex_;
};

}  // namespace hob::migrate
