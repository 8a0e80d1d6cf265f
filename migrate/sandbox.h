#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "migrate/cgroup.h"

namespace hob::migrate {

/// The submitting user, as home vouches for it. Never root: `start` and `receive` refuse uid 0.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

/// What a guest's clocks show minus what this host's show, so that its CLOCK_MONOTONIC and
/// CLOCK_BOOTTIME go on without a step wherever it runs (time_namespaces(7)). Home's clock is the
/// guest's clock.
struct ClockOffsets {
  Duration monotonic{0};
  Duration boottime{0};
};

/// The namespaces (pid, mount, uts, ipc, time) and the cgroup in which one guest lives on this
/// host.
///
/// Made in two steps, because most of the cost does not depend on the job: create() can be done in
/// advance (hosts keep a spare), furnish() when the job is known. A small init (pid 1 inside) holds
/// the namespaces and reaps orphans; it is a child of the calling process and dies with it. The
/// guest's root process is a child of the calling process as well (it sees parent pid 0), so that
/// its exit status is read by waitpid(2).
///
/// Dropping the object kills what is left inside, waits for it (bounded), and removes the cgroup:
/// nothing of the guest stays on the host. Single-threaded: use it on the thread that created it.
class Sandbox {
 public:
  /// `cgroup` is the path of a directory to be made, below a parent that exists (see cgroup.h).
  static Result<Sandbox> create(const std::string& cgroup);
  Sandbox(Sandbox&&) noexcept;
  Sandbox& operator=(Sandbox&&) noexcept;
  ~Sandbox();

  /// Host name of home and clocks of home. Once, before the first clone().
  Result<void> furnish(const std::string& host_name, ClockOffsets offsets);

  /// A copy of the calling process inside the sandbox (namespaces entered, cgroup joined), still
  /// with root's rights, with process id `inside` as seen from within (clone3 set_tid). `body` runs
  /// in the child and must end in _exit or exec. Returns the pid as this host sees it.
  ///
  /// The calling process must have one thread (time namespaces can be changed by no other), and it
  /// gets its own pid and time namespaces back before this returns. If the child cannot enter the
  /// sandbox, it exits with status 125 before `body`, and says why in the log.
  Result<pid_t> clone(pid_t inside, const std::function<void()>& body);

  /// Nothing of its guest is left: init is alone, no shared memory, queue or semaphore of System V
  /// is in its namespace, nothing in its /dev/shm. Then it can serve another job of the same user
  /// and home as it is. For after the root process has been waited for.
  Result<bool> clean();

  /// A new pty of the sandbox's own devpts: its master, locked, non-blocking.
  Result<Fd> open_terminal() const;

  Cgroup& cgroup();
  /// The init process, as this host sees it. Its /proc/PID/ns entries are the sandbox's namespaces.
  pid_t init() const;
  /// Kills everything inside and waits at most `limit` until it is gone and the cgroup is removed.
  /// Reaps the processes made by clone() that the caller has not waited for: who wants their exit
  /// status waits first. What the caller traces inside without being its parent, it must have
  /// detached from or reap.
  Result<void> destroy(Duration limit = seconds(10));

 private:
  struct State;
  explicit Sandbox(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hob::migrate
