#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cstring>
#include <map>

#include "support.h"

using namespace hob;
using namespace hob::migrate;
using namespace hob::migrate::test;

namespace {

/// The errno of one raw call made by a confined process in a sandbox; 0 if it succeeded.
int confined(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  Place place;
  Sandbox sandbox = furnished(place);
  const std::string out = inside(sandbox, [&](int pipe) {
    if (confine({kUid, kGid, {}}) != 0) ::_exit(9);
    const int code = ::syscall(number, a, b, c, d, e) < 0 ? errno : 0;
    (void)!::write(pipe, &code, sizeof code);
  });
  int code = -1;
  REQUIRE(out.size() == sizeof code);
  std::memcpy(&code, out.data(), sizeof code);
  return code;
}

long ptr(const void* p) {
  return reinterpret_cast<long>(p);
}

}  // namespace

TEST_CASE("a guest has no privileges, and no way to new ones") {
  NEED_SANDBOX();
  const std::string status = run(program({"cat", "/proc/self/status"})).out;
  for (const char* line :
       {"Uid:\t23456\t23456\t23456\t23456\n", "Gid:\t23457\t23457\t23457\t23457\n",
        "CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
        "CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n"}) {
    INFO(line);
    CHECK(status.find(line) != std::string::npos);
  }
}

TEST_CASE("a guest cannot give itself capabilities or the bits that govern them") {
  NEED_SANDBOX();
  CHECK(confined(SYS_prctl, PR_GET_SECUREBITS) == 0);
  for (long bits : {SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP, SECBIT_NO_CAP_AMBIENT_RAISE,
                    SECBIT_NOROOT_LOCKED, SECBIT_KEEP_CAPS_LOCKED})
    CHECK(confined(SYS_prctl, PR_SET_SECUREBITS, bits) == EPERM);
  CHECK(confined(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW) == EPERM);
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct one[_LINUX_CAPABILITY_U32S_3]{};
  one[0].permitted = 1u << CAP_NET_RAW;
  CHECK(confined(SYS_capset, ptr(&header), ptr(one)) == EPERM);
  one[0] = {0, 0, 1u << CAP_NET_RAW};
  CHECK(confined(SYS_capset, ptr(&header), ptr(one)) == EPERM);
}

TEST_CASE("what could hurt the host is refused") {
  NEED_SANDBOX();
  CHECK(confined(SYS_mount, ptr("none"), ptr("/tmp"), ptr("tmpfs")) == EPERM);
  CHECK(confined(SYS_umount2, ptr("/proc"), MNT_DETACH) == EPERM);
  CHECK(confined(SYS_bpf, 0, 0, 0) == EPERM);
  CHECK(confined(SYS_perf_event_open) == EPERM);
  CHECK(confined(SYS_keyctl, KEYCTL_GET_KEYRING_ID) == EPERM);
  CHECK(confined(SYS_ptrace, PTRACE_TRACEME) == EPERM);
  CHECK(confined(SYS_setns, 0, 0) == EPERM);
  CHECK(confined(SYS_unshare, CLONE_NEWUSER) == EPERM);
  CHECK(confined(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS) == EPERM);
  CHECK(confined(SYS_clone, CLONE_NEWUSER | SIGCHLD) == EPERM);
  CHECK(confined(SYS_chroot, ptr("/")) == EPERM);
  CHECK(confined(SYS_adjtimex, 0) == EPERM);
  CHECK(confined(SYS_ioctl, 0, TIOCSTI, ptr("x")) == EPERM);
  CHECK(confined(SYS_ioctl, 0, static_cast<long>(0x7700000000000000UL | TIOCSTI), ptr("x")) ==
        EPERM);
  CHECK(confined(SYS_ioctl, 0, TIOCLINUX, ptr("\2")) == EPERM);
}

TEST_CASE("what cannot be moved looks like a kernel without it") {
  NEED_SANDBOX();
  CHECK(confined(SYS_io_uring_setup, 1) == ENOSYS);
  CHECK(confined(SYS_userfaultfd, 0) == ENOSYS);
  CHECK(confined(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_MPTCP) == EPROTONOSUPPORT);
  CHECK(confined(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_TCP) == 0);
  static char page[4096] __attribute__((aligned(4096)));
  CHECK(confined(SYS_madvise, ptr(page), sizeof page, 102 /* MADV_GUARD_INSTALL */) == EINVAL);
  CHECK(confined(SYS_madvise, ptr(page), sizeof page, MADV_NORMAL) == 0);
  CHECK(confined(SYS_fanotify_init, 0, 0) == ENOSYS);
  CHECK(confined(SYS_modify_ldt, 0, 0, 0) == ENOSYS);
  clone_args arguments{};
  CHECK(confined(SYS_clone3, ptr(&arguments), sizeof arguments) == ENOSYS);
  CHECK(confined(462) == ENOSYS);                      // mseal, newer than the lists
  CHECK(confined(0x40000000 | SYS_getpid) == ENOSYS);  // x32
}

TEST_CASE("ordinary calls stay as they are") {
  NEED_SANDBOX();
  CHECK(confined(SYS_personality, 0xffffffff) == 0);
  CHECK(confined(SYS_personality, ADDR_NO_RANDOMIZE) == 0);  // setarch(8), sanitizers
  CHECK(confined(SYS_unshare, CLONE_FILES) == 0);
  CHECK(confined(SYS_ioctl, -1, TIOCGWINSZ) == EBADF);
  CHECK(confined(SYS_getpid) == 0);
  // Threads and processes, by way of glibc, which tries clone3 first.
  CHECK(run(program({"perl", "-e", "print fork ? (wait, 'parent') : ()"})).status == 0);
}

TEST_CASE("32-bit calls go through the same filter") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  Pipe pipe = must(make_pipe());
  const pid_t pid = must(sandbox.clone(kRootPid, [&] {
    if (confine({kUid, kGid, {}}) != 0) ::_exit(9);
    long results[3];
    constexpr long kCalls[3] = {21 /* mount */, 425 /* io_uring_setup */, 20 /* getpid */};
    for (int i = 0; i < 3; ++i)
      asm volatile("int $0x80" : "=a"(results[i]) : "a"(kCalls[i]), "b"(0), "c"(0) : "memory");
    ::_exit(::write(pipe.write_end.get(), results, sizeof results) == sizeof results ? 0 : 8);
  }));
  const int status = wait_for(pid);
  NEED(!WIFSIGNALED(status), "a kernel with 32-bit emulation");
  CHECK(status == 0);
  long results[3];
  REQUIRE(::read(pipe.read_end.get(), results, sizeof results) == sizeof results);
  CHECK(results[0] == -EPERM);
  CHECK(results[1] == -ENOSYS);
  CHECK(results[2] == kRootPid);
}

TEST_CASE("a confined copy of a root process cannot be looked into before it executes") {
  NEED_SANDBOX();
  Place place;
  Sandbox sandbox = furnished(place);
  CHECK(inside(sandbox, [](int out) {
          if (confine({kUid, kGid, {}}) != 0) ::_exit(9);
          (void)!::write(out, ::prctl(PR_GET_DUMPABLE) == 0 ? "n" : "y", 1);
        }) == "n");
  CHECK(run(sandbox, shell("cat /proc/self/maps >/dev/null && echo own")).out == "own\n");
}
