#include "migrate/pipes.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "migrate/proc.h"

namespace hob::migrate {

Result<PipeImage> peek_pipe(Tid process, int fd) {
  const std::string path = proc::path(process, "fd/" + std::to_string(fd));
  Fd pipe = TRY(open_file(path, O_RDONLY | O_NONBLOCK));
  PipeImage out;
  const int capacity = ::fcntl(pipe.get(), F_GETPIPE_SZ);
  int waiting = 0;
  if (capacity < 0 || ::ioctl(pipe.get(), FIONREAD, &waiting) < 0)
    return Error::sys("look into", path);
  out.capacity = static_cast<uint32_t>(capacity);
  if (waiting == 0) return out;
  Pipe copy = TRY(make_pipe(O_NONBLOCK));
  // Of the same size: tee(2) copies buffer by buffer, full or not.
  if (::fcntl(copy.write_end.get(), F_SETPIPE_SZ, capacity) < 0)
    return Error::sys("enlarge", "a pipe");
  const ssize_t n = ::tee(pipe.get(), copy.write_end.get(), static_cast<size_t>(waiting), 0);
  if (n != waiting) return Error::sys("copy the bytes in", path, n < 0 ? errno : EIO);
  out.content.resize(static_cast<size_t>(n));
  if (::read(copy.read_end.get(), out.content.data(), out.content.size()) != n)
    return Error::sys("copy the bytes in", path);
  return out;
}

}  // namespace hob::migrate
