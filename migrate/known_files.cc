#include "migrate/known_files.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "migrate/notices.h"
#include "migrate/pinned.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {
namespace {

bool has_a_name(const Description& d) {
  return d.kind == DescriptionKind::regular || d.kind == DescriptionKind::directory;
}

bool is_worth_it(const Described& d) {
  return (has_a_name(d.description) || d.description.kind == DescriptionKind::external) &&
         d.locks.empty() && d.description.owner_type == 0;
}

// Two descriptors of ours for each; as many again are left for everything else.
bool has_room(size_t known) {
  rlimit limit = {};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && known * 4 < limit.rlim_cur;
}

// The time of an inode's change is that of a tick, 10 ms at most, or of a second where it has no
// fraction: it tells of changes only where the last one was longer ago.
bool is_past(const timespec& time) {
  constexpr int64_t kSecond = 1'000'000'000, kTicks = 50'000'000;
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age = (now.tv_sec - time.tv_sec) * kSecond + now.tv_nsec - time.tv_nsec;
  return age > (time.tv_nsec == 0 ? 3 * kSecond : kTicks);
}

// With the mount, that is, and without other names. Subvolumes and layers use numbers again; a
// tmpfs after 2^32 files, but not that of a file which we have open.
bool stands_for_file(int fd, const struct stat& st) {
  struct statfs fs;
  if (::fstatfs(fd, &fs) < 0 || (st.st_nlink != 1 && !S_ISDIR(st.st_mode))) return false;
  const auto type = static_cast<unsigned long>(fs.f_type);
  return type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC || type == TMPFS_MAGIC;
}

}  // namespace

std::string KnownFiles::name_of(const Fd& copy) const {
  char name[PATH_MAX];
  const ssize_t length =
      ::readlinkat(links_.get(), std::to_string(copy.get()).c_str(), name, sizeof name);
  return std::string(name, static_cast<size_t>(std::max<ssize_t>(length, 0)));
}

void KnownFiles::learn(Tid process, int fd, const Described& described) {
  if (!is_worth_it(described) || !has_room(known_.size())) return;
  const std::string number = std::to_string(fd);
  auto copy = proc::borrow_descriptor(process, fd);
  auto information = open_file(proc::path(process, "fdinfo/" + number), O_RDONLY);
  if (!copy || !information) return;
  auto remote = is_remote(copy->get(), described.description.path);
  if (!remote) return;
  if (!links_) links_.reset(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Known known;
  known.described.description = described.description;
  known.described.device = described.device;
  known.described.inode = described.inode;
  known.described.close_on_exec = described.close_on_exec;
  known.copy = std::move(*copy);
  known.information = std::move(*information);
  known.flags = described.description.flags | (described.close_on_exec ? O_CLOEXEC : 0u);
  known.remote = *remote;
  struct stat st;
  if (::fstat(known.copy.get(), &st) < 0) return;
  known.changed = st.st_ctim;
  known.quiet = !known.remote && is_past(st.st_ctim);
  // The first look at a file of /proc takes three times as long as those that follow.
  const auto info = information_of(known);
  if (!info) return;
  if (has_a_name(described.description) && name_of(known.copy) != described.description.path)
    return;
  known.mount = info->mount;
  known.inode_tells = info->inode == st.st_ino && stands_for_file(known.copy.get(), st);
  known_.insert_or_assign({process, fd}, std::move(known));
}

std::optional<proc::FdInfo> KnownFiles::information_of(const Known& known) {
  char text[512];
  const ssize_t n = ::pread(known.information.get(), text, sizeof text, 0);
  if (n <= 0 || n == sizeof text) return std::nullopt;
  auto info = proc::parse_fdinfo({text, static_cast<size_t>(n)});
  if (!info) return std::nullopt;
  return std::move(info).value();
}

bool KnownFiles::has_its_name(const Known& known) {
  const std::string& path = known.described.description.path;
  const auto directory = std::string_view(path).substr(0, path.rfind('/') + 1);
  struct stat st;
  if (known.quiet && standing_.contains(directory) && ::fstat(known.copy.get(), &st) == 0 &&
      st.st_nlink > 0 && st.st_ctim.tv_sec == known.changed.tv_sec &&
      st.st_ctim.tv_nsec == known.changed.tv_nsec)
    return true;
  if (name_of(known.copy) != path) return false;
  standing_.emplace(directory);
  return true;
}

void KnownFiles::prepare(int held_on) {
  constexpr size_t kEnough = 32;  // fewer are looked at before a thread has woken up
  if (known_.size() < kEnough) return;
  crew_ = std::make_unique<Crew>(1, [held_on](size_t) {
    go_first();
    keep_off(held_on);  // it would wait behind the engine, or the engine behind it
  });
}

void KnownFiles::begin() {
  if (!crew_) return;
  crew_->begin({[this] {
    for (const auto& [key, known] : known_) found_.emplace(key, look_at(key, known));
  }});
}

void KnownFiles::finish() {
  if (!crew_) return;
  crew_->join();
  crew_.reset();
}

void KnownFiles::clear() {
  finish();
  known_.clear();
  found_.clear();
}

std::optional<Described> KnownFiles::still(Tid process, int fd) {
  finish();
  const Key key{process, fd};
  if (const auto found = found_.find(key); found != found_.end()) return std::move(found->second);
  const auto at = known_.find(key);
  return at == known_.end() ? std::nullopt : look_at(key, at->second);
}

std::optional<Described> KnownFiles::look_at(const Key& key, const Known& known) {
  const auto info = information_of(known);
  // Any other line is a lock.
  if (!info || info->flags != known.flags || !info->rest.empty()) return std::nullopt;
  const bool same = known.inode_tells
                        ? info->inode == known.described.inode && info->mount == known.mount
                        : ::syscall(SYS_kcmp, key.first.value, self_, KCMP_FILE, key.second,
                                    known.copy.get()) == 0;
  if (!same || (has_a_name(known.described.description) && !has_its_name(known)))
    return std::nullopt;
  Described now;
  now.description = known.described.description;
  now.description.position = info->position;
  now.device = known.described.device;
  now.inode = known.described.inode;
  now.close_on_exec = known.described.close_on_exec;
  if (!describe_owner(known.copy, now.description, now.description.path)) return std::nullopt;
  if (known.remote) now.file = Fd(::fcntl(known.copy.get(), F_DUPFD_CLOEXEC, 0));
  return now;
}

}  // namespace hob::migrate
