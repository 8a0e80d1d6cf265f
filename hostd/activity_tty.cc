// "tty": the terminals of logins, local consoles and remote ones alike.
//
// Somebody's input is read by a program from its terminal. inotify tells of that read at once
// (IN_ACCESS on the terminal's own node; reads of the other side, which carry output, are on
// another node). Where it cannot be had, the access time of the node is looked at: the kernel moves
// it on at most every 8 s, so that it does not give away the rhythm of typing (tty_update_time in
// drivers/tty/tty_io.c), hence it may be almost 8 s behind: what is seen so counts as done when it
// is seen.

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "hostd/activity.h"
#include "hostd/inotify.h"

namespace hob {
namespace {

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<std::vector<std::string>> entries_of(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  if (!open) return Error::sys("open", directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(open.get())) names.emplace_back(entry->d_name);
  return names;
}

class TtySource : public InputSource {
 public:
  TtySource(EventLoop& loop, TtyOptions options) : loop_(loop), options_(std::move(options)) {}

  std::string_view name() const override { return "tty"; }

  void start(InputCallbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    Result<std::unique_ptr<Inotify>> inotify = Inotify::create(
        loop_,
        [this](int watch, uint32_t mask, std::string_view name) { event(watch, mask, name); });
    if (!inotify.ok()) return unreadable(inotify.error());
    inotify_ = std::move(*inotify);
    // Watched before it is listed, so that no terminal that opens now is missed.
    Result<int> watch = inotify_->watch(options_.pts, IN_CREATE | IN_DELETE | IN_ONLYDIR);
    if (!watch.ok()) return unreadable(watch.error());
    pts_watch_ = *watch;
    if (Result<void> listed = list(); !listed.ok()) return unreadable(listed.error());
    // A terminal that was closed just before we began has left no trace, so count from now.
    callbacks_.readable(Clock::now());
  }

 private:
  struct Terminal {
    std::string path;
    std::string label;  // "pts/3", "tty1"
    int watch = -1;     // -1: has to be looked at
    timespec access_time{};
  };

  void unreadable(const Error& error) { callbacks_.unreadable("cannot be read: " + error.text); }

  Result<void> list() {
    for (const std::string& name : TRY(entries_of(options_.pts)))
      if (all_digits(name)) add(options_.pts + "/" + name, "pts/" + name);
    if (options_.consoles.empty()) return {};
    for (const std::string& name : TRY(entries_of(options_.consoles)))
      if (name.starts_with("tty") && all_digits(std::string_view(name).substr(3)))
        add(options_.consoles + "/" + name, name);
    return {};
  }

  bool owners(const Terminal& terminal) const {
    return !options_.not_the_owners || !options_.not_the_owners(terminal.label);
  }

  void add(const std::string& path, const std::string& label) {
    struct stat status {};
    // Gone already: as if it had never been.
    if (terminals_.contains(label) || ::stat(path.c_str(), &status) < 0) return;
    Terminal terminal{path, label, -1, status.st_atim};
    if (!options_.poll_only)
      if (const Result<int> watch = inotify_->watch(path, IN_ACCESS); watch.ok())
        terminal.watch = *watch;
    if (terminal.watch < 0 && !timer_)
      timer_ = loop_.every(options_.period, [this] { look_at_all(); });
    terminals_.emplace(label, std::move(terminal));
  }

  void event(int watch, uint32_t mask, std::string_view name) {
    if (mask & IN_Q_OVERFLOW) {
      callbacks_.input(Clock::now(), "a terminal (too much at once to say which)");
      if (Result<void> listed = list(); !listed.ok()) unreadable(listed.error());
      return;
    }
    if (watch == pts_watch_) return directory_event(mask, name);
    const auto it = std::find_if(terminals_.begin(), terminals_.end(),
                                 [&](const auto& entry) { return entry.second.watch == watch; });
    if (it == terminals_.end()) return;
    if ((mask & IN_ACCESS) && owners(it->second)) used(it->second);
    if (mask & IN_IGNORED) terminals_.erase(it);
  }

  void directory_event(uint32_t mask, std::string_view name) {
    if (mask & (IN_IGNORED | IN_UNMOUNT))
      return callbacks_.unreadable("cannot be read: " + options_.pts +
                                   " was unmounted; mount it and restart hostd");
    if (!all_digits(name)) return;
    const std::string label = "pts/" + std::string(name);
    // The number of a closed terminal is soon given out again, so forget the old one first.
    forget(label);
    if (mask & IN_CREATE) add(options_.pts + "/" + std::string(name), label);
  }

  void forget(const std::string& label) {
    const auto it = terminals_.find(label);
    if (it == terminals_.end()) return;
    if (it->second.watch >= 0) inotify_->unwatch(it->second.watch);
    terminals_.erase(it);
  }

  void used(const Terminal& terminal) {
    callbacks_.input(Clock::now(), "terminal " + terminal.label);
  }

  void look_at_all() {
    bool any = false;
    for (auto& [label, terminal] : terminals_) {
      if (terminal.watch >= 0) continue;
      any = true;
      struct stat status {};
      if (::stat(terminal.path.c_str(), &status) < 0) continue;  // its IN_DELETE is under way
      if (status.st_atim.tv_sec == terminal.access_time.tv_sec &&
          status.st_atim.tv_nsec == terminal.access_time.tv_nsec)
        continue;
      terminal.access_time = status.st_atim;
      if (owners(terminal)) used(terminal);
    }
    if (!any) timer_.reset();
  }

  EventLoop& loop_;
  const TtyOptions options_;
  InputCallbacks callbacks_;
  int pts_watch_ = -1;
  std::map<std::string, Terminal, std::less<>> terminals_;
  std::unique_ptr<Inotify> inotify_;
  EventLoop::Handle timer_;
};

}  // namespace

std::unique_ptr<InputSource> make_tty_source(EventLoop& loop, TtyOptions options) {
  return std::make_unique<TtySource>(loop, std::move(options));
}

}  // namespace hob
