#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"

namespace hob::migrate {

/// One control group: the handle by which a guest is frozen, limited and killed as a whole.
///
/// Needs the unified hierarchy (cgroup v2) for freezing and killing: mounted at /sys/fs/cgroup, or
/// at /sys/fs/cgroup/unified on hybrid machines. Limits use the v2 controllers where they are
/// enabled, and the v1 hierarchies of the same name otherwise; a limit that neither offers is an
/// Error that says so.
class Cgroup {
 public:
  /// The mount point of the unified hierarchy on this machine, or why there is none.
  static Result<std::string> root();

  /// Makes the directory (parents too) below root(); `path` starts with '/', e.g. "/hob/h3/job.17".
  static Result<Cgroup> create(const std::string& path);
  /// An existing one, with its v1 directories, e.g. to clean up after a starter that was killed.
  /// Dropping the object does not remove the group.
  static Result<Cgroup> open(const std::string& path);

  Cgroup(Cgroup&&) noexcept = default;
  Cgroup& operator=(Cgroup&&) noexcept = default;

  const std::string& path() const { return path_; }
  /// Descriptor of the directory, for clone3's CLONE_INTO_CGROUP.
  int fd() const { return directory_.get(); }

  /// Asks for all processes to stop; returns when the kernel has accepted, not when all have
  /// stopped.
  Result<void> freeze();
  Result<void> thaw();
  /// Has been asked to freeze (cgroup.freeze is 1), whoever asked.
  Result<bool> freezing() const;
  /// All processes are stopped. Re-reads cgroup.events: its notifications are limited to one in 10
  /// ms (ENGINE.md section 5), so waiting for them costs more than looking.
  Result<bool> frozen() const;
  Result<void> wait_frozen(Duration limit);
  /// Until nobody wants it frozen any more; false: not within `limit`.
  Result<bool> wait_thawed(Duration limit) const;

  Result<std::vector<pid_t>> processes() const;
  Result<std::vector<pid_t>> threads() const;
  /// Has a process that has not exited. A group that was removed has none.
  bool populated() const;
  /// To end takes a processor, too, to give memory back above all (70 us per MiB).
  enum class Ending {
    soon,    ///< at ordinary priority: guests of the lowest would be seconds about it
    in_bulk  ///< others go first (thread_priority.h), where nobody waits for that memory
  };
  /// SIGKILL to all processes, frozen ones too, and to those they are just forking.
  Result<void> kill(Ending ending = Ending::soon);
  /// Lowest share of the processors against everything else on the host.
  ///
  /// This and limit_memory() cover processes inside now and later. With v2 controllers they cost
  /// tens of microseconds, before the first process at best. With v1, each process that enters
  /// costs 4 to 13 ms (the kernel waits for a grace period), more than all else of a short job: so
  /// there, set only what the owner's policy demands. `start` gives every guest the lowest priority
  /// by other means.
  Result<void> lowest_priority();
  Result<void> limit_memory(uint64_t bytes);
  /// The calling process joins the v1 groups that the limits made, if any (clone3 puts a child into
  /// the v2 group alone). Costs nothing without limits of v1; milliseconds with them.
  Result<void> join_v1() const;
  /// Removes the directory and the v1 directories; they must be empty of processes (EBUSY). Ok when
  /// they are gone already.
  Result<void> remove();

 private:
  void end_soon() const;
  void end_in_bulk() const;
  Result<std::vector<pid_t>> ids_in(const char* file) const;
  struct Setting {
    const char* file;
    std::string value;
  };
  Cgroup(std::string path, Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  /// Writes the first setting whose control file exists: v2 in this group, else v1 in a group of
  /// its own.
  Result<void> set(const char* controller, std::initializer_list<Setting> v2,
                   std::initializer_list<Setting> v1);
  Result<void> move_into(const std::string& directory);

  std::string path_;
  Fd directory_;
  std::vector<std::string> v1_directories_;  // made by the limits, removed with the cgroup
};

}  // namespace hob::migrate
