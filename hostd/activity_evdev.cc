// "evdev": keyboards, mice, touchpads and the like, straight from the kernel, whoever else reads
// them (they are never grabbed). The one file that calls libevdev.

#include <dirent.h>
#include <fcntl.h>
#include <libevdev/libevdev.h>
#include <sys/epoll.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/log.h"
#include "hostd/activity.h"
#include "hostd/inotify.h"
#include "hostd/input_filter.h"

namespace hob {
namespace {

/// After a device was used it is not listened to for so long: the owner is known to be here, and a
/// mouse that reports a thousand times a second would cost him a wake-up each. The kernel keeps the
/// events.
constexpr Duration kRest = seconds(1);

using Libevdev = std::unique_ptr<libevdev, void (*)(libevdev*)>;

DeviceAbilities abilities_of(const libevdev* device) {
  DeviceAbilities can;
  const auto fill = [device](auto& bits, unsigned type) {
    for (unsigned code = 0; code < bits.size(); ++code)
      bits[code] = libevdev_has_event_code(device, type, code) != 0;
  };
  fill(can.keys, EV_KEY);
  fill(can.relative, EV_REL);
  fill(can.absolute, EV_ABS);
  for (unsigned property = 0; property < can.properties.size(); ++property)
    can.properties[property] = libevdev_has_property(device, property) != 0;
  return can;
}

std::map<uint16_t, EventFilter::Axis> axes_of(const libevdev* device) {
  std::map<uint16_t, EventFilter::Axis> axes;
  for (uint16_t code = 0; code < ABS_MT_SLOT; ++code)
    if (const input_absinfo* info = libevdev_get_abs_info(device, code))
      axes[code] = {info->minimum, info->maximum, info->fuzz, info->flat, info->value};
  return axes;
}

/// One device that the owner's hand can reach.
struct Device {
  Fd fd;
  Libevdev evdev{nullptr, libevdev_free};
  std::string label;  // "keyboard 'AT Translated Set 2 keyboard'"
  EventFilter filter;
  bool monotonic = false;  // event times are of our clock
  EventLoop::Handle handle;
  EventLoop::Handle rest;
};

class EvdevSource : public InputSource {
 public:
  EvdevSource(EventLoop& loop, std::string directory)
      : loop_(loop), directory_(std::move(directory)) {}

  std::string_view name() const override { return "evdev"; }

  void start(InputCallbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    Result<std::unique_ptr<Inotify>> inotify = Inotify::create(
        loop_,
        [this](int watch, uint32_t mask, std::string_view name) { event(watch, mask, name); });
    if (!inotify.ok()) return callbacks_.unreadable("cannot be read: " + inotify.error().text);
    inotify_ = std::move(*inotify);
    look_around();
    report();
  }

 private:
  /// Watches the directory and opens what is in it. Watched first, so that nothing is missed
  /// between.
  void look_around() {
    // Without the directory its parent is watched, for it may come with the first device.
    const std::string parent = directory_.substr(0, std::max<size_t>(directory_.rfind('/'), 1));
    const Result<int> watch =
        inotify_->watch(directory_, IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR);
    directory_problem_ = watch.ok() ? "" : watch.error().text;
    if (!watch.ok()) {
      if (const Result<int> above = inotify_->watch(parent, IN_CREATE | IN_MOVED_TO); above.ok())
        parent_watch_ = *above;
      return;
    }
    directory_watch_ = *watch;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory_.c_str()), ::closedir);
    if (!open) {
      directory_problem_ = Error::sys("open", directory_).text;
      return;
    }
    while (const dirent* entry = ::readdir(open.get())) add(entry->d_name);
  }

  void event(int watch, uint32_t mask, std::string_view name) {
    if (mask & IN_Q_OVERFLOW) {
      callbacks_.input(Clock::now(), "an input device (too many came at once to say which)");
      look_around();
    } else if (watch == directory_watch_ && (mask & (IN_IGNORED | IN_UNMOUNT))) {
      directory_watch_ = -1;
      devices_.clear();
      broken_.clear();
      look_around();
    } else if (watch == directory_watch_ && (mask & IN_DELETE)) {
      broken_.erase(std::string(name));
      remove(std::string(name));
    } else if (watch == directory_watch_) {
      // IN_CREATE, or IN_ATTRIB: udev sets the permissions after the node has been made.
      if (add(std::string(name)))
        callbacks_.input(Clock::now(), devices_.at(std::string(name))->label + " plugged in,");
    } else if (watch == parent_watch_ && directory_watch_ < 0) {
      look_around();
    }
    report();
  }

  /// True if there is a device more than before.
  bool add(const std::string& name) {
    if (!name.starts_with("event") || devices_.contains(name)) return false;
    Result<std::unique_ptr<Device>> device = open_device(directory_ + "/" + name);
    broken_.erase(name);
    if (!device.ok()) {
      broken_.emplace(name, device.error().text);
      return false;
    }
    if (*device == nullptr) return false;
    Device* raw = device->get();
    Result<EventLoop::Handle> handle = loop_.watch(
        raw->fd.get(), EPOLLIN, [this, raw, name](uint32_t) { read_events(*raw, name); });
    if (!handle.ok()) {
      broken_.emplace(name, handle.error().text);
      return false;
    }
    raw->handle = std::move(*handle);
    devices_.emplace(name, std::move(*device));
    return true;
  }

