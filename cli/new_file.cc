#include "cli/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

namespace hob::cli {
namespace {

Error taken(const std::string& path) {
  return Error::sys("create", path, EEXIST, "remove it first if it is not needed any more");
}

}  // namespace

Result<NewFile> NewFile::create(const std::string& path, std::string_view content, unsigned mode) {
  if (::access(path.c_str(), F_OK) == 0) return taken(path);
  NewFile file(path);
  // O_EXCL: two that run at once do not write into one file.
  Fd fd(::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) {
    const Error error = Error::sys("create", file.temporary_);
    file.temporary_.clear();  // not ours to remove
    return error;
  }
  TRY(write_all(fd.get(), std::as_bytes(std::span(content)), file.temporary_));
  if (::fsync(fd.get()) < 0) return Error::sys("write", file.temporary_);
  return file;
}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      committed_(other.committed_) {
  other.temporary_.clear();
}

NewFile::~NewFile() {
  if (!committed_ && !temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> NewFile::commit() {
  // link(2), not rename(2): it does not replace what has come meanwhile.
  if (::link(temporary_.c_str(), path_.c_str()) < 0)
    return errno == EEXIST ? taken(path_) : Error::sys("create", path_);
  ::unlink(temporary_.c_str());
  committed_ = true;
  return {};
}

void NewFile::take_back() {
  if (committed_) ::unlink(path_.c_str());
}

}  // namespace hob::cli
