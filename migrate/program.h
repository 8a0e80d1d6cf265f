#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/sandbox.h"

struct sock_fprog;

namespace hob::migrate {

/// A resource limit that is the job's own (getrlimit(2)). RLIMIT_NICE and RLIMIT_RTPRIO are 0 for
/// guests, whatever is asked. One above what the starter may give is an error.
struct Limit {
  int resource;
  rlimit value;
};

/// What to run, as the shadow saw it. Every string is bytes, not text.
struct Program {
  std::vector<std::string> arguments;  ///< argv; arguments[0] is looked up in the job's own PATH
  std::vector<std::string> environment;
  std::string directory;
  mode_t umask = 022;
  std::vector<Limit> limits;
  Credentials user;
  bool foreign = true;    ///< of another home: lowest priority, first to go when memory is short
  bool terminal = false;  ///< `in` is a pty slave: becomes the controlling terminal
  std::array<bool, 3> closed{};  ///< standard streams that it begins without
};

/// The guest's ends of its standard streams; for a terminal all three are the pty slave.
struct Stdio {
  Fd in, out, err;
};

/// The guest's root process always has this pid inside its sandbox.
inline constexpr pid_t kRootPid = 2;

/// Starts the program in the sandbox: session leader, the user's credentials, no new privileges, no
/// capabilities, the seccomp filter, lowest priority. Returns when execve(2) has succeeded, with
/// the pid as this host sees it; the process is a child of the caller.
///
/// Lowest priority is SCHED_IDLE, the idle class of the disk, and the highest out-of-memory score.
/// The share of the whole tree is the cgroup's matter (Cgroup::lowest_priority), and up to the
/// caller.
///
/// An Error whose code is ENOENT means "no such program" (exit status 127 by convention), any other
/// code "found but cannot be run" (126) or a failure of the sandbox; the text tells. Nothing of the
/// program has run then, and the sandbox can take another. Waits at most 30 s for execve(2), e.g.
/// while the sandbox is frozen or a file server is silent (ETIMEDOUT).
Result<pid_t> start(Sandbox& sandbox, const Program& program, Stdio stdio);

/// Gives all threads of a guest that has come from elsewhere the priority that start() gives to
/// foreign ones. Threads that begin meanwhile inherit it from theirs.
Result<void> lower_priority(const Cgroup& cgroup);

/// For a guest whose cgroup has just been told to freeze: lets its threads reach their stop before
/// anything else runs (SCHED_FIFO). As foreign threads (SCHED_IDLE) they would get a processor for
/// that last step only when nobody else wants one, and count as frozen no sooner; a frozen thread
/// runs no more of its own code, so the priority cannot be misused. Undone by lower_priority()
/// before a thaw. Threads with a timer slack of their own become ordinary ones only (urgency.h).
Result<void> hasten_stop(const Cgroup& cgroup);

/// Makes sure that nothing this process or its children execute gains a capability. A starter does
/// it once, so that confine() finds it done for each guest. False: errno says why.
bool drop_capabilities();

/// Gives up root for good in the calling thread, as every guest thread must have: bounding set,
/// groups, gid, uid, capabilities, no_new_privs, seccomp. Async-signal-safe; returns 0 or an errno
/// (EPERM for uid or gid 0).
///
/// Leaves the process not dumpable, because its memory is still a copy of a root process: execve(2)
/// ends that, and who replaces the memory in another way ends it with PR_SET_DUMPABLE.
int confine(const Credentials& user);

/// The filter that confine() installs: refuses what could hurt the host (mount, module, bpf, ...)
/// with EPERM, and what cannot be moved but has a fall-back in every sane program (io_uring,
/// userfaultfd, fanotify) with ENOSYS. The lists and their reasons are in seccomp_compile.cc.
const sock_fprog& seccomp_program();

}  // namespace hob::migrate
