#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/program.h"

namespace hob::migrate {

namespace {

bool clear_capability_sets() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  return ::syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

/// Capabilities leave through five sets. Bounding and inheritable must go while we still may change
/// them; the other three are emptied by setresuid(2) from root, and once more here for the case
/// that a securebit told the kernel not to.
bool drop_capabilities() {
  for (unsigned long capability = 0; capability < 64; ++capability) {
    // Looking costs a tenth of dropping: a starter has dropped them before (starter_main.cc).
    const int there = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (there < 0 && errno == EINVAL) break;  // the kernel knows no more of them
    if (there == 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return false;
  }
  return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0;
}

// The calls are made raw: glibc's setuid and its kin signal all other threads it knows of to do the
// same, and in a guest there is no glibc of ours that knows the threads.
int confine(const Credentials& user) {
  if (user.uid == 0 || user.gid == 0) return EPERM;
  if (!drop_capabilities()) return errno;
  if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0) return errno;
  if (::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0) return errno;
  if (::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0) return errno;
  if (!clear_capability_sets()) return errno;
  // The memory is still a copy of a root process with its keys: other processes of this user must
  // not look into it. execve(2) makes the program dumpable again; the engine does it
  // (PR_SET_DUMPABLE) when it has replaced the memory. Tracing by root works regardless.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return errno;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &seccomp_program()) != 0) return errno;
  return 0;
}

}  // namespace hob::migrate
