#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/proc.h"
#include "migrate/scratch.h"
#include "migrate/types.h"

/// File locks: flock(2), and the two kinds of fcntl(2), POSIX (a process's) and OFD (an open file
/// description's). Leases are obstacles.
///
/// Where both hosts see the same file, the source's lock stands in the way of the target's; and
/// between giving it up here and taking it there a stranger could come in. So:
/// 1. Before the commit the source keeps all its locks: whatever fails, nothing has to be taken
///    back. The target takes the locks for reading beside the source's, and tries those for
///    writing. They can be had at once where the hosts do not share the file; else they wait. Any
///    other answer than "somebody has it" ends the move here.
/// 2. After the commit (handover.h) the source makes its locks for writing locks for reading, in
///    one step of the kernel's; the target takes the same beside them; the source closes all it has
///    open; the target makes its own locks for writing again.
/// At no moment can another take such a lock for writing. One who takes it for reading in the
/// fraction of a millisecond of step 2 makes the guest wait, frozen, until he gives it back. A
/// descriptor that is open for writing alone cannot have a lock for reading (fcntl(2)): then
/// everybody can come in, and the guest waits as well. Whoever waits for a lock of the guest's
/// already would come in for sure: that is an obstacle.
/// If the source dies meanwhile the kernel, or the file server, frees its locks.
namespace hob::migrate {

/// One "lock:" line of /proc/PID/fdinfo/N.
struct FoundLock {
  LockKind kind = LockKind::flock;
  bool write = false;
  uint64_t start = 0, end = kLockToEnd;
  std::string file;  ///< "fe:01:1234", as in /proc/locks
};
/// An Error with code kObstacle: a lease on `subject`.
Result<std::vector<FoundLock>> parse_locks(const proc::FdInfo& info, const std::string& subject);

/// The source's side: collects locks while the descriptors of the tree are looked at, one by one.
class LockCollector {
 public:
  explicit LockCollector(Image& image) : image_(image) {}
  /// `fresh`: the first descriptor of its description; `fresh_here`: the first in this process.
  void add(size_t process, int descriptor, const std::vector<FoundLock>& found, bool fresh,
           bool fresh_here);
  /// kObstacle: somebody outside waits for one of them.
  Result<void> finish();

 private:
  Image& image_;
  std::vector<std::string> written_files_;
};
/// Who waits for a lock on one of `files`: pid, or 0. Pure; `text` is /proc/locks.
pid_t waiter(std::string_view text, std::span<const std::string> files);

/// How to set locks in the processes of an image, on either side.
struct LockHands {
  std::function<Tid(uint32_t process)> pid;
  /// Lends the leader of a process to `call`.
  std::function<Result<void>(uint32_t process,
                             const std::function<Result<void>(const Foothold&)>& call)>
      lend;
};
enum class LockMode { read, write };
/// Sets the locks to `mode`, without waiting. Returns those that others stand in the way of, or
/// that cannot have this mode at all (EBADF: see above).
Result<std::vector<const LockImage*>> set_locks(std::span<const LockImage* const> locks,
                                                LockMode mode, const LockHands& hands);

std::vector<const LockImage*> locks_of(const Image& image, bool write);
/// "the lock on /tmp/file"
std::string name_of(const Image& image, const LockImage& lock);

}  // namespace hob::migrate
