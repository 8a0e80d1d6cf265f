#pragma once

#include <sys/user.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/injector.h"
#include "migrate/ptrace.h"
#include "migrate/types.h"

namespace hob::migrate {

/// A stopped thread through which system calls are made in its process. Its signals must be blocked
/// (kInjectionMask); whoever lends it sets its registers again afterwards.
struct Foothold {
  Tracee& thread;
  user_regs_struct registers;      ///< to start calls from (fs_base, segments)
  RemoteAddress instruction = {};  ///< a `syscall` of its vdso
  std::string name;                ///< "process 12 (python3)"
};

/// A `syscall` instruction that every process has: in its vdso (`vdso`: what that usually is) or in
/// a copy of an earlier one, which start at `vdso_at`. An Error with code kObstacle: it has none.
Result<RemoteAddress> syscall_instruction(Tid process, const std::string& name,
                                          RemoteAddress vdso_at, std::span<const std::byte> vdso);

/// Memory borrowed in a process that is held still: code, table and data of batches. Given back by
/// the destructor, unless the process has died.
class Scratch {
 public:
  static Result<Scratch> borrow(Foothold foothold, size_t size);
  Scratch(Scratch&& other) noexcept;
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  Workspace& workspace() { return workspace_; }
  /// The process will not need its memory any more: it stays as it is.
  void abandon() { given_away_ = true; }
  /// From here to there, and back.
  Result<void> write();
  Result<void> read();

 private:
  Scratch(Foothold foothold, RemoteAddress at, size_t size)
      : foothold_(std::move(foothold)),
        local_(std::make_unique_for_overwrite<std::byte[]>(size)),
        workspace_(local_.get(), size, at) {}
  Result<void> transfer(long number, const char* what);
  Foothold foothold_;
  std::unique_ptr<std::byte[]> local_;
  Workspace workspace_;
  bool given_away_ = false;
};

}  // namespace hob::migrate
