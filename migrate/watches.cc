#include "migrate/watches.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "migrate/files.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

struct FoundWatch {
  WatchImage image;
  uint64_t inode = 0;
  dev_t device = 0;
  std::vector<unsigned char> handle;
  int handle_type = 0;
};

Result<FoundWatch> parse(const std::string& line) {
  FoundWatch watch;
  uint64_t inode = 0;
  unsigned device = 0, bytes = 0, type = 0;
  int at = 0;
  if (std::sscanf(line.c_str(),
                  "inotify wd:%x ino:%lx sdev:%x mask:%x ignored_mask:%*x fhandle-bytes:%x "
                  "fhandle-type:%x f_handle:%n",
                  reinterpret_cast<unsigned*>(&watch.image.number), &inode, &device,
                  &watch.image.mask, &bytes, &type, &at) != 6 ||
      at == 0 || bytes > MAX_HANDLE_SZ || line.size() < static_cast<size_t>(at) + 2 * bytes)
    return Error{"read an inotify instance: the kernel's text has an unknown form", EPROTO};
  watch.inode = inode;
  constexpr unsigned kMinorBits = 20;  // of a dev_t inside the kernel
  watch.device = makedev(device >> kMinorBits, device & ((1u << kMinorBits) - 1));
  watch.handle_type = static_cast<int>(type);
  for (unsigned i = 0; i < bytes; i++) {
    unsigned byte = 0;
    if (std::sscanf(line.c_str() + at + 2 * i, "%2x", &byte) != 1)
      return Error{"read an inotify instance: the kernel's text has an unknown form", EPROTO};
    watch.handle.push_back(static_cast<unsigned char>(byte));
  }
  return watch;
}

/// The file behind a handle, through one mount of its file system; its name, or nothing.
std::string name_through(const std::string& mount, const FoundWatch& watch) {
  const Fd root(::open(mount.c_str(), O_RDONLY | O_CLOEXEC));
  if (!root) return {};
  alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + MAX_HANDLE_SZ> buffer{};
  auto* handle = reinterpret_cast<file_handle*>(buffer.data());
  handle->handle_bytes = static_cast<unsigned>(watch.handle.size());
  handle->handle_type = watch.handle_type;
  std::memcpy(buffer.data() + offsetof(file_handle, f_handle), watch.handle.data(),
              watch.handle.size());
  const Fd file(::open_by_handle_at(root.get(), handle, O_PATH | O_CLOEXEC));
  if (!file) return {};
  auto name = read_link("/proc/self/fd/" + std::to_string(file.get()));
  return name ? *name : std::string();
}

Result<void> find_name(Tid process, FoundWatch& watch, const std::string& subject) {
  std::istringstream mounts(TRY(proc::read(process, "mountinfo")));
  for (std::string line; std::getline(mounts, line);) {
    unsigned major = 0, minor = 0;
    char point[PATH_MAX];
    if (std::sscanf(line.c_str(), "%*d %*d %u:%u %*s %4095s", &major, &minor, point) != 3 ||
        makedev(major, minor) != watch.device)
      continue;
    const std::string name = name_through(proc::path(process, "root") + point, watch);
    struct stat st {};
    if (name.empty() || name[0] != '/' ||
        ::lstat((proc::path(process, "root") + name).c_str(), &st) < 0 ||
        st.st_ino != watch.inode || st.st_dev != watch.device)
      continue;
    watch.image.path = name;
    return {};
  }
  return obstacle(subject, "an inotify watch of a file whose name cannot be found (inode " +
                               std::to_string(watch.inode) + ")");
}

}  // namespace

Result<void> describe_watches(Tid process, int fd, const proc::FdInfo& info, Description& d,
                              const std::string& subject) {
  d.kind = DescriptionKind::inotify;
  const Fd instance = TRY(proc::borrow_descriptor(process, fd));
  int unread = 0;
  if (::ioctl(instance.get(), FIONREAD, &unread) < 0) return Error::sys("look into", subject);
  if (unread > 0) return obstacle(subject, "an inotify instance with events that are not read yet");
  for (const std::string& line : info.rest) {
    if (line.compare(0, 8, "inotify ") != 0) continue;
    FoundWatch watch = TRY(parse(line));
    if (watch.image.number > kMostWatch)
      return obstacle(subject, "an inotify instance that has made too many watches");
    TRY(find_name(process, watch, subject));
    d.watches.push_back(std::move(watch.image));
  }
  std::sort(d.watches.begin(), d.watches.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return {};
}

namespace {

// The kernel numbers watches upwards and never twice: those in between are made and taken back.
Result<void> add_watch(const Fd& instance, const Fd& filler, const WatchImage& watch, int& next) {
  const std::string link = "/proc/self/fd/" + std::to_string(filler.get());
  for (; next < watch.number; next++) {
    const int passing = ::inotify_add_watch(instance.get(), link.c_str(), IN_ATTRIB);
    if (passing != next || ::inotify_rm_watch(instance.get(), passing) < 0)
      return Error::sys("number", "an inotify watch", EPROTO);
  }
  // It says what became of those; nobody asked.
  char event[4096];
  while (::read(instance.get(), event, sizeof event) > 0) {
  }
  const int number =
      ::inotify_add_watch(instance.get(), watch.path.c_str(), watch.mask | IN_DONT_FOLLOW);
  if (number < 0) return Error::sys("watch", watch.path, errno, "is it shared between the hosts?");
  if (number != watch.number) return Error::sys("number the watch of", watch.path, EPROTO);
  next++;
  return {};
}

}  // namespace

Result<Fd> open_watches(const Description& d, const Credentials& user) {
  Fd instance(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!instance) return Error::sys("make", "an inotify instance");
  const Fd filler(::memfd_create("filler", MFD_CLOEXEC));
  if (!filler) return Error::sys("make", "a file");
  int next = 1;
  {
    AsUser rights(user);
    for (const WatchImage& watch : d.watches) TRY(add_watch(instance, filler, watch, next));
  }
  if (::fcntl(instance.get(), F_SETFL, static_cast<int>(d.flags) & O_NONBLOCK) < 0)
    return Error::sys("set the flags of", "an inotify instance");
  return instance;
}

}  // namespace hob::migrate
