#pragma once

#include <sys/user.h>

#include <optional>
#include <vector>

#include "base/result.h"
#include "migrate/address_plan.h"
#include "migrate/injector.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/ptrace.h"

namespace hob::migrate {

/// One process in the making.
struct Making {
  Tid pid;
  std::vector<Tracee> threads;  // the leader first
  std::vector<pid_t> tids;      // theirs, as they count
  AddressPlan plan;
  std::optional<Workspace> workspace;
  std::optional<Rebuild> program;
  std::vector<proc::Mapping> maps;       // of the copy of the engine that it still is
  user_regs_struct base = {};            // the leader's, to start batches from
  std::vector<user_regs_struct> onward;  // the threads': with which they go on

  Tracee& leader() { return threads.front(); }
};

/// Writes the pages of its image where they belong, and the copy of a vdso if it has one.
Result<void> write_pages(Making& m);
/// Makes the threads that are not there yet, and puts all into the order of the image.
Result<void> clone_threads(Making& m);
/// From outside and while the process is still root's: afterwards nothing needs room any more.
Result<void> set_limits(Tid pid, const ProcessImage& process);
/// All threads at once.
Result<void> run_thread_programs(Making& m);
/// The kernel gives a thread room for tiles at its first use of one, and only then takes them from
/// us.
Result<void> touch_tiles(Making& m);
/// The last that the threads do by injected calls: another wait would take the note's place.
Result<void> take_up_waits(Making& m, RemoteAddress instruction);

}  // namespace hob::migrate
