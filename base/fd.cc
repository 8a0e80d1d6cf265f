#include "base/fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace hob {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<Fd> Fd::duplicate() const {
  int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return Error::sys("duplicate", "descriptor " + std::to_string(fd_));
  return Fd(fd);
}

Result<Fd> open_file(const std::string& path, int flags, unsigned mode) {
  int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return Error::sys("open", path);
  return Fd(fd);
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  Fd fd = TRY(open_file(path, O_RDONLY));
  std::string data;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("read", path);
    if (n == 0) return data;
    data.append(buffer, static_cast<size_t>(n));
    if (data.size() > limit) return Error::sys("read", path, EFBIG);
  }
}

Result<void> write_control(const std::string& path, std::string_view data) {
  Fd fd = TRY(open_file(path, O_WRONLY));
  const ssize_t n = ::write(fd.get(), data.data(), data.size());
  const int code = n < 0 ? errno : EIO;  // a part of it taken: the kernel understood something else
  if (n != static_cast<ssize_t>(data.size()))
    return Error::sys("write '" + std::string(data) + "' to", path, code);
  return {};
}

Result<void> replace_file(const std::string& path, std::string_view data, unsigned mode,
                          bool durable) {
  const std::string temporary = path + ".new";
  // One that a crash left behind may have another mode, or be a link to somewhere else.
  if (::unlink(temporary.c_str()) < 0 && errno != ENOENT) return Error::sys("remove", temporary);
  Fd fd = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  const auto write_and_rename = [&]() -> Result<void> {
    TRY(write_all(fd.get(), std::as_bytes(std::span(data)), temporary));
    if (durable && ::fsync(fd.get()) < 0) return Error::sys("fsync", temporary);
    if (::rename(temporary.c_str(), path.c_str()) < 0) return Error::sys("rename into", path);
    return {};
  };
  if (Result<void> replaced = write_and_rename(); !replaced.ok()) {
    ::unlink(temporary.c_str());
    return replaced;
  }
  if (durable) {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    Fd parent = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
    if (::fsync(parent.get()) < 0) return Error::sys("fsync", directory);
  }
  return {};
}

Result<void> make_directories(const std::string& path, unsigned mode) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST) return Error::sys("mkdir", part);
    if (end == std::string::npos) break;
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0) return Error::sys("mkdir", path);
  if (!S_ISDIR(status.st_mode)) return Error::sys("mkdir", path, ENOTDIR);
  return {};
}

Result<std::string> read_link(const std::string& path) {
  char buffer[4096];
  ssize_t n = ::readlink(path.c_str(), buffer, sizeof buffer);
  if (n < 0) return Error::sys("readlink", path);
  if (n == sizeof buffer) return Error::sys("readlink", path, ENAMETOOLONG);
  return std::string(buffer, static_cast<size_t>(n));
}

Result<void> write_all(int fd, std::span<const std::byte> data, std::string_view subject) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("write", subject);
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<void> write_at(int fd, std::span<const std::byte> data, uint64_t offset,
                      std::string_view what, std::string_view subject) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::sys(what, subject, n < 0 ? errno : EIO);
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> read_at(int fd, std::span<std::byte> data, uint64_t offset, std::string_view what,
                     std::string_view subject) {
  while (!data.empty()) {
    const ssize_t n = ::pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys(what, subject);
    if (n == 0)
      return Error{std::string(what) + " " + std::string(subject) + ": it ends too early", EIO};
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<void> set_nonblocking(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    return Error::sys("set non-blocking", "descriptor " + std::to_string(fd));
  return {};
}

Result<Pipe> make_pipe(int flags) {
  int ends[2];
  if (::pipe2(ends, flags | O_CLOEXEC) < 0) return Error::sys("pipe", "");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<std::pair<Fd, Fd>> make_socket_pair(bool nonblocking) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0,
                   ends) < 0)
    return Error::sys("socketpair", "");
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace hob
