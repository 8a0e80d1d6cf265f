#include "migrate/known_files.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/notices.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

bool is_worth_it(const Described& d) {
  return (d.description.kind == DescriptionKind::regular ||
          d.description.kind == DescriptionKind::directory) &&
         d.locks.empty() && d.description.owner_type == 0;
}

// Two descriptors of ours for each; as many again are left for everything else.
bool has_room(size_t known) {
  rlimit limit = {};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && known * 4 < limit.rlim_cur;
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
  // The first look at a link of /proc takes three times as long as those that follow.
  if (name_of(known.copy) != described.description.path) return;
  known_.insert_or_assign({process, fd}, std::move(known));
}

std::optional<Described> KnownFiles::still(Tid process, int fd) const {
  const auto at = known_.find({process, fd});
  if (at == known_.end()) return std::nullopt;
  const Known& known = at->second;
  if (::syscall(SYS_kcmp, process.value, ::getpid(), KCMP_FILE, fd, known.copy.get()) != 0)
    return std::nullopt;
  const std::string& path = known.described.description.path;
  if (name_of(known.copy) != path) return std::nullopt;
  char text[512];
  const ssize_t n = ::pread(known.information.get(), text, sizeof text, 0);
  if (n <= 0 || n == sizeof text) return std::nullopt;
  const auto info = proc::parse_fdinfo({text, static_cast<size_t>(n)});
  // Any other line is a lock.
  if (!info || info->flags != known.flags || !info->rest.empty()) return std::nullopt;
  Described now;
  now.description = known.described.description;
  now.description.position = info->position;
  now.device = known.described.device;
  now.inode = known.described.inode;
  now.close_on_exec = known.described.close_on_exec;
  if (!describe_owner(known.copy, now.description, path)) return std::nullopt;
  if (known.remote) now.file = Fd(::fcntl(known.copy.get(), F_DUPFD_CLOEXEC, 0));
  return now;
}

}  // namespace hob::migrate
