#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hob {

/// Owns one file descriptor; closes it when it goes.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);
  /// A second descriptor of the same open file, close-on-exec.
  Result<Fd> duplicate() const;

 private:
  int fd_ = -1;
};

/// open(2), always with O_CLOEXEC. The Error names the path.
Result<Fd> open_file(const std::string& path, int flags, unsigned mode = 0);

/// All bytes of a file, also of /proc files that report no size. Refuses more than `limit` bytes.
Result<std::string> read_file(const std::string& path, size_t limit = 64u << 20);

/// Writes `data` in one write(2), as cgroup and /proc files want it; does not create the file.
Result<void> write_control(const std::string& path, std::string_view data);

/// Writes a whole file and renames it into place, so that readers see the old or the new one, never
/// a part; it has `mode` (less the umask) from its first byte on. With `durable` file and directory
/// are fsynced before it returns. Writers of the same path must not overlap: the new file is
/// PATH.new.
Result<void> replace_file(const std::string& path, std::string_view data, unsigned mode = 0644,
                          bool durable = false);

/// Creates a directory and its missing parents (mkdir -p).
Result<void> make_directories(const std::string& path, unsigned mode = 0755);

/// readlink(2) as a string.
Result<std::string> read_link(const std::string& path);

/// Writes all bytes to a blocking descriptor; `subject` names it in the Error.
Result<void> write_all(int fd, std::span<const std::byte> data, std::string_view subject);

/// All bytes at `offset` of a file. `what` is the verb and `subject` its object in the Error; a
/// file that ends too early is one, EIO.
Result<void> write_at(int fd, std::span<const std::byte> data, uint64_t offset,
                      std::string_view what, std::string_view subject);
Result<void> read_at(int fd, std::span<std::byte> data, uint64_t offset, std::string_view what,
                     std::string_view subject);

/// Sets O_NONBLOCK.
Result<void> set_nonblocking(int fd);

struct Pipe {
  Fd read_end;
  Fd write_end;
};
/// pipe2(2) with `flags` (O_CLOEXEC is always added).
Result<Pipe> make_pipe(int flags = 0);

/// A connected pair of unix stream sockets, close-on-exec, non-blocking if `nonblocking`.
Result<std::pair<Fd, Fd>> make_socket_pair(bool nonblocking);

}  // namespace hob
