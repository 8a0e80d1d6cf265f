#include "migrate/descriptor_table.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/proc.h"

namespace hob::migrate {

Result<DescriptorTable> DescriptorTable::of(Tid process) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.value, 0)));
  if (!pidfd) return Error::sys("reach process", std::to_string(process.value));
  Fd links = TRY(open_file(proc::path(process, "fd"), O_PATH | O_DIRECTORY));
  Fd information = TRY(open_file(proc::path(process, "fdinfo"), O_PATH | O_DIRECTORY));
  return DescriptorTable(process, std::move(pidfd), std::move(links), std::move(information));
}

std::string DescriptorTable::name(const char* directory, int number) const {
  return proc::path(process_, directory) + "/" + std::to_string(number);
}

Result<Fd> DescriptorTable::take(int number) const {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), number, 0)));
  if (!fd) return Error::sys("take over", name("fd", number));
  return fd;
}

Result<std::string> DescriptorTable::link(int number) const {
  char text[PATH_MAX];
  const ssize_t n = ::readlinkat(links_.get(), std::to_string(number).c_str(), text, sizeof text);
  if (n < 0) return Error::sys("read the link", name("fd", number));
  return std::string(text, static_cast<size_t>(n));
}

Result<std::string> DescriptorTable::information(int number) const {
  Fd file(::openat(information_.get(), std::to_string(number).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Error::sys("open", name("fdinfo", number));
  std::string data;
  char buffer[4096];
  for (ssize_t n = sizeof buffer; n == sizeof buffer;) {  // one record: a short one is the end
    n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0) return Error::sys("read", name("fdinfo", number));
    data.append(buffer, static_cast<size_t>(n));
  }
  return data;
}

}  // namespace hob::migrate
