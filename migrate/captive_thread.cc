// migrate/captive.h, the part that borrows one thread.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "migrate/captive.h"

namespace hob::migrate {

void make_restartable(user_regs_struct& r, bool leaves) {
  if (static_cast<int64_t>(r.orig_rax) < 0) return;
  const auto result = static_cast<int64_t>(r.rax);
  if (result == -kernel::kErestartRestartblock && leaves)
    r.rax = static_cast<uint64_t>(-kernel::kErestartnohand);
  if (result == -EINTR) {
    switch (r.orig_rax) {
      case SYS_epoll_wait:
      case SYS_epoll_pwait:
      case 441:  // epoll_pwait2
      case SYS_rt_sigtimedwait:
      case SYS_semop:
      case SYS_semtimedop:
      case SYS_msgrcv:
      case SYS_msgsnd:
      // On sockets with SO_RCVTIMEO or SO_SNDTIMEO; nothing has been transferred yet.
      case SYS_read:
      case SYS_readv:
      case SYS_recvfrom:
      case SYS_recvmsg:
      case SYS_recvmmsg:
      case SYS_write:
      case SYS_writev:
      case SYS_sendto:
      case SYS_sendmsg:
      case SYS_sendmmsg:
      case SYS_accept:
      case SYS_accept4:
      // When they cannot write what is left to the program's memory.
      case SYS_select:
      case SYS_pselect6:
      case SYS_ppoll:
        r.rax = static_cast<uint64_t>(-kernel::kErestartnohand);
        break;
      default:
        break;
    }
  }
}

CaptiveThread::CaptiveThread(Tracee t, pid_t number) : tracee(std::move(t)), inside(number) {}

Result<void> CaptiveThread::bring(const Pinned& here) {
  const pid_t tid = tracee.tid().value;
  if (::sched_getaffinity(tid, sizeof affinity_, &affinity_) < 0)
    return Error::sys("read the processors of", "thread " + std::to_string(tid));
  brought_ = true;
  here.bring(tracee.tid());
  return {};
}

Result<void> CaptiveThread::borrow() {
  registers = TRY(tracee.registers());
  make_restartable(registers, false);
  rseq = TRY(tracee.rseq());
  TRY(leave_restartable_sequence());
  signal_mask = TRY(tracee.signal_mask());
  borrowed_ = true;
  return tracee.set_signal_mask(kInjectionMask);
}

Result<void> CaptiveThread::leave_restartable_sequence() {
  if (!rseq.pointer) return {};
  constexpr uint64_t kSectionField = 8;  // struct rseq: cpu_id_start, cpu_id, rseq_cs
  const auto section =
      TRY(proc::read_memory<uint64_t>(tracee.tid(), {rseq.pointer + kSectionField}));
  if (!section) return {};
  const auto what = TRY(proc::read_memory<kernel::RseqSection>(tracee.tid(), {section}));
  if (registers.rip - what.start < what.length) registers.rip = what.abort;
  return {};
}

CaptiveThread::~CaptiveThread() {
  if (!tracee.tid().value) return;
  if (borrowed_) {
    auto given = tracee.set_registers(registers);
    if (given) given = tracee.set_signal_mask(signal_mask);
    if (!given && given.error().code != ESRCH) log::error("{}", given.error().text);
  }
  if (brought_) ::sched_setaffinity(tracee.tid().value, sizeof affinity_, &affinity_);
}

}  // namespace hob::migrate
