#pragma once

#include <sys/inotify.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"

namespace hob {

/// inotify(7) in the event loop. Calls back with each event; IN_Q_OVERFLOW (watch -1) says that
/// events were lost, so that the callee must look for itself. Dropping the object ends all watches.
class Inotify {
 public:
  using Callback = std::function<void(int watch, uint32_t mask, std::string_view name)>;
  static Result<std::unique_ptr<Inotify>> create(EventLoop& loop, Callback callback);

  /// The watch, to be compared with the callback's. Watching one inode twice gives one watch.
  Result<int> watch(const std::string& path, uint32_t mask);
  void unwatch(int watch);

 private:
  Inotify(Fd fd, Callback callback) : fd_(std::move(fd)), callback_(std::move(callback)) {}
  void drain();

  Fd fd_;
  Callback callback_;
  EventLoop::Handle handle_;  // after fd_: it goes first
};

}  // namespace hob