  /// Null: a device that says nothing of an owner, or that has gone meanwhile.
  static Result<std::unique_ptr<Device>> open_device(const std::string& path) {
    auto device = std::make_unique<Device>();
    Result<Fd> fd = open_file(path, O_RDONLY | O_NONBLOCK);
    if (!fd.ok()) {
      const int code = fd.error().code;
      if (code == ENOENT || code == ENODEV || code == ENXIO) return std::unique_ptr<Device>();
      return std::move(fd).error();
    }
    device->fd = std::move(*fd);
    libevdev* raw = nullptr;
    const int status = libevdev_new_from_fd(device->fd.get(), &raw);
    if (status == -ENODEV) return std::unique_ptr<Device>();
    if (status < 0) return Error::sys("ask for the abilities of", path, -status);
    device->evdev.reset(raw);
    const DeviceKind kind = classify(abilities_of(raw));
    if (kind == DeviceKind::none) return std::unique_ptr<Device>();
    device->label = std::string(to_string(kind)) + " '" + libevdev_get_name(raw) + "'";
    device->filter = EventFilter(axes_of(raw));
    device->monotonic = libevdev_set_clock_id(raw, CLOCK_MONOTONIC) == 0;
    return device;
  }

  void read_events(Device& device, const std::string& name) {
    std::optional<Time> used;
    const Time now = Clock::now();
    unsigned mode = LIBEVDEV_READ_FLAG_NORMAL;
    for (;;) {
      input_event event{};
      const int status = libevdev_next_event(device.evdev.get(), mode, &event);
      if (status == -EAGAIN && mode == LIBEVDEV_READ_FLAG_NORMAL) break;
      if (status == -EAGAIN) {
        mode = LIBEVDEV_READ_FLAG_NORMAL;  // in step again after lost events
        continue;
      }
      if (status < 0) return lost(device, name, -status);
      if (status == LIBEVDEV_READ_STATUS_SYNC && mode == LIBEVDEV_READ_FLAG_NORMAL) {
        mode = LIBEVDEV_READ_FLAG_SYNC;  // the kernel's buffer ran over: there were very many
        used = now;
        continue;
      }
      const Time when = device.monotonic ? std::min(now, time_of(event)) : now;
      if (device.filter.counts(event.type, event.code, event.value, when)) used = when;
    }
    if (!used) return;
    callbacks_.input(*used, device.label);
    rest(device);
  }

  static Time time_of(const input_event& event) {
    return Time(seconds(event.input_event_sec) + microseconds(event.input_event_usec));
  }

  void rest(Device& device) {
    if (const Result<void> changed = loop_.change(device.handle, 0); !changed.ok())
      return log::warning("input source evdev: {}: {}", device.label, changed.error().text);
    device.rest = loop_.after(kRest, [this, &device] {
      if (const Result<void> changed = loop_.change(device.handle, EPOLLIN); !changed.ok())
        callbacks_.unreadable("cannot be read: " + changed.error().text);
    });
  }

  void lost(Device& device, const std::string& name, int code) {
    const std::string label = device.label;
    if (code != ENODEV && code != EIO)
      broken_[name] = Error::sys("read", directory_ + "/" + name, code).text;
    remove(name);
    callbacks_.input(Clock::now(), label + " unplugged,");
    report();
  }

  void remove(const std::string& name) {
    const auto it = devices_.find(name);
    if (it == devices_.end()) return;
    // Not freed here: this may be the device's own callback.
    auto gone = std::make_shared<std::unique_ptr<Device>>(std::move(it->second));
    (*gone)->handle.reset();
    (*gone)->rest.reset();
    devices_.erase(it);
    loop_.defer([gone] { gone->reset(); });
  }

  /// Says whether all there is can be read, when that has changed.
  void report() {
    std::string why;
    if (!directory_problem_.empty())
      why = "cannot be read: " + directory_problem_ +
            "; leave \"evdev\" out of idle.sources on a machine without input devices";
    else if (!broken_.empty())
      why = "cannot be read: " + broken_.begin()->second;
    if (reported_ == why) return;
    reported_ = why;
    if (why.empty())
      callbacks_.readable(Clock::now());
    else
      callbacks_.unreadable(why);
  }

  EventLoop& loop_;
  const std::string directory_;
  InputCallbacks callbacks_;
  std::unique_ptr<Inotify> inotify_;
  int directory_watch_ = -1;
  int parent_watch_ = -1;
  std::string directory_problem_;
  std::map<std::string, std::unique_ptr<Device>> devices_;
  std::map<std::string, std::string> broken_;  // name of the node -> why nobody watches it
  std::optional<std::string> reported_;        // "" for readable
};

}  // namespace

std::unique_ptr<InputSource> make_evdev_source(EventLoop& loop, std::string directory) {
  return std::make_unique<EvdevSource>(loop, std::move(directory));
}

}  // namespace hob
