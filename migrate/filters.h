#pragma once

#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/parts.h"
#include "migrate/ptrace.h"

/// Seccomp filters that the guest has installed itself (seccomp(2)), above the one that every guest
/// has. A chain of them is each thread's own; what all threads of a process have in common is the
/// same filters at the target, so that the process can go on to synchronise them.
///
/// They would judge the calls that the engine makes, too: at both sides the threads of such a
/// process are suspended from them (PTRACE_O_SUSPEND_SECCOMP, CAP_SYS_ADMIN) while they stand
/// still.
namespace hob::migrate {

/// Before the first call is injected: reads the filters of all threads and suspends them. An Error
/// with code kObstacle: one that asks another process (SECCOMP_RET_USER_NOTIF), or filters that
/// cannot be seen because the engine is under one itself.
Result<void> capture_filters(Captives& captives, Image& image);

bool has_filters(const ProcessImage& process);
/// What install_filters() needs of the workspace, in bytes.
size_t filter_space(const Image& image, const ProcessImage& process);
/// The target's side, when the guest's usual filter is there: `threads` as in the image. Their
/// options become `options`, less the filters.
Result<void> install_filters(const Image& image, const ProcessImage& process,
                             std::vector<Tracee>& threads, unsigned options, Workspace& workspace,
                             const user_regs_struct& base);

}  // namespace hob::migrate
