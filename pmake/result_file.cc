#include "pmake/result_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <span>

#include "base/fd.h"

namespace hob::pmake {
namespace {

/// Where the links end; what is not there is what it is called.
std::filesystem::path resolved(const std::string& path) {
  std::error_code code;
  const auto real = std::filesystem::canonical(path, code);
  return code ? std::filesystem::absolute(path) : real;
}

/// A device, a pipe, or a file that is somebody's descriptor: it is written into, not replaced.
bool is_stream(const std::string& path) {
  struct stat status {};
  return path.starts_with("/dev/") || path.starts_with("/proc/") ||
         (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode));
}

}  // namespace

ResultFile trace_file(const std::string& path) {
  return {path, "trace", "{\"displayTimeUnit\""};
}
ResultFile report_file(const std::string& path) {
  return {path, "report", "<!doctype html>\n<!-- The page of `pmake --report`"};
}

Result<void> ResultFile::check() const {
  if (path.empty()) return {};
  const std::string subject = fmt::format("the {} {}", what, path);
  struct stat status {};
  const bool there = ::stat(path.c_str(), &status) == 0;
  if (!there && errno != ENOENT) return Error::sys("write", subject);
  if (there && S_ISDIR(status.st_mode)) return Error::sys("write", subject, EISDIR);
  const std::string place = is_stream(path) ? path : resolved(path).parent_path().string();
  if (::access(place.c_str(), W_OK) < 0) return Error::sys("write", subject);
  if (!there || is_stream(path) || status.st_size == 0) return {};
  const Fd file = TRY(open_file(path, O_RDONLY));
  std::string start(beginning.size(), '\0');
  if (::pread(file.get(), start.data(), start.size(), 0) < 0) return Error::sys("read", path);
  if (start == beginning) return {};
  return Error{
      fmt::format("write {}: there is a file which is no {}; give another name", subject, what),
      EEXIST};
}

Result<void> ResultFile::write(const std::string& text) const {
  if (path.empty()) return {};
  TRY(check());  // a recipe may have made something there
  if (!is_stream(path)) return replace_file(resolved(path).string(), text);
  const Fd file = TRY(open_file(path, O_WRONLY | O_APPEND));
  return write_all(file.get(), std::as_bytes(std::span(text)), path);
}

}  // namespace hob::pmake
