#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/injector.h"

/// Waits that were to last a time, interrupted in the middle: nanosleep, clock_nanosleep, poll, and
/// futex with a relative timeout. When such a call is to go on, the kernel does not look at its
/// arguments again but at the end that it has noted in the thread (struct restart_block), which no
/// interface shows and which stays behind when the thread leaves.
///
/// So, at the source, the thread goes on with its wait for a moment, and its timer is looked up in
/// /proc/timer_list: marked by a timer slack of its own where the kernel applies one (not to the
/// sleeps and not to real-time threads), else the one that is there while it waits and gone when it
/// has been interrupted. At the target the same call
/// is made by the thread with the time that is left and interrupted at once, so that this kernel
/// has a note of its own: the program's registers and memory stay as they were, and whether the
/// wait ends, is interrupted by a handler or goes on is the kernel's affair as ever.
///
/// Exact to the thread's timer slack (50 us), which a nanosleep adds once, and for poll to the
/// millisecond in which it counts. Measured over two moves of sixteen waits: sleeps ended 0.2 to
/// 0.8 ms late, poll 2 ms. Costs 0.3 ms per move and, per thread in one of the two sleeps, 0.25 ms
/// (two processors; the list grows with them). Waits of up to kShort in all are not worth it and
/// start again in full; so do those beyond the first 64 of a tree, those whose timer is not found
/// (a kernel without /proc/timer_list; 50 ms in which others measure on this machine), futexes, polled sets and the rest of a sleep in memory that
/// comes with the page stream, and what is measured in processor time.
///
/// Other calls with a relative time need none of this: select, pselect and ppoll write what is left
/// to the program's memory. For epoll_wait, sigtimedwait, semtimedop and sockets with SO_RCVTIMEO
/// or SO_SNDTIMEO the kernel notes nothing: any stop, the plain freezing of a cgroup too, ends them
/// with EINTR (signal(7)), and their timers are gone before the engine can look: an owner's key
/// freezes the guest first. Here they start again in full (make_restartable). Rejected:
/// - EINTR, as after SIGSTOP: loops of events reckon anew then, but simple programs end;
/// - a look at /proc/timer_list beforehand, again and again while the guest runs: an entry names no
///   thread, and a timer that is taken for another's would end a wait too early;
/// - the time at which the thread last slept (/proc/PID/sched): the freeze itself has woken it.
namespace hob::migrate {

inline constexpr int64_t kShort = 10'000'000;  // ns

/// One engine at a time measures waits or takes them up again on a machine, whatever sandbox or host
/// of a cell it works for: a sleeper that another one stops in the same moment would be taken for
/// its own, and a wait end when another's was to. Held until the Fd is closed; empty if none came
/// within 50 ms, or there is no /proc/timer_list.
Fd take_turn();

/// Finds out when the waits of these threads end (CaptiveThread::wait). A wait that is over, or
/// whose event has come, ends here: the thread's registers then show its result. The threads must
/// be borrowed. Failure to find out is no Error.
Result<void> measure_waits(Captives& captives);

/// Puts a thread of a new process back into its wait. `instruction` is a `syscall` in it, `base`
/// registers to start from, `now` the guest's CLOCK_MONOTONIC. Returns the registers with which the
/// thread is to go on; those of the image if it has no such wait.
Result<user_regs_struct> resume_wait(Tracee& thread, Workspace& workspace,
                                     RemoteAddress instruction, const user_regs_struct& base,
                                     const ThreadImage& image, int64_t now);

/// What a wait reads of the program's memory, or writes when it is interrupted (what is left of a
/// sleep), and so must be there; empty if nothing. The kernel asks for a page to write to in a loop
/// while it is to stop.
Range memory_of_wait(const ThreadImage& image);

}  // namespace hob::migrate
