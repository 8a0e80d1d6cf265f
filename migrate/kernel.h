#pragma once

#include <sys/ioctl.h>

#include <cstdint>

/// Structures of the kernel's interface that Debian 12's headers lack, or whose headers clash with
/// glibc's (linux/ptrace.h against sys/ptrace.h). Names and layouts are the kernel's, linux 6.18.
namespace hob::migrate::kernel {

/// PAGEMAP_SCAN, fs/proc/task_mmu.c, since 6.7.
struct PageScan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct PageRegion {
  uint64_t start, end, categories;
};
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PageScan);
enum PageScanFlags : uint64_t {
  kScanProtects = 1u << 0,  ///< PM_SCAN_WP_MATCHING
};
enum PageCategory : uint64_t {
  kPageIsWatched = 1u << 0,  ///< PAGE_IS_WPALLOWED
  kPageIsWritten = 1u << 1,
  kPageIsFile = 1u << 2,
  kPageIsPresent = 1u << 3,
  kPageIsSwapped = 1u << 4,
  kPageIsZero = 1u << 5,
};

/// PTRACE_GET_RSEQ_CONFIGURATION.
struct RseqConfiguration {
  uint64_t pointer;
  uint32_t size, signature, flags, pad;
};
/// struct rseq_cs: a restartable critical section.
struct RseqSection {
  uint32_t version, flags;
  uint64_t start, length, abort;
};

/// rt_sigaction(2) as the kernel has it on x86-64.
struct SignalAction {
  uint64_t handler, flags, restorer, mask;
  bool operator==(const SignalAction&) const = default;
};

/// struct prctl_mm_map, PR_SET_MM_MAP.
struct MemoryMap {
  uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
  uint64_t arg_start, arg_end, env_start, env_end;
  uint64_t auxv;
  uint32_t auxv_size, exe_fd;
};
inline constexpr int kPrSetMm = 35, kPrSetMmMap = 14, kPrGetTidAddress = 40;
/// 6.15: timer_create(2) takes the id from where it would store it.
inline constexpr int kPrTimerCreateRestoreIds = 77;

/// struct clone_args.
struct CloneArguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  uint64_t set_tid, set_tid_size, cgroup;
};

inline constexpr int kNtX86Xstate = 0x202;

/// struct sched_attr up to Linux 5.3 (linux/sched/types.h). SCHED_OTHER's slice, in ns, is
/// `runtime` since 6.12; nobody looked at it before.
struct SchedulingAttributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

/// ioprio_set(2): of one thread, the class that waits for everybody. Debian's linux/ioprio.h is no
/// C++ any more since 6.1.192 (a parameter is called `class`).
inline constexpr int kIoprioWhoProcess = 1, kIoprioClassShift = 13,
                     kIoprioIdle = 3 << kIoprioClassShift;

/// Results with which an interrupted system call waits for its restart (include/linux/errno.h).
enum Restart : int64_t {
  kErestartsys = 512,
  kErestartnointr = 513,
  kErestartnohand = 514,
  kErestartRestartblock = 516,
};

}  // namespace hob::migrate::kernel
