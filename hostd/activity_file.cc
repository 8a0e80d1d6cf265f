// "file:/PATH": each touch of a file is a key press. For tests and demonstrations, and for programs
// that know of the owner what no device tells.

#include <fcntl.h>
#include <unistd.h>

#include "hostd/activity.h"
#include "hostd/inotify.h"

namespace hob {
namespace {

class FileSource : public InputSource {
 public:
  FileSource(EventLoop& loop, std::string path)
      : loop_(loop),
        name_("file:" + path),
        what_("file " + path),
        path_(std::move(path)),
        directory_(path_.substr(0, std::max<size_t>(path_.rfind('/'), 1))),
        file_(path_.substr(path_.rfind('/') + 1)) {}

  std::string_view name() const override { return name_; }

  void start(InputCallbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    if (Result<void> watching = watch_directory(); !watching.ok())
      return callbacks_.unreadable("cannot be watched: " + watching.error().text);
    look();
  }

 private:
  /// The directory alone is watched: its events tell of the file's as well, and of its coming and
  /// going.
  Result<void> watch_directory() {
    inotify_ = TRY(Inotify::create(
        loop_, [this](int, uint32_t mask, std::string_view name) { changed(mask, name); }));
    TRY(inotify_->watch(directory_, IN_ATTRIB | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO |
                                        IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF |
                                        IN_ONLYDIR));
    return {};
  }

  void changed(uint32_t mask, std::string_view name) {
    if (mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
      readable_ = false;
      return callbacks_.unreadable("cannot be watched: " + directory_ +
                                   " is gone; make it again and restart hostd");
    }
    const bool lost_events = (mask & IN_Q_OVERFLOW) != 0;
    if (name != file_ && !lost_events) return;
    if (mask & (IN_DELETE | IN_MOVED_FROM)) return look();
    callbacks_.input(Clock::now(), what_);
    if (!readable_ || lost_events) look();
  }

  /// Is the file there?
  void look() {
    if (::access(path_.c_str(), F_OK) != 0) {
      readable_ = false;
      return callbacks_.unreadable("cannot be read: " + Error::sys("find", path_).text);
    }
    if (!std::exchange(readable_, true)) callbacks_.readable(Clock::now());
  }

  EventLoop& loop_;
  const std::string name_;
  const std::string what_;
  const std::string path_;
  const std::string directory_;
  const std::string file_;
  InputCallbacks callbacks_;
  bool readable_ = false;
  std::unique_ptr<Inotify> inotify_;
};

}  // namespace

std::unique_ptr<InputSource> make_file_source(EventLoop& loop, std::string path) {
  return std::make_unique<FileSource>(loop, std::move(path));
}

}  // namespace hob
