#include "migrate/locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "migrate/parts.h"

namespace hob::migrate {

Result<std::vector<FoundLock>> parse_locks(const proc::FdInfo& info, const std::string& subject) {
  std::vector<FoundLock> found;
  for (const std::string& line : info.rest) {
    if (line.compare(0, 5, "lock:") != 0) continue;
    char kind[16], mode[16], access[16], file[64], start[32], end[32];
    if (std::sscanf(line.c_str() + 5, " %*d: %15s %15s %15s %*d %63s %31s %31s", kind, mode, access,
                    file, start, end) != 6)
      return Error{"read a file lock: the kernel's text has an unknown form", EPROTO};
    FoundLock lock;
    const std::string_view name = kind;
    if (name == "FLOCK")
      lock.kind = LockKind::flock;
    else if (name == "POSIX")
      lock.kind = LockKind::posix;
    else if (name == "OFDLCK")
      lock.kind = LockKind::ofd;
    else  // LEASE, DELEG, LAYOUT
      return obstacle(subject, "a lease (F_SETLEASE)");
    lock.write = std::string_view(access) == "WRITE";
    lock.start = std::strtoull(start, nullptr, 10);
    lock.end = std::string_view(end) == "EOF" ? kLockToEnd : std::strtoull(end, nullptr, 10);
    lock.file = file;
    found.push_back(std::move(lock));
  }
  return found;
}

void LockCollector::add(size_t process, int descriptor, const std::vector<FoundLock>& found,
                        bool fresh, bool fresh_here) {
  for (const FoundLock& lock : found) {
    // POSIX locks are shown to the process that owns them, the others to all that share the
    // description.
    if (lock.kind == LockKind::posix ? !fresh_here : !fresh) continue;
    image_.locks.push_back({lock.kind, static_cast<uint8_t>(lock.write),
                            static_cast<uint32_t>(process), descriptor, lock.start, lock.end});
    if (lock.write) written_files_.push_back(lock.file);
  }
}

pid_t waiter(std::string_view text, std::span<const std::string> files) {
  while (!text.empty()) {
    const std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    pid_t pid = 0;
    char file[64];
    if (std::sscanf(line.c_str(), "%*d: -> %*s %*s %*s %d %63s", &pid, file) != 2) continue;
    if (std::find(files.begin(), files.end(), file) != files.end()) return pid;
  }
  return 0;
}

Result<void> LockCollector::finish() {
  if (written_files_.empty()) return {};
  // The guest's own members have been interrupted in their waits, and wait again when they run.
  const pid_t pid = waiter(TRY(read_file("/proc/locks")), written_files_);
  if (pid == 0) return {};
  return obstacle("a file lock of the guest's", "another program (process " + std::to_string(pid) +
                                                    " of this host) waits for it");
}

namespace {

struct flock range_of(const LockImage& lock, LockMode mode) {
  struct flock range = {};
  range.l_type = mode == LockMode::write ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(lock.start);
  range.l_len = lock.end == kLockToEnd ? 0 : static_cast<off_t>(lock.end - lock.start + 1);
  return range;
}

// In the way of it, or not to be had with this descriptor: for the caller to think of.
bool ordinary(int code) {
  return code == EAGAIN || code == EACCES || code == EBADF;
}

Result<bool> set_by_description(const LockImage& lock, LockMode mode, Tid process) {
  const Fd file = TRY(proc::borrow_descriptor(process, lock.descriptor));
  struct flock range = range_of(lock, mode);
  const int done =
      lock.kind == LockKind::flock
          ? ::flock(file.get(), (mode == LockMode::write ? LOCK_EX : LOCK_SH) | LOCK_NB)
          : ::fcntl(file.get(), F_OFD_SETLK, &range);
  if (done == 0) return true;
  if (ordinary(errno)) return false;
  return Error::sys("lock", "descriptor " + std::to_string(lock.descriptor));
}

/// All of one process: such a lock belongs to whoever makes the call.
Result<void> set_by_process(const Foothold& foothold, std::span<const LockImage* const> locks,
                            LockMode mode, std::vector<const LockImage*>& left) {
  const size_t size =
      (2 * kPage + Batch::space(locks.size()) + locks.size() * 2 * sizeof(struct flock)) |
      (kPage - 1);
  Scratch scratch = TRY(Scratch::borrow(foothold, size + 1));
  Batch batch;
  for (const LockImage* lock : locks) {
    const RemoteAddress range = scratch.workspace().put(range_of(*lock, mode));
    batch.then(SYS_fcntl, {static_cast<uint64_t>(lock->descriptor), F_SETLK, range.value},
               [&left, lock](int64_t result) -> Result<void> {
                 if (result == 0) return {};
                 if (!ordinary(static_cast<int>(-result)))
                   return Error::sys("lock", "descriptor " + std::to_string(lock->descriptor),
                                     static_cast<int>(-result));
                 left.push_back(lock);
                 return {};
               });
  }
  batch.place(scratch.workspace());
  TRY(scratch.write());
  TRY(batch.start(foothold.thread, scratch.workspace(), foothold.registers));
  TRY(batch.wait(foothold.thread));
  TRY(scratch.read());
  return batch.finish(scratch.workspace());
}

}  // namespace

Result<std::vector<const LockImage*>> set_locks(std::span<const LockImage* const> locks,
                                                LockMode mode, const LockHands& hands) {
  std::vector<const LockImage*> left;
  std::map<uint32_t, std::vector<const LockImage*>> of_processes;
  for (const LockImage* lock : locks) {
    if (lock->kind == LockKind::posix)
      of_processes[lock->process].push_back(lock);
    else if (!TRY(set_by_description(*lock, mode, hands.pid(lock->process))))
      left.push_back(lock);
  }
  for (const auto& [process, own] : of_processes)
    TRY(hands.lend(process, [&own = own, mode, &left](const Foothold& foothold) {
      return set_by_process(foothold, own, mode, left);
    }));
  return left;
}

std::vector<const LockImage*> locks_of(const Image& image, bool write) {
  std::vector<const LockImage*> locks;
  for (const LockImage& lock : image.locks)
    if ((lock.write != 0) == write) locks.push_back(&lock);
  return locks;
}

std::string name_of(const Image& image, const LockImage& lock) {
  for (const DescriptorImage& d : image.processes[lock.process].descriptors)
    if (d.number == lock.descriptor) return "the lock on " + image.descriptions[d.description].path;
  return "a file lock";
}

}  // namespace hob::migrate
