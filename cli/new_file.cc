#include "cli/new_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

namespace hob::cli {
namespace {

Error taken(const std::string& path) {
  return Error::sys("create", path, EEXIST, "remove it first if it is not needed any more");
}

}  // namespace

Result<NewFile> NewFile::create(const std::string& path, std::string_view content, unsigned mode) {
  if (::access(path.c_str(), F_OK) == 0) return taken(path);
  NewFile file(path);
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  file.fd_.reset(::open(directory.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, mode));
  if (!file.fd_ && errno == EOPNOTSUPP) {
    file.temporary_ = path + ".new";
    // O_EXCL: two that run at once do not write into one file.
    file.fd_.reset(::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!file.fd_) return Error::sys("create", std::exchange(file.temporary_, {}));
  }
  if (!file.fd_) return Error::sys("create", path);
  TRY(write_all(file.fd_.get(), std::as_bytes(std::span(content)), path));
  if (::fsync(file.fd_.get()) < 0) return Error::sys("write", path);
  return file;
}

NewFile::~NewFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> NewFile::commit() {
  const std::string from =
      temporary_.empty() ? fmt::format("/proc/self/fd/{}", fd_.get()) : temporary_;
  // A link, not rename(2): it does not replace what has come meanwhile.
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) < 0)
    return errno == EEXIST ? taken(path_) : Error::sys("create", path_);
  committed_ = true;
  return {};
}

void NewFile::take_back() {
  if (committed_) ::unlink(path_.c_str());
}

}  // namespace hob::cli
