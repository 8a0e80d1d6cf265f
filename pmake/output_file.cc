#include "pmake/output_file.h"

#include <unistd.h>

#include <utility>

namespace hob::pmake {

OutputFile::OutputFile(std::string path)
    : path_(std::move(path)), was_(!path_.empty() && ::stat(path_.c_str(), &before_) == 0) {}

Result<void> OutputFile::remove_if_changed() const {
  struct stat now {};
  if (path_.empty() || ::stat(path_.c_str(), &now) != 0 || !S_ISREG(now.st_mode)) return {};
  const bool same = was_ && now.st_ino == before_.st_ino && now.st_size == before_.st_size &&
                    now.st_mtim.tv_sec == before_.st_mtim.tv_sec &&
                    now.st_mtim.tv_nsec == before_.st_mtim.tv_nsec;
  if (!same && ::unlink(path_.c_str()) < 0)
    return Error::sys("remove", path_, errno, "it may be half written");
  return {};
}

}  // namespace hob::pmake
