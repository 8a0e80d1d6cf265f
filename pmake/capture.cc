#include "pmake/capture.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "cli/say.h"

namespace hob::pmake {
namespace {

constexpr int kNumbers[] = {STDOUT_FILENO, STDERR_FILENO};

bool same_file(int a, int b) {
  struct stat first {
  }, second{};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

Result<void> copy(int from, int to, std::string_view name) {
  if (::lseek(from, 0, SEEK_SET) < 0) return Error::sys("rewind", name);
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(from, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("read", name);
    if (n == 0) return {};
    TRY(write_all(to, std::as_bytes(std::span(buffer, static_cast<size_t>(n))), name));
  }
}

}  // namespace

Capture::Capture() : same_(same_file(STDOUT_FILENO, STDERR_FILENO)), on_(true) {
  for (int i = 0; i < 2; ++i) {
    if (i == 1 && same_) {
      streams_[1].original = Fd(::dup(kNumbers[1]));
      if (streams_[0].kept) ::dup2(streams_[0].kept.get(), kNumbers[1]);
      continue;
    }
    // Appending: what two descriptors of one file write comes one after the other.
    Fd kept{::memfd_create("recipe-output", MFD_CLOEXEC)};
    Fd original{::dup(kNumbers[i])};
    if (!kept || !original) continue;
    ::dup2(kept.get(), kNumbers[i]);
    streams_[i] = {std::move(original), std::move(kept)};
  }
}

void Capture::end(bool show) {
  if (!std::exchange(on_, false)) return;
  for (int i = 0; i < 2; ++i)
    if (streams_[i].original) ::dup2(streams_[i].original.get(), kNumbers[i]);
  if (!show) return;
  for (int i = 0; i < 2; ++i) {
    if (!streams_[i].kept) continue;
    auto copied = copy(streams_[i].kept.get(), kNumbers[i], i == 0 ? "stdout" : "stderr");
    if (!copied.ok()) cli::say(copied.error().text);
  }
}

}  // namespace hob::pmake
