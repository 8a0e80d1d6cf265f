#pragma once

#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/injector.h"

/// Job control: which processes are stopped by which signal, and what their parents have not been
/// told of it yet by wait(2). A parent hears of a stop once: it hears of it there if it has not
/// heard of it here, and no SIGCHLD tells it again.
namespace hob::migrate {

/// A new process through which calls are made: one thread, which the engine traces.
struct NewProcess {
  Tracee& thread;
  Workspace& workspace;
  const user_regs_struct& base;  ///< to start calls from
};

/// Stops those that were stopped; they can still be made to run calls, and stay stopped when the
/// engine lets them go. `processes` are those of the image, in its order, before they are given the
/// dispositions of their programs (a signal that this causes is forgotten then, see
/// part_signals.cc). A process whose group has been orphaned since is stopped by SIGSTOP: the
/// others would not stop it.
Result<void> stop_as_before(const Image& image, const std::vector<NewProcess>& processes);

}  // namespace hob::migrate
