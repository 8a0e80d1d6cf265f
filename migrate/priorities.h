#pragma once

#include <span>

#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/migrate.h"

/// What a job has asked for itself of the host's attention: nice values and scheduling class of its
/// threads (SCHED_BATCH, SCHED_IDLE; the real-time ones are closed to jobs, whose RLIMIT_RTPRIO is
/// 0), their processors, their place in the queues of disks, and how soon a process is to die when
/// memory is short (oom_score_adj).
///
/// At home all of it is in force and can be read. Where the job is a guest (Guest::lowest_priority)
/// the host has set the class, the disk priority and the score as low as they go, for all of it and
/// for good: what the threads had asked for at home is not in the kernel there. Guest::wishes has
/// it until the job goes on. An image tells wishes alone, never what a host has done to its guests.
/// A thread or process that began at a foreign host has asked for nothing.
namespace hob::migrate {

void capture_wishes(const Guest& guest, const CaptiveThread& captive, ThreadImage& out);
void capture_wishes(const Guest& guest, const CaptiveProcess& captive, ProcessImage& out);

/// A process that is about to run; `threads` in the order of the image.
struct NewThreads {
  Tid pid;
  std::span<const Tracee> threads;
  const ProcessImage& image;
};

/// The last moment before it runs, where it is a guest: it yields to everything else. Before, the
/// engine itself would wait for it. What fails here costs the owner some comfort, not the guest its
/// life. What it wishes is noted in `wishes`.
void yield_to_others(const NewThreads& process, Wishes& wishes);
/// What may be had anywhere (nice, processors), and at home the rest. Wishes: a host with other
/// processors serves them as it can, and never ahead of others.
void grant_wishes(const NewThreads& process, bool at_home);

}  // namespace hob::migrate
