// Compiles the guests' system call filter to a table of BPF instructions, at build time: every
// starter installs it, and compiling takes libseccomp 0.7 ms. Prints the initialisers that
// seccomp.cc includes.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "base/check.h"
#include "base/fd.h"

using hob::Fd;

namespace {

constexpr int kOnlyX86[] = {SCMP_SYS(vm86), SCMP_SYS(vm86old), SCMP_SYS(stime)};

/// What could hurt the host, or show the guest more than its own. Most of it needs a capability
/// that no guest has: the filter is the second lock on the same door.
constexpr int kRefused[] = {
    // the file system tree
    SCMP_SYS(mount), SCMP_SYS(umount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(open_by_handle_at),
    SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd), SCMP_SYS(swapon), SCMP_SYS(swapoff),
    // the kernel and the machine
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(delete_module), SCMP_SYS(create_module), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
    SCMP_SYS(reboot), SCMP_SYS(acct), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(syslog),
    // the clocks, which belong to the owner
    SCMP_SYS(clock_settime), SCMP_SYS(clock_settime64), SCMP_SYS(settimeofday), SCMP_SYS(adjtimex),
    SCMP_SYS(clock_adjtime), SCMP_SYS(clock_adjtime64),
    // key rings: they know users, not namespaces
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl),
    // other namespaces than the sandbox's (clone and unshare of a user namespace: below)
    SCMP_SYS(setns),
    // a traced process cannot be traced by the engine, so it could not go home
    SCMP_SYS(ptrace)};

/// What cannot be moved, or not be seen by the engine at all, and for which every sane program has
/// a fall-back for kernels without it.
constexpr int kMissing[] = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                            SCMP_SYS(io_uring_register), SCMP_SYS(userfaultfd),
                            SCMP_SYS(fanotify_init), SCMP_SYS(fanotify_mark),
                            SCMP_SYS(memfd_secret),  // memory that nobody else can read
                            SCMP_SYS(pkey_alloc), SCMP_SYS(pkey_mprotect), SCMP_SYS(pkey_free),
                            SCMP_SYS(modify_ldt), SCMP_SYS(landlock_create_ruleset),
                            SCMP_SYS(landlock_add_rule), SCMP_SYS(landlock_restrict_self),
                            // Its flags lie in memory, where no filter can look for CLONE_NEWUSER:
                            // glibc falls back to clone.
                            SCMP_SYS(clone3)};

/// lsm_list_modules, Linux 6.8: the newest call looked at for the lists above. The numbers from 403
/// on are the same on all architectures. What came later is missing for guests, until somebody has
/// looked.
constexpr unsigned kNewestKnown = 461;

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW)) {
    CHECK(context_ != nullptr);
    // 32-bit programs are ordinary programs; other entries (x32) look like a kernel without them.
    must(seccomp_arch_add(context_, SCMP_ARCH_X86));
    must(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)));
    must(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2));  // a binary tree
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() { seccomp_release(context_); }

  void refuse(int call) { must(seccomp_rule_add(context_, SCMP_ACT_ERRNO(EPERM), call, 0)); }
  void refuse(int call, const scmp_arg_cmp& when) {
    must(seccomp_rule_add_array(context_, SCMP_ACT_ERRNO(EPERM), call, 1, &when));
  }
  /// One use of a call: as one that this kernel does not know.
  void hide(int call, const scmp_arg_cmp& when, uint16_t error = EINVAL) {
    must(seccomp_rule_add_array(context_, SCMP_ACT_ERRNO(error), call, 1, &when));
  }
  void hide(int call) { must(seccomp_rule_add(context_, SCMP_ACT_ERRNO(ENOSYS), call, 0)); }

  std::vector<sock_filter> compile() const {
    const Fd file(::memfd_create("hob-seccomp", MFD_CLOEXEC));
    CHECK(file.get() >= 0);
    must(seccomp_export_bpf(context_, file.get()));
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    CHECK(size > 0 && static_cast<size_t>(size) % sizeof(sock_filter) == 0);
    std::vector<sock_filter> code(static_cast<size_t>(size) / sizeof(sock_filter));
    CHECK(::pread(file.get(), code.data(), static_cast<size_t>(size), 0) == size);
    return code;
  }

 private:
  /// The lists are constants: if they do not compile, the build fails.
  static void must(int result) { CHECK(result == 0); }
  scmp_filter_ctx context_;
};

std::vector<sock_filter> compile_filter() {
  Filter filter;
  for (int call : kRefused) filter.refuse(call);
  for (int call : kOnlyX86) filter.refuse(call);
  for (int call : kMissing) filter.hide(call);
  const scmp_arg_cmp new_user = SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER);
  // Guards (Linux 6.13) are marks in page tables, which are not looked through in the freeze. A C
  // library that tries them for its stacks has mprotect(2) for kernels without.
  constexpr unsigned kGuardInstall = 102;
  filter.hide(SCMP_SYS(madvise), SCMP_A2_32(SCMP_CMP_EQ, kGuardInstall));
  filter.hide(SCMP_SYS(process_madvise), SCMP_A3_32(SCMP_CMP_EQ, kGuardInstall));
  // Multipath TCP cannot be moved. Servers that try it first (Go's) go on with TCP, as on a kernel
  // without.
  filter.hide(SCMP_SYS(socket), SCMP_A2_32(SCMP_CMP_EQ, IPPROTO_MPTCP), EPROTONOSUPPORT);
  filter.refuse(SCMP_SYS(clone), new_user);
  filter.refuse(SCMP_SYS(unshare), new_user);
  // Putting input into a terminal: of the user's shell, when the pty is shared. The kernel looks at
  // the lower 32 bits of the request alone, and so must we.
  for (unsigned request : {static_cast<unsigned>(TIOCSTI), static_cast<unsigned>(TIOCLINUX)})
    filter.refuse(SCMP_SYS(ioctl), SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffffu, request));

  // Calls unknown to the lists, in front: { load nr; nr > kNewestKnown ? ENOSYS : go on }.
  std::vector<sock_filter> code = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kNewestKnown, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  const std::vector<sock_filter> rest = filter.compile();
  code.insert(code.end(), rest.begin(), rest.end());
  return code;
}

}  // namespace

int main() {
  for (const sock_filter& i : compile_filter())
    std::printf("{0x%04x, %3u, %3u, 0x%08x},\n", i.code, i.jt, i.jf, i.k);
}
