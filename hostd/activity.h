#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/time.h"

namespace hob {

/// Who is told what an InputSource sees. Called from the event loop, and from start() itself.
struct InputCallbacks {
  /// The owner used `what` at `when`, which is never later than now. Comes straight out of the
  /// wake-up: nothing else is done first.
  std::function<void(Time when, std::string_view what)> input;
  /// The source can be read from now on, and knows of no input after `last_input`.
  std::function<void(Time last_input)> readable;
  /// It cannot be read; `why` completes "input source NAME ...".
  std::function<void(std::string why)> unreadable;
};

/// Something that notices the owner. It holds what it needs from start() to its end, and goes on
/// looking by itself after it has become unreadable. On the thread of its event loop, which
/// outlives it.
///
/// No source looks at what was typed or where to; only that something was done, with what, and
/// when.
class InputSource {
 public:
  virtual ~InputSource() = default;
  /// As in idle.sources of the config: "evdev", "tty", "file:/run/hob/input".
  virtual std::string_view name() const = 0;
  /// Begins to look. Ends with one call of readable or unreadable; both may come again at any time.
  virtual void start(InputCallbacks callbacks) = 0;
};

/// Which terminals (as "pts/3") are not the owner's, e.g. those of guests. Asked at each sign of
/// use.
using TerminalFilter = std::function<bool(std::string_view terminal)>;

/// The source that one entry of idle.sources means.
Result<std::unique_ptr<InputSource>> make_input_source(EventLoop& loop, const std::string& spec,
                                                       TerminalFilter not_the_owners);

/// The three there are, with the directories they look at, for tests.
std::unique_ptr<InputSource> make_evdev_source(EventLoop& loop,
                                               std::string directory = "/dev/input");
struct TtyOptions {
  std::string pts = "/dev/pts";
  /// Holds tty1, tty2, ...; empty: leave them out.
  std::string consoles = "/dev";
  TerminalFilter not_the_owners;
  /// Look every `period` at each terminal instead of being told: what is done anyhow for those that
  /// inotify refuses (fs.inotify.max_user_watches).
  bool poll_only = false;
  Duration period = seconds(5);
};
std::unique_ptr<InputSource> make_tty_source(EventLoop& loop, TtyOptions options);
std::unique_ptr<InputSource> make_file_source(EventLoop& loop, std::string path);

}  // namespace hob
