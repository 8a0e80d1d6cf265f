#include "migrate/fifos.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "migrate/files.h"
#include "migrate/here.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

bool has_open(pid_t pid, const struct stat& file) {
  const Directory fds(::opendir(proc::path(Tid{pid}, "fd").c_str()), ::closedir);
  if (!fds) return false;  // has ended
  while (const dirent* entry = ::readdir(fds.get())) {
    struct stat st {};
    if (entry->d_name[0] != '.' && ::fstatat(::dirfd(fds.get()), entry->d_name, &st, 0) == 0 &&
        st.st_dev == file.st_dev && st.st_ino == file.st_ino)
      return true;
  }
  return false;
}

}  // namespace

Result<pid_t> user_outside(const struct stat& file, const std::set<pid_t>& tree) {
  const Directory processes(::opendir("/proc"), ::closedir);
  if (!processes) return Error::sys("open", "/proc");
  while (const dirent* entry = ::readdir(processes.get())) {
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid > 0 && !tree.count(pid) && has_open(pid, file)) return pid;
  }
  return 0;
}

Result<Fd> open_fifo(const PipeImage& image, bool has_writer, const std::string& machine,
                     const Credentials& user) {
  AsUser rights(user);
  // Opened for both it waits for nobody (fifo(7)). A reader that has never met a writer is not hung
  // up (poll(2)), so it must not meet one here either.
  const bool both = has_writer || image.hung_up || !image.content.empty();
  Fd fd = TRY(open_file(image.path, (both ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOFOLLOW));
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return Error::sys("look at", image.path);
  if (!S_ISFIFO(st.st_mode))
    return Error{"open " + image.path + ": it is not what it was at the source", ENODEV};
  if (machine == TRY(this_machine()) && st.st_dev == image.device && st.st_ino == image.inode)
    return fd;
  if (image.capacity && ::fcntl(fd.get(), F_SETPIPE_SZ, image.capacity) < 0)
    return Error::sys("set the capacity of", image.path, errno, "raise fs.pipe-max-size here");
  const auto size = static_cast<ssize_t>(image.content.size());
  if (size && ::write(fd.get(), image.content.data(), image.content.size()) != size)
    return Error::sys("fill", image.path, EAGAIN, "does another program use it here?");
  return fd;
}

}  // namespace hob::migrate
