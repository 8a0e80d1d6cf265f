#include "hostd/inotify.h"

#include <sys/epoll.h>
#include <unistd.h>

namespace hob {

Result<std::unique_ptr<Inotify>> Inotify::create(EventLoop& loop, Callback callback) {
  Fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd)
    return Error::sys("create", "an inotify instance", errno,
                      "sysctl fs.inotify.max_user_instances may be too low");
  std::unique_ptr<Inotify> made(new Inotify(std::move(fd), std::move(callback)));
  made->handle_ =
      TRY(loop.watch(made->fd_.get(), EPOLLIN, [raw = made.get()](uint32_t) { raw->drain(); }));
  return made;
}

Result<int> Inotify::watch(const std::string& path, uint32_t mask) {
  const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), mask);
  if (watch < 0) return Error::sys("watch", path);
  return watch;
}

void Inotify::unwatch(int watch) {
  ::inotify_rm_watch(fd_.get(), watch);
}

void Inotify::drain() {
  // One read for each wake-up; the loop comes back for more. The callback does not drop this
  // object: sources keep theirs to their own end.
  alignas(inotify_event) char buffer[4096];
  const ssize_t length = ::read(fd_.get(), buffer, sizeof buffer);
  for (ssize_t at = 0; at < length;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    // The name is padded with null bytes.
    callback_(event->wd, event->mask, event->len > 0 ? std::string_view(event->name) : "");
  }
}

}  // namespace hob
