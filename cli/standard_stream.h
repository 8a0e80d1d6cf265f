#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/fd.h"

/// The process's own stdin, stdout and stderr, read and written without ever blocking the event
/// loop.
///
/// Their open files are shared with other processes (the shell, the other end of a pipeline), so
/// O_NONBLOCK must not be set on them: it would hit those too. Pipes and terminals are opened a
/// second time through /proc/self/fd; sockets are asked per call; files and devices never block for
/// long. Where the second opening is refused (a pipe of another user), the first one is used after
/// poll(2), in pieces that a ready pipe takes whole (PIPE_BUF, pipe(7)).
namespace hob::cli {

/// Fills the closed ones among descriptors 0, 1, 2, so that nothing we open lands there, and says
/// which they were. They stay of no use: reading or writing them is EBADF, as if they were closed.
std::array<bool, 3> occupy_standard_descriptors();

class StandardStream {
 public:
  enum class Direction { input, output };
  /// Neither owns nor closes `fd` (0, 1 or 2).
  StandardStream(EventLoop& loop, int fd, Direction direction);

  /// What read(2) or write(2) says; `blocked` asks to wait for when_ready().
  struct Outcome {
    enum class Kind { moved, blocked, end, failed } kind;
    size_t count = 0;  // moved: bytes, at least 1
    int error = 0;     // failed: errno
  };
  Outcome read(char* buffer, size_t size);
  Outcome write(std::string_view bytes);

  /// Whether it is our terminal and belongs to another process group now: reading would stop us.
  bool in_background() const;

  /// Calls back when a read or write may move something, until pause(). Descriptors that epoll does
  /// not know (files) are always ready.
  void when_ready(std::function<void()> callback);
  void pause() { watch_.reset(); }
  bool waiting() const { return static_cast<bool>(watch_); }

 private:
  enum class Kind { file, socket, own, shared };
  Outcome outcome_of(ssize_t n) const;
  int fd() const { return own_ ? own_.get() : fd_; }
  bool ready() const;

  EventLoop& loop_;
  int fd_;
  Direction direction_;
  Kind kind_;
  Fd own_;  // Kind::own: the second opening
  EventLoop::Handle watch_;
};

}  // namespace hob::cli
