#include "pmake/result_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace hob::pmake {
namespace {

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace

ResultFile trace_file(const std::string& path) {
  return {path, "trace", "{\"displayTimeUnit\""};
}
ResultFile report_file(const std::string& path) {
  return {path, "report", "<!doctype html>"};
}

Result<void> ResultFile::check() const {
  if (path.empty()) return {};
  const std::string subject = fmt::format("the {} {}", what, path);
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0) {
    if (errno != ENOENT) return Error::sys("write", subject);
  } else if (S_ISREG(status.st_mode) && status.st_size > 0) {
    const Fd file = TRY(open_file(path, O_RDONLY));
    std::string start(beginning.size(), '\0');
    const ssize_t n = ::pread(file.get(), start.data(), start.size(), 0);
    if (n < 0) return Error::sys("read", path);
    if (start != beginning)
      return Error{
          fmt::format("write {}: there is a file which is none; give another name", subject),
          EEXIST};
  } else if (!S_ISREG(status.st_mode)) {
    if (::access(path.c_str(), W_OK) < 0) return Error::sys("write", subject);
    return {};
  }
  if (::access(directory_of(path).c_str(), W_OK) < 0) return Error::sys("write", subject);
  return {};
}

Result<void> ResultFile::write(const std::string& text) const {
  if (path.empty()) return {};
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0 || S_ISREG(status.st_mode)) return replace_file(path, text);
  const Fd file = TRY(open_file(path, O_WRONLY));
  return write_all(file.get(), std::as_bytes(std::span(text)), path);
}

}  // namespace hob::pmake
